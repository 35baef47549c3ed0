// SPDX-License-Identifier: Apache-2.0
//! HTTP/2 on one connection: its limits, its calls, and how it says goodbye.
//!
//! A stream that its peer resets ends its call at once, so a peer that opens and resets streams has never
//! more calls under way than one that does not. What it can make this side keep is bounded: streams at once,
//! the size of a head (which bounds CONTINUATION frames too), resets that wait to be seen, the bytes of each
//! answer that are not on the wire yet.

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::SystemTime;

use actix_http::body::{BodySize, MessageBody as _};
use actix_http::error::PayloadError;
use actix_http::header::{HttpDate, TryIntoHeaderValue as _};
use actix_http::{BoxedPayloadStream, HttpMessage as _, Payload, Request, Response, ResponseHead};
use actix_web::http::header::{CONNECTION, CONTENT_LENGTH, DATE, TRANSFER_ENCODING, UPGRADE};
use actix_web::http::{Method, StatusCode};
use bytes::Bytes;
use futures_util::stream;
use h2::server::{Connection, SendResponse};
use h2::{Reason, RecvStream, SendStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::conn::{Conn, Order, WRITE_TIME, Why};
use super::io::Io;
use super::service::Body;

/// Streams of one connection at a time: what browsers and proxies ask for.
pub const MAX_STREAMS: u32 = 128;
/// Bytes of a request's head, unpacked, with 32 for each field as the standard counts.
pub const MAX_HEAD: u32 = 64 * 1024;
/// Bytes of one body that may be on their way before they are asked for.
const STREAM_WINDOW: u32 = 256 * 1024;
/// The same for all bodies of a connection together.
const WINDOW: u32 = 1024 * 1024;
/// Bytes of one answer that may wait to be written.
const SEND_BUFFER: usize = 64 * 1024;
/// Bytes of an answer that are asked room for at a time: one frame.
const FRAME: usize = 16 * 1024;

/// Serves a connection to its end.
pub async fn serve<F, A>(io: Io, answer: F)
where
    F: Fn(Request) -> A + Clone + 'static,
    A: Future<Output = Response<Body>> + 'static,
{
    let conn = io.conn.clone();
    let mut builder = h2::server::Builder::new();
    builder
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEAD)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_send_buffer_size(SEND_BUFFER);
    let Ok(mut connection) = builder.handshake(io).await else { return };
    conn.multiplex();
    // Dropped with the connection, and its calls with it.
    let mut calls = JoinSet::new();
    let mut goodbye = Goodbye::default();
    loop {
        let next = poll_fn(|cx| {
            while let Poll::Ready(Some(_)) = calls.poll_join_next(cx) {}
            goodbye.say(&conn, &mut connection);
            accept(&mut connection, calls.len(), cx)
        });
        match next.await {
            Some(Ok((request, respond))) => {
                calls.spawn_local(call(request, respond, conn.clone(), answer.clone()));
            }
            Some(Err(_)) | None => return,
        }
    }
}

type Accepted = Option<Result<(http::Request<RecvStream>, SendResponse<Bytes>), h2::Error>>;

/// The next stream. One that is reset makes room for another on the wire before its call has been seen to
/// end here, so the calls are counted too.
fn accept(connection: &mut Connection<Io, Bytes>, calls: usize, cx: &mut Context<'_>) -> Poll<Accepted> {
    if calls < MAX_STREAMS as usize {
        connection.poll_accept(cx)
    } else {
        connection.poll_closed(cx).map(|closed| closed.err().map(Err))
    }
}

/// How far a connection's end has been announced.
#[derive(Default)]
struct Goodbye {
    announced: bool,
    ended: bool,
}

impl Goodbye {
    fn say(&mut self, conn: &Conn, connection: &mut Connection<Io, Bytes>) {
        let order = conn.order();
        if !self.announced && (conn.is_stopping() || order != Order::Go) {
            // GOAWAY, and after a round trip another one that names the last stream that will be answered.
            self.announced = true;
            connection.graceful_shutdown();
        }
        if !self.ended && order == Order::Close(Why::Stopping) && conn.calls() == 0 {
            // The peer does not answer the ping that makes the round trip.
            self.ended = true;
            connection.abrupt_shutdown(Reason::NO_ERROR);
        }
    }
}

async fn call<F, A>(
    request: http::Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    conn: Rc<Conn>,
    answer: F,
) where
    F: Fn(Request) -> A,
    A: Future<Output = Response<Body>>,
{
    let (request, only_head) = translate(request, &conn);
    let mut answering = pin!(answer(request));
    let answered = poll_fn(|cx| {
        if respond.poll_reset(cx).is_ready() {
            return Poll::Ready(None);
        }
        answering.as_mut().poll(cx).map(Some)
    });
    let Some(response) = answered.await else { return };
    let size = response.body().size();
    let is_empty = only_head
        || matches!(size, BodySize::None | BodySize::Sized(0))
        || matches!(response.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let Ok(stream) = respond.send_response(head(response.head(), size), is_empty) else { return };
    if !is_empty {
        send(stream, response.into_body(), size).await;
    }
}

/// A request of h2 as one of the application.
fn translate(request: http::Request<RecvStream>, conn: &Rc<Conn>) -> (Request, bool) {
    let (parts, body) = request.into_parts();
    let only_head = parts.method == Method::HEAD;
    let body = stream::unfold(body, |mut body| async {
        let part = body.data().await?;
        let part = part.and_then(|bytes| {
            body.flow_control().release_capacity(bytes.len())?;
            Ok(bytes)
        });
        Some((part.map_err(PayloadError::Http2Payload), body))
    });
    let body: BoxedPayloadStream = Box::pin(body);
    let mut request = Request::with_payload(Payload::Stream { payload: body });
    let head = request.head_mut();
    head.uri = parts.uri;
    head.method = parts.method;
    head.version = parts.version;
    head.headers = parts.headers.into();
    head.peer_addr = Some(conn.peer);
    request.extensions_mut().insert(conn.clone());
    (request, only_head)
}

fn head(from: &ResponseHead, size: BodySize) -> http::Response<()> {
    let mut to = http::Response::new(());
    *to.status_mut() = from.status;
    let headers = to.headers_mut();
    for (name, value) in from.headers.iter() {
        // The standard forbids what speaks of one HTTP/1 connection.
        if ![CONNECTION, TRANSFER_ENCODING, UPGRADE, CONTENT_LENGTH].contains(name) {
            headers.append(name, value.clone());
        }
    }
    if let BodySize::Sized(length) = size
        && from.status != StatusCode::NO_CONTENT
    {
        headers.insert(CONTENT_LENGTH, length.into());
    }
    if let Ok(now) = HttpDate::from(SystemTime::now()).try_into_value() {
        headers.entry(DATE).or_insert(now);
    }
    to
}

/// Writes a body as the peer makes room for it; gives up if it makes none for [`WRITE_TIME`].
async fn send(mut stream: SendStream<Bytes>, body: Body, size: BodySize) {
    let mut body = pin!(body);
    let mut left = match size {
        BodySize::Sized(length) => Some(length),
        _ => None,
    };
    loop {
        let next = poll_fn(|cx| {
            if stream.poll_reset(cx).is_ready() {
                return Poll::Ready(None);
            }
            body.as_mut().poll_next(cx).map(Some)
        });
        let Some(next) = next.await else { return };
        let sent = match next {
            Some(Ok(part)) => {
                left = left.map(|left| left.saturating_sub(part.len() as u64));
                match write(&mut stream, part, left == Some(0)).await {
                    Ok(()) if left == Some(0) => return,
                    sent => sent,
                }
            }
            Some(Err(_)) => Err(Reason::INTERNAL_ERROR),
            None => {
                // If this fails the peer is gone.
                let _ = stream.send_data(Bytes::new(), true);
                return;
            }
        };
        if let Err(reason) = sent {
            stream.send_reset(reason);
            return;
        }
    }
}

async fn write(stream: &mut SendStream<Bytes>, mut part: Bytes, is_last: bool) -> Result<(), Reason> {
    while !part.is_empty() {
        stream.reserve_capacity(part.len().min(FRAME));
        let room = match timeout(WRITE_TIME, poll_fn(|cx| stream.poll_capacity(cx))).await {
            Ok(Some(Ok(room))) => room,
            Ok(_) | Err(_) => return Err(Reason::CANCEL),
        };
        let now = part.split_to(part.len().min(room));
        let ends = is_last && part.is_empty();
        stream.send_data(now, ends).map_err(|_| Reason::CANCEL)?;
    }
    Ok(())
}

/// The first bytes of every HTTP/2 connection.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Whether a connection begins like HTTP/2; `None` if too little of it has come.
#[must_use]
pub fn begins(bytes: &[u8]) -> Option<bool> {
    let seen = bytes.len().min(PREFACE.len());
    if bytes[..seen] != PREFACE[..seen] {
        return Some(false);
    }
    (seen == PREFACE.len()).then_some(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http2_is_known_by_its_preface_however_it_is_cut() {
        for seen in 0..PREFACE.len() {
            assert_eq!(begins(&PREFACE[..seen]), None, "{seen}");
        }
        assert_eq!(begins(PREFACE), Some(true));
        assert_eq!(begins(&[PREFACE, b"more"].concat()), Some(true));
        for other in ["GET / HTTP/1.1", "POST", "PRI * HTTP/1.1\r\n", "\u{16}\u{3}"] {
            assert_eq!(begins(other.as_bytes()), Some(false), "{other}");
        }
    }
}
