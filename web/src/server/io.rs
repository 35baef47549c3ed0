// SPDX-License-Identifier: Apache-2.0
//! The bytes of one connection, plain or encrypted, under the rules of [`Conn`].
//!
//! The HTTP/1 code above it knows only that reading ends. Where the server closes by itself, the reason is
//! written before that as an answer: a client whose request was on its way at that moment reads it as the
//! answer to that request, and it is true, nothing was carried out. Then the connection is kept until the
//! peer has closed, because closing with unread bytes makes a reset that destroys what was written.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use actix_web::http::StatusCode;
use actix_web::http::header::HeaderMap;
use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};
use tokio_rustls::server::TlsStream;

use super::conn::{CLOSE_TIME, Conn, HEAD_TIME, Order, Why};
use crate::call::{Format, JSON, encode, request_id};
use crate::error::{Code, Problem};

/// Bytes that are read at a time only to be thrown away.
const DISCARD: usize = 8 * 1024;

/// What is below HTTP.
pub enum Wire {
    /// TCP.
    Plain(TcpStream),
    /// TLS.
    Tls(Box<TlsStream<TcpStream>>),
}

/// Runs an expression with the stream inside of a [`Wire`].
macro_rules! on {
    ($wire:expr, $stream:ident => $do:expr) => {
        match $wire {
            Wire::Plain($stream) => {
                let $stream = Pin::new($stream);
                $do
            }
            Wire::Tls($stream) => {
                let $stream = Pin::new(&mut **$stream);
                $do
            }
        }
    };
}

/// A connection's bytes.
pub struct Io {
    wire: Wire,
    /// What was read to find out the protocol.
    begin: Bytes,
    /// The rules it is under.
    pub conn: Rc<Conn>,
    lingering: Option<Pin<Box<Sleep>>>,
}

impl Io {
    /// A connection.
    #[must_use]
    pub fn new(wire: Wire, conn: Rc<Conn>) -> Self {
        Self { wire, begin: Bytes::new(), conn, lingering: None }
    }

    /// Puts back what was read to find out the protocol.
    pub fn put_back(&mut self, begin: Bytes) {
        self.begin = begin;
    }

    /// Writes why the connection is closed, if all of it goes at once: it is short, and the peer has read
    /// everything before it.
    fn last_words(&mut self, cx: &mut Context<'_>, why: Why) {
        let problem = match why {
            Why::Slow => Problem::new(
                Code::RequestTimeout,
                format!("the head of a request did not arrive within {} s", HEAD_TIME.as_secs()),
            ),
            Why::Stopping => Problem::new(Code::Unavailable, "the server is stopping").retry_after(1),
            // Nobody has asked for anything.
            Why::Idle => return,
        };
        if !self.conn.say_close() {
            let words = words(&problem);
            let written = on!(&mut self.wire, stream => stream.poll_write(cx, &words));
            if written.is_ready() {
                let _ = on!(&mut self.wire, stream => stream.poll_flush(cx));
            }
        }
    }

    /// Reads on without keeping it until the peer closes.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let timer = self.lingering.get_or_insert_with(|| Box::pin(sleep(CLOSE_TIME)));
        if timer.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let mut space = [0; DISCARD];
        // Bounded by the timer, and one thing at a time: others have their turn in between.
        for _ in 0..16 {
            let mut buffer = ReadBuf::new(&mut space);
            match ready!(on!(&mut self.wire, stream => stream.poll_read(cx, &mut buffer))) {
                Ok(()) if !buffer.filled().is_empty() => {}
                _ => return Poll::Ready(()),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// An answer of HTTP/1 that closes the connection.
fn words(problem: &Problem) -> Vec<u8> {
    let id = request_id(&HeaderMap::new());
    let body = encode(Format::Json, &problem.body(&id), 256).unwrap_or_default();
    let status = StatusCode::from_u16(problem.code.status()).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    let retry = problem.retry_after.map(|seconds| format!("retry-after: {seconds}\r\n")).unwrap_or_default();
    let head = format!(
        "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-type: {JSON}\r\n{retry}x-request-id: {id}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), &body].concat()
}

impl AsyncRead for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.begin.is_empty() {
            let n = this.begin.len().min(buffer.remaining());
            buffer.put_slice(&this.begin[..n]);
            this.begin.advance(n);
            this.conn.hear();
            return Poll::Ready(Ok(()));
        }
        let order = this.conn.order();
        if order != Order::Close(Why::Slow) {
            let before = buffer.filled().len();
            let read = on!(&mut this.wire, stream => stream.poll_read(cx, buffer));
            if read.is_ready() {
                if buffer.filled().len() > before {
                    if order == Order::Go { this.conn.hear() } else { this.conn.go_on() }
                }
                return read;
            }
        }
        match order {
            Order::Go => Poll::Pending,
            // It says so in frames.
            Order::Close(_) if this.conn.is_multiplexed() => Poll::Pending,
            Order::Close(why) => {
                this.last_words(cx, why);
                Poll::Ready(Ok(()))
            }
            Order::Drop => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
        }
    }
}

impl AsyncWrite for Io {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let written = on!(&mut this.wire, stream => stream.poll_write(cx, bytes));
        this.conn.wrote(written.is_ready());
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let written = on!(&mut this.wire, stream => stream.poll_write_vectored(cx, bytes));
        this.conn.wrote(written.is_ready());
        written
    }

    fn is_write_vectored(&self) -> bool {
        match &self.wire {
            Wire::Plain(stream) => stream.is_write_vectored(),
            Wire::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let flushed = on!(&mut this.wire, stream => stream.poll_flush(cx));
        // TCP has nothing to flush and always says that it is done.
        if matches!(this.wire, Wire::Tls(_)) {
            this.conn.wrote(flushed.is_ready());
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.lingering.is_none() {
            ready!(on!(&mut this.wire, stream => stream.poll_shutdown(cx)))?;
        }
        this.poll_linger(cx).map(Ok)
    }
}
