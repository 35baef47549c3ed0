// SPDX-License-Identifier: Apache-2.0
//! Server-sent events: the writer, and the answer that keeps a stream of them open.
//!
//! A stream pulls: nothing is read from its source while the connection does not take what was read, so a
//! slow reader holds up nobody and costs no memory. A `ping` goes out after 15 s of silence, which is also
//! how a dead connection is noticed.

use std::fmt::Display;
use std::io::Write as _;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::http::header::{CACHE_CONTROL, HeaderName};
use bytes::Bytes;
use futures_util::{FutureExt as _, Stream, StreamExt as _};
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::Sleep;

use crate::shares::Share;

/// Silence after which a ping is sent.
pub const PING: Duration = Duration::from_secs(15);
/// Events that are ready together go out together, up to about this size: what a socket buffer takes.
const TOGETHER: usize = 64 * 1024;
/// What clients are told to wait before they reconnect, in milliseconds.
const HELLO: &[u8] = b"retry: 2000\n\n";

/// One or more events as they are written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frame(Vec<u8>);

impl Frame {
    /// An event with JSON as its data.
    #[must_use]
    pub fn json(name: &str, id: Option<&dyn Display>, data: &impl Serialize) -> Self {
        match serde_json::to_vec(data) {
            Ok(data) => Self::raw(name, id, &data),
            Err(error) => {
                tracing::error!(%error, event = name, "an event cannot be written");
                Self::default()
            }
        }
    }

    /// An event with data that is JSON text already. A `\n` between its tokens becomes a further line of the
    /// event, which readers put back. A `\r` cannot be carried: the format reads it as the end of a line too,
    /// and readers would put back `\n`, or one byte for two. Between tokens, and JSON has it nowhere else, a
    /// space means the same and keeps the length, so it goes out as that.
    #[must_use]
    pub fn raw(name: &str, id: Option<&dyn Display>, data: &[u8]) -> Self {
        let mut out = Vec::with_capacity(data.len() + name.len() + 48);
        if let Some(id) = id {
            // Safe to ignore: a Vec takes every byte.
            let _ = writeln!(out, "id: {id}");
        }
        out.extend_from_slice(b"event: ");
        out.extend_from_slice(name.as_bytes());
        for line in data.split(|b| *b == b'\n') {
            out.extend_from_slice(b"\ndata: ");
            let begins = out.len();
            out.extend_from_slice(line);
            out[begins..].iter_mut().filter(|b| **b == b'\r').for_each(|b| *b = b' ');
        }
        out.extend_from_slice(b"\n\n");
        Self(out)
    }

    /// An event without content.
    #[must_use]
    pub fn bare(name: &str) -> Self {
        Self::raw(name, None, b"{}")
    }
}

/// Where frames come from.
pub type Source = Pin<Box<dyn Stream<Item = Frame>>>;

/// An answer that stays open.
struct Open {
    source: Source,
    ping: Pin<Box<Sleep>>,
    /// Resolves when the process begins to stop; `None` if the source says `drain` by itself.
    stopping: Option<Pin<Box<dyn Future<Output = ()>>>>,
    hello: bool,
    ended: bool,
    _permit: Share,
}

impl Stream for Open {
    type Item = Result<Bytes, actix_web::Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let mut out = Vec::new();
        if !std::mem::replace(&mut this.hello, true) {
            out.extend_from_slice(HELLO);
        }
        while !this.ended && out.len() < TOGETHER {
            match this.source.poll_next_unpin(cx) {
                Poll::Ready(Some(frame)) => out.extend_from_slice(&frame.0),
                Poll::Ready(None) => this.ended = true,
                Poll::Pending => break,
            }
        }
        if !this.ended && this.stopping.as_mut().is_some_and(|stop| stop.poll_unpin(cx).is_ready()) {
            out.extend_from_slice(&Frame::bare("drain").0);
            this.ended = true;
        }
        if out.is_empty() && !this.ended && this.ping.as_mut().poll(cx).is_ready() {
            out.extend_from_slice(&Frame::bare("ping").0);
        }
        if !out.is_empty() {
            this.ping.as_mut().reset(tokio::time::Instant::now() + PING);
            return Poll::Ready(Some(Ok(out.into())));
        }
        if this.ended { Poll::Ready(None) } else { Poll::Pending }
    }
}

async fn stopped(mut stopping: watch::Receiver<bool>) {
    // An error means that whoever would say so is gone, which is stopping too.
    let _ = stopping.wait_for(|stopping| *stopping).await;
}

/// The answer that writes what `source` yields for as long as the client reads. With `stopping`, it says
/// `drain` and ends when the process begins to stop.
#[must_use]
pub fn respond(
    permit: Share,
    stopping: Option<watch::Receiver<bool>>,
    source: impl Stream<Item = Frame> + 'static,
) -> HttpResponse {
    let stopping = stopping.map(|stopping| Box::pin(stopped(stopping)) as Pin<Box<dyn Future<Output = ()>>>);
    let ping = Box::pin(tokio::time::sleep(PING));
    let open = Open { source: Box::pin(source), ping, stopping, hello: false, ended: false, _permit: permit };
    HttpResponse::Ok()
        .content_type("text/event-stream")
        .insert_header((CACHE_CONTROL, "no-store"))
        .insert_header((HeaderName::from_static("x-accel-buffering"), "no"))
        .streaming(open)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shares::Shares;
    use futures_util::stream;

    fn text(frame: &Frame) -> &str {
        std::str::from_utf8(&frame.0).unwrap()
    }

    #[test]
    fn a_line_end_between_tokens_is_put_back_and_a_cr_becomes_a_space() {
        for (data, written) in [
            ("{}", "event: job\ndata: {}\n\n"),
            ("[1,\n2]", "event: job\ndata: [1,\ndata: 2]\n\n"),
            ("[1,\r\n2,\r3]", "event: job\ndata: [1, \ndata: 2, 3]\n\n"),
            ("1\n\n2\n", "event: job\ndata: 1\ndata: \ndata: 2\ndata: \n\n"),
            ("\"a\\nb\"", "event: job\ndata: \"a\\nb\"\n\n"),
            ("", "event: job\ndata: \n\n"),
        ] {
            assert_eq!(text(&Frame::raw("job", None, data.as_bytes())), written, "{data:?}");
        }
        assert_eq!(text(&Frame::raw("x", Some(&"7.0"), b"1")), "id: 7.0\nevent: x\ndata: 1\n\n");
    }

    fn open(source: impl Stream<Item = Frame> + 'static, stopping: Option<watch::Receiver<bool>>) -> Open {
        let permit = Shares::new(1).take(None, 1).unwrap();
        let stopping =
            stopping.map(|stopping| Box::pin(stopped(stopping)) as Pin<Box<dyn Future<Output = ()>>>);
        let ping = Box::pin(tokio::time::sleep(PING));
        Open { source: Box::pin(source), ping, stopping, hello: true, ended: false, _permit: permit }
    }

    async fn next(open: &mut Open) -> Option<String> {
        let bytes = open.next().await?.unwrap();
        Some(String::from_utf8(bytes.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn what_is_ready_together_goes_out_together_and_then_it_ends() {
        let mut open = open(stream::iter([Frame::bare("a"), Frame::bare("b")]), None);
        assert_eq!(next(&mut open).await.unwrap(), "event: a\ndata: {}\n\nevent: b\ndata: {}\n\n");
        assert_eq!(next(&mut open).await, None);
    }

    #[tokio::test]
    async fn a_large_backlog_is_not_collected() {
        let endless = stream::repeat_with(|| Frame::raw("a", None, &[b'x'; 10_000]));
        let mut open = open(endless, None);
        assert!(next(&mut open).await.unwrap().len() < TOGETHER + 11_000);
    }

    #[tokio::test]
    async fn silence_is_filled_with_pings() {
        let mut open = open(stream::pending(), None);
        open.ping.as_mut().reset(tokio::time::Instant::now());
        assert_eq!(next(&mut open).await.unwrap(), "event: ping\ndata: {}\n\n");
    }

    #[tokio::test]
    async fn stopping_drains_and_ends() {
        let (stop, stopping) = watch::channel(false);
        let mut open = open(stream::pending(), Some(stopping));
        stop.send_replace(true);
        assert_eq!(next(&mut open).await.unwrap(), "event: drain\ndata: {}\n\n");
        assert_eq!(next(&mut open).await, None);
    }
}
