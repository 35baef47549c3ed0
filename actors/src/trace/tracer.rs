// SPDX-License-Identifier: Apache-2.0
//! What becomes a span, and of which trace. Off, every call here is one look at an `Option`.
//!
//! ```text
//! the producer's trace     … ─► POST /api/v1/enqueue ─► propose ─► apply
//!                            └► deliver, attempt            (the first delivery)
//! a trace of their own          deliver, attempt ··link··►  (later deliveries)
//! ```
//!
//! - `X1` a trace that its beginner does not record is not recorded here; one that begins here is recorded by
//!   chance, as configured.
//! - `X2` what is kept for spans to come is bounded, and lost with the process: it is never needed for anything
//!   but spans.

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jobbie_broker::reply::LeasedJob;
use jobbie_broker::{Change, Event, JobNo, LeaseToken, Timestamp};
use jobbie_store::AppliedGroup;

use super::TraceContext;
use super::current::current;
use super::span::{OpenSpan, SpanKind, SpanSink};
use crate::ports::{Decided, PortError};

/// Groups of applied entries that are remembered until the proposals in them have been told. At most four are in
/// flight; the rest is for callers that wake up late.
const GROUPS: usize = 256;
/// Attempts whose end is awaited. Those beyond have no span.
const ATTEMPTS: usize = 65_536;

/// Makes spans, if they are wanted. Clones are the same.
#[derive(Clone, Default)]
pub struct Tracer(Option<Arc<Inner>>);

struct Inner {
    sink: Arc<dyn SpanSink>,
    /// A trace that begins here is recorded if its id is below this.
    below: u64,
    groups: Mutex<VecDeque<AppliedGroup>>,
    attempts: Mutex<HashMap<JobNo, (LeaseToken, OpenSpan)>>,
}

impl std::fmt::Debug for Tracer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tracer").field("on", &self.is_on()).finish()
    }
}

impl Tracer {
    /// A tracer that records this share, 0 to 1, of the traces that begin here.
    #[must_use]
    pub fn new(sink: Arc<dyn SpanSink>, share: f64) -> Self {
        // Saturating casts: 1 and more is everything, 0 and less nothing.
        let below = if share >= 1.0 { u64::MAX } else { (share * u64::MAX as f64) as u64 };
        Self(Some(Arc::new(Inner { sink, below, groups: Mutex::default(), attempts: Mutex::default() })))
    }

    /// True if spans are wanted at all.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Begins the span of a request: in its caller's trace, or in a new one. `None` if it is not recorded.
    #[must_use]
    pub fn request(
        &self,
        name: impl Into<Cow<'static, str>>,
        caller: Option<TraceContext>,
    ) -> Option<OpenSpan> {
        let inner = self.0.as_ref()?;
        let recorded = match caller {
            Some(caller) => caller.is_sampled(),
            None => inner.below == u64::MAX || fastrand::u64(..) < inner.below,
        };
        recorded.then(|| inner.open(name, SpanKind::Server, caller, Duration::ZERO))
    }

    /// Begins a span within the request of this task; `None` if that is not recorded.
    pub(crate) fn child(&self, name: &'static str) -> Option<OpenSpan> {
        let inner = self.0.as_ref()?;
        let parent = current()?.span()?;
        Some(inner.open(name, SpanKind::Internal, Some(parent), Duration::ZERO))
    }

    /// Ends the span of a proposal; the group it was applied in becomes its child.
    pub(crate) fn proposed(&self, mut span: OpenSpan, decided: &Result<Decided, PortError>) {
        let (Some(inner), Some(parent)) = (&self.0, span.context()) else { return };
        match decided {
            Ok(decided) => {
                span.set("jobbie.log_index", decided.index);
                if let Some(group) = inner.group_of(decided.index) {
                    let mut apply =
                        inner.open("apply", SpanKind::Internal, Some(parent), group.began.elapsed());
                    apply.set("jobbie.log_index", decided.index);
                    apply.set("jobbie.group_entries", group.last - group.first + 1);
                    apply.end_after(group.took);
                }
            }
            Err(error) => span.fail(error.to_string()),
        }
        span.end();
    }

    /// Remembers when a group of entries was applied.
    pub(crate) fn applied(&self, group: &AppliedGroup) {
        let Some(inner) = &self.0 else { return };
        let mut groups = inner.groups();
        if groups.len() >= GROUPS {
            groups.pop_front();
        }
        groups.push_back(*group);
    }

    /// Jobs are handed to a worker: the wait of each is a span, and its attempt begins one.
    pub(crate) fn delivered(&self, index: u64, jobs: &[LeasedJob], now: Timestamp) {
        let Some(inner) = &self.0 else { return };
        let fetch = current().and_then(|current| current.span());
        for LeasedJob { job, .. } in jobs {
            let context = job.options.trace.as_deref().and_then(TraceContext::parse);
            let (Some(context), Some(lease)) = (context.filter(TraceContext::is_sampled), job.state.lease())
            else {
                continue;
            };
            // A repeated call gets the same leases once more.
            if inner.attempts().get(&job.no).is_some_and(|(token, _)| *token == lease.token) {
                continue;
            }
            let first = (job.deliveries <= 1).then_some(context);
            let waited = now.since(job.ready_at.unwrap_or(job.created_at));
            let mut deliver =
                inner.open("deliver", SpanKind::Producer, first, Duration::from_millis(waited.0));
            let mut attempt =
                inner.open("attempt", SpanKind::Internal, first.or(deliver.context()), Duration::ZERO);
            for span in [&mut deliver, &mut attempt] {
                span.set("jobbie.job_id", job.id().to_string().as_str());
                span.set("jobbie.queue", &*job.queue);
                span.set("jobbie.attempt", u64::from(job.attempt()));
                span.set("jobbie.delivery", u64::from(job.deliveries));
                if first.is_none() {
                    span.link(context);
                }
            }
            deliver.set("jobbie.log_index", index);
            if let Some(fetch) = fetch {
                deliver.link(fetch);
            }
            deliver.end();
            inner.await_end(job.no, lease.token, attempt);
        }
    }

    /// An event may be the end of an attempt.
    pub(crate) fn heed(&self, event: &Event) {
        let (Some(inner), Event::Job(event)) = (&self.0, event) else { return };
        let Some(token) = event.token.filter(|_| is_end(event.change)) else { return };
        let mut attempts = inner.attempts();
        if attempts.get(&event.job.no).is_none_or(|(awaited, _)| *awaited != token) {
            return;
        }
        let Some((_, mut span)) = attempts.remove(&event.job.no) else { return };
        drop(attempts);
        span.set("jobbie.outcome", event.change.name());
        if matches!(event.change, Change::Failed | Change::TimedOut | Change::Crashed | Change::Died) {
            span.fail(event.reason.map_or(event.change.name(), |reason| reason.name()));
        }
        match event.took_ms {
            Some(took) => span.end_after(Duration::from_millis(took)),
            None => span.end(),
        }
    }
}

/// True if this change ends an attempt.
const fn is_end(change: Change) -> bool {
    matches!(
        change,
        Change::Completed
            | Change::Failed
            | Change::RateLimited
            | Change::TimedOut
            | Change::Released
            | Change::Crashed
            | Change::Died
            | Change::Cancelled
    )
}

impl Inner {
    /// Begins a span in the parent's trace, or in a new one.
    fn open(
        &self,
        name: impl Into<Cow<'static, str>>,
        kind: SpanKind,
        parent: Option<TraceContext>,
        ago: Duration,
    ) -> OpenSpan {
        let context = TraceContext {
            trace_id: parent.map_or_else(|| fastrand::u128(1..), |parent| parent.trace_id),
            span_id: fastrand::u64(1..),
            flags: TraceContext::SAMPLED,
        };
        OpenSpan::new(self.sink.clone(), name, kind, context, parent.map(|parent| parent.span_id), ago)
    }

    fn group_of(&self, index: u64) -> Option<AppliedGroup> {
        let groups = self.groups();
        groups.iter().rev().find(|group| (group.first..=group.last).contains(&index)).copied()
    }

    fn await_end(&self, job: JobNo, token: LeaseToken, attempt: OpenSpan) {
        let mut attempts = self.attempts();
        let full = attempts.len() >= ATTEMPTS && !attempts.contains_key(&job);
        let late =
            if full { Some(attempt) } else { attempts.insert(job, (token, attempt)).map(|(_, old)| old) };
        drop(attempts);
        if let Some(mut late) = late {
            late.fail("not followed to its end");
            late.end();
        }
    }

    fn groups(&self) -> MutexGuard<'_, VecDeque<AppliedGroup>> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn attempts(&self) -> MutexGuard<'_, HashMap<JobNo, (LeaseToken, OpenSpan)>> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::super::current::{Current, scope};
    use super::super::span::Span;
    use super::*;

    #[derive(Default)]
    struct Spy(Mutex<Vec<Span>>);

    impl SpanSink for Spy {
        fn ended(&self, span: Span) {
            self.0.lock().unwrap().push(span);
        }
    }

    fn tracer(share: f64) -> (Tracer, Arc<Spy>) {
        let spy = Arc::new(Spy::default());
        (Tracer::new(spy.clone(), share), spy)
    }

    fn context(flags: u8) -> TraceContext {
        TraceContext { trace_id: 7, span_id: 8, flags }
    }

    #[test]
    fn whoever_began_a_trace_decides_whether_it_is_recorded() {
        let (none, _) = tracer(0.0);
        assert!(none.request("r", None).is_none());
        assert!(none.request("r", Some(context(1))).is_some());
        let (all, spy) = tracer(1.0);
        assert!(all.request("r", Some(context(0))).is_none());
        all.request("r", Some(context(1))).unwrap().end();
        all.request("r", None).unwrap().end();
        let spans = spy.0.lock().unwrap();
        assert_eq!((spans[0].context.trace_id, spans[0].parent), (7, Some(8)));
        assert_eq!(spans[1].parent, None);
        assert!(Tracer::default().request("r", Some(context(1))).is_none());
    }

    #[test]
    fn a_share_of_the_traces_is_recorded() {
        let (half, _) = tracer(0.5);
        let recorded = (0..1000).filter(|_| half.request("r", None).is_some()).count();
        assert!((350..650).contains(&recorded), "{recorded}");
    }

    #[tokio::test]
    async fn applying_is_a_child_of_the_proposal() {
        let (tracer, spy) = tracer(1.0);
        let request = tracer.request("r", None).unwrap();
        let current = Current::new("r1".into(), request.context());
        let began = std::time::Instant::now();
        tracer.applied(&AppliedGroup { first: 5, last: 9, began, took: Duration::from_millis(3) });
        scope(current, async {
            let span = tracer.child("propose").unwrap();
            let reply = jobbie_broker::Reply::Queue;
            tracer.proposed(span, &Ok(Decided { index: 9, reply }));
            let span = tracer.child("propose").unwrap();
            tracer.proposed(span, &Err(PortError::NoLeader));
        })
        .await;
        drop(request);
        assert!(tracer.child("outside of a request").is_none());
        let spans = spy.0.lock().unwrap();
        let names: Vec<&str> = spans.iter().map(|span| &*span.name).collect();
        assert_eq!(names, ["apply", "propose", "propose", "r"]);
        assert_eq!(spans[0].parent, Some(spans[1].context.span_id));
        assert_eq!(spans[1].parent, Some(spans[3].context.span_id));
        assert_eq!(spans[0].ended - spans[0].began, 3_000_000);
        assert!(spans[0].attributes.contains(&("jobbie.group_entries", 5u64.into())));
        assert!(spans[2].error.is_some());
        assert!(spans[3].error.as_deref().is_some_and(|why| why.starts_with("abandoned")));
        assert!(spans.iter().all(|span| span.context.trace_id == spans[3].context.trace_id));
    }
}
