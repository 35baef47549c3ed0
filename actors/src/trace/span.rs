// SPDX-License-Identifier: Apache-2.0
//! Spans: what is recorded of a piece of work, from its beginning to its end.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::TraceContext;

/// What kind of work a span is, with the numbers of OpenTelemetry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanKind {
    /// Work inside of this process.
    Internal = 1,
    /// Answering a request.
    Server = 2,
    /// Handing something to somebody who works on it later.
    Producer = 4,
}

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SpanValue {
    /// Text.
    Text(String),
    /// A whole number.
    Number(i64),
}

impl From<&str> for SpanValue {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<u64> for SpanValue {
    fn from(number: u64) -> Self {
        Self::Number(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

/// A span that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// What was done, of few different values.
    pub name: Cow<'static, str>,
    /// What kind of work it was.
    pub kind: SpanKind,
    /// Its trace and its own id.
    pub context: TraceContext,
    /// The span it is part of.
    pub parent: Option<u64>,
    /// When it began, in nanoseconds since 1970.
    pub began: u64,
    /// When it ended, in nanoseconds since 1970.
    pub ended: u64,
    /// What else is known.
    pub attributes: Vec<(&'static str, SpanValue)>,
    /// Spans of other traces that it has to do with.
    pub links: Vec<TraceContext>,
    /// Why it failed.
    pub error: Option<String>,
}

/// Where spans go when they have ended. Must not block: whoever answers a request calls it.
pub trait SpanSink: Send + Sync + 'static {
    /// Takes a span, or drops it.
    fn ended(&self, span: Span);
}

/// A span whose work is under way. Dropped without [`OpenSpan::end`] it is recorded as abandoned: its caller went
/// away.
pub struct OpenSpan {
    span: Option<Span>,
    since: Instant,
    sink: Arc<dyn SpanSink>,
}

impl OpenSpan {
    /// A span that begins now, or began a while ago.
    pub(super) fn new(
        sink: Arc<dyn SpanSink>,
        name: impl Into<Cow<'static, str>>,
        kind: SpanKind,
        context: TraceContext,
        parent: Option<u64>,
        ago: Duration,
    ) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let began = nanos(now.saturating_sub(ago));
        let span = Span {
            name: name.into(),
            kind,
            context,
            parent,
            began,
            ended: began,
            attributes: Vec::new(),
            links: Vec::new(),
            error: None,
        };
        let since = Instant::now();
        Self { span: Some(span), since: since.checked_sub(ago).unwrap_or(since), sink }
    }

    /// Its place in its trace: what children of it begin from.
    #[must_use]
    pub fn context(&self) -> Option<TraceContext> {
        self.span.as_ref().map(|span| span.context)
    }

    /// Adds an attribute.
    pub fn set(&mut self, name: &'static str, value: impl Into<SpanValue>) {
        if let Some(span) = &mut self.span {
            span.attributes.push((name, value.into()));
        }
    }

    /// Links it to a span of another trace.
    pub fn link(&mut self, to: TraceContext) {
        if let Some(span) = &mut self.span {
            span.links.push(to);
        }
    }

    /// Says that the work failed.
    pub fn fail(&mut self, why: impl Into<String>) {
        if let Some(span) = &mut self.span {
            span.error = Some(why.into());
        }
    }

    /// Ends it now.
    pub fn end(self) {
        let took = self.since.elapsed();
        self.end_after(took);
    }

    /// Ends it as of that long after its beginning.
    pub fn end_after(mut self, took: Duration) {
        self.finish(took);
    }

    fn finish(&mut self, took: Duration) {
        if let Some(mut span) = self.span.take() {
            span.ended = span.began.saturating_add(nanos(took));
            self.sink.ended(span);
        }
    }
}

impl Drop for OpenSpan {
    fn drop(&mut self) {
        if self.span.is_some() {
            self.fail("abandoned: the caller went away");
            self.finish(self.since.elapsed());
        }
    }
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}
