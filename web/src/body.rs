// SPDX-License-Identifier: Apache-2.0
//! The body of a request: read up to what its route may need, and counted against what all of them together
//! may hold, so that many slow senders cannot fill the memory.
//!
//! ```text
//! limit of the route → room of the process → content type → JSON text
//! ```
//!
//! A body that is refused is read to its end, without keeping it: a connection that is cut while the caller
//! still sends looks like a broken network, not like an answer.

use std::fmt::Display;
use std::net::IpAddr;
use std::ops::Deref;
use std::time::Duration;

use actix_web::http::header::{CONTENT_LENGTH, HeaderMap};
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _};
use tokio::time::{Instant, timeout_at};

use crate::call::BodyType;
use crate::error::{Code, Detail, Problem};
use crate::routes::Takes;
use crate::shares::{Refused, Share, Shares};
use crate::wire::{Limits, msgpack};

/// What all bodies together may hold: sixteen of the largest.
pub const TOTAL: usize = 256 * 1024 * 1024;
/// The unit they are counted in. A body below it is not counted: the buffers of its connection are as large,
/// and so small calls pass however much is being uploaded.
const UNIT: usize = 16 * 1024;
/// How long a body may take to arrive: 16 MiB at a little more than 4 Mbit/s.
pub const BODY_TIME: Duration = Duration::from_secs(30);

/// The room that the bodies of all requests share.
pub struct Bodies(Shares);

impl Default for Bodies {
    fn default() -> Self {
        Self(Shares::new(TOTAL / UNIT))
    }
}

/// A body as JSON text; its room is given back when it is dropped.
#[derive(Default)]
pub struct Body {
    text: Bytes,
    _room: Option<Share>,
}

impl Deref for Body {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.text
    }
}

/// What one body has taken of the room of all.
struct Room(Share);

impl Room {
    /// Takes what is missing for a body of that size.
    fn cover(&mut self, bytes: usize) -> Result<(), Problem> {
        let missing = (bytes / UNIT).saturating_sub(self.0.units());
        self.0.grow(missing).map_err(|refused| {
            let message = match refused {
                Refused::Full => "the bodies that are being sent take all the memory there is for them",
                Refused::Share => "the bodies that this address is sending take its share of the memory",
            };
            Problem::new(Code::Overloaded, message).retry_after(1)
        })
    }
}

impl Bodies {
    /// Reads the body of a call; what it takes counts for `client`, if it is known.
    ///
    /// # Errors
    /// `PAYLOAD_TOO_LARGE`, `REQUEST_TIMEOUT`, `OVERLOADED`, `UNSUPPORTED_MEDIA_TYPE`, `VALIDATION`.
    pub async fn read<E: Display>(
        &self,
        mut payload: impl Stream<Item = Result<Bytes, E>> + Unpin,
        headers: &HeaderMap,
        takes: Takes,
        limits: &Limits,
        client: Option<IpAddr>,
    ) -> Result<Body, Problem> {
        let Some(limit) = takes.size().map(|size| size.limit(limits)) else { return Ok(Body::default()) };
        let length = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        if let Some(length) = length.filter(|length| *length > limits.body) {
            return Err(Problem::too_large("the body", length, limit));
        }
        let deadline = Instant::now() + BODY_TIME;
        let (bytes, mut room) =
            match timeout_at(deadline, self.collect(&mut payload, length, limit, client)).await {
                Ok(Ok(read)) => read,
                Ok(Err(problem)) => {
                    // How that ends changes nothing in the answer.
                    let _ = timeout_at(deadline, skip(&mut payload, limits.body)).await;
                    return Err(problem);
                }
                Err(_) => {
                    let message = format!("the body did not arrive within {} s", BODY_TIME.as_secs());
                    return Err(Problem::new(Code::RequestTimeout, message));
                }
            };
        let kind = BodyType::of(headers);
        let right = match kind {
            BodyType::Json => true,
            BodyType::MsgPack => matches!(takes, Takes::Worker(_)),
            BodyType::None => bytes.is_empty(),
            BodyType::Other => false,
        };
        if !right {
            return Err(unsupported(takes));
        }
        let text = if kind == BodyType::MsgPack && !bytes.is_empty() {
            let text = msgpack::to_json(&bytes, limit)?;
            room.cover(text.capacity())?;
            text.into()
        } else {
            bytes
        };
        Ok(Body { text, _room: (room.0.units() > 0).then_some(room.0) })
    }

    /// The whole body. What came in one piece, as most bodies do, is not copied.
    async fn collect<E: Display>(
        &self,
        payload: &mut (impl Stream<Item = Result<Bytes, E>> + Unpin),
        length: Option<usize>,
        limit: usize,
        client: Option<IpAddr>,
    ) -> Result<(Bytes, Room), Problem> {
        if let Some(length) = length.filter(|length| *length > limit) {
            return Err(Problem::too_large("the body", length, limit));
        }
        let mut room = Room(self.0.nothing(client));
        let (mut first, mut whole) = (Bytes::new(), BytesMut::new());
        while let Some(part) = payload.next().await {
            let part =
                part.map_err(|e| Problem::new(Code::Validation, format!("the body could not be read: {e}")))?;
            let size = first.len() + whole.len() + part.len();
            if size > limit {
                return Err(Problem::too_large("the body", size, limit));
            }
            if first.is_empty() && whole.is_empty() {
                room.cover(size)?;
                first = part;
                continue;
            }
            if whole.capacity() < size {
                // Not at once what was announced: who sends nothing should not take room.
                let capacity = (size * 2).min(length.unwrap_or(limit)).max(size);
                room.cover(capacity)?;
                let mut larger = BytesMut::with_capacity(capacity);
                larger.extend_from_slice(&std::mem::take(&mut first));
                larger.extend_from_slice(&whole);
                whole = larger;
            }
            whole.extend_from_slice(&part);
        }
        Ok((if whole.is_empty() { first } else { whole.freeze() }, room))
    }
}

/// Reads on to the end, or as far as the largest body could go.
async fn skip<E>(payload: &mut (impl Stream<Item = Result<Bytes, E>> + Unpin), most: usize) {
    let mut skipped = 0;
    while let Some(Ok(part)) = payload.next().await {
        skipped += part.len();
        if skipped > most {
            return;
        }
    }
}

fn unsupported(takes: Takes) -> Problem {
    let allowed = match takes {
        Takes::Worker(_) => "application/json or application/msgpack",
        _ => "application/json",
    };
    Problem::new(Code::UnsupportedMediaType, format!("the content type of the body must be {allowed}"))
        .with("field", Detail::Text("Content-Type".into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routes::Size;
    use actix_web::http::header::{CONTENT_TYPE, HeaderValue};
    use futures_util::stream;

    fn headers(kind: &'static str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        headers
    }

    fn parts(size: usize, part: usize) -> impl Stream<Item = Result<Bytes, String>> + Unpin {
        let whole = Bytes::from(vec![b'x'; size]);
        let ends = (0..size).step_by(part);
        stream::iter(ends.map(move |at| Ok(whole.slice(at..(at + part).min(size)))).collect::<Vec<_>>())
    }

    async fn read(bodies: &Bodies, size: usize, takes: Takes) -> Result<Body, Problem> {
        let headers = headers("application/json");
        bodies.read(parts(size, 30_000), &headers, takes, &Limits::default(), None).await
    }

    fn free(bodies: &Bodies) -> usize {
        bodies.0.free()
    }

    #[tokio::test]
    async fn a_body_in_parts_is_put_together() {
        let bodies = Bodies::default();
        for size in [0, 1, 29_999, 30_000, 30_001, 700_000] {
            let body = read(&bodies, size, Takes::Worker(Size::Job)).await.unwrap();
            assert_eq!((body.len(), body.iter().all(|b| *b == b'x')), (size, true));
        }
        assert_eq!(free(&bodies), TOTAL / UNIT);
    }

    #[tokio::test]
    async fn bodies_together_have_a_limit_and_small_ones_pass_it() {
        let bodies = Bodies::default();
        let mut held = Vec::new();
        let refused = loop {
            match read(&bodies, 16 * 1024 * 1024, Takes::Worker(Size::Batch)).await {
                Ok(body) => held.push(body),
                Err(problem) => break problem,
            }
        };
        assert_eq!((refused.code, refused.retry_after, held.len()), (Code::Overloaded, Some(1), 16));
        assert_eq!(free(&bodies), 0);
        assert_eq!(read(&bodies, 10_000, Takes::Worker(Size::Attempt)).await.unwrap().len(), 10_000);
        drop(held);
        assert_eq!(free(&bodies), TOTAL / UNIT);
    }

    #[tokio::test]
    async fn a_body_takes_room_only_for_what_has_come() {
        let bodies = Bodies::default();
        let mut announced = headers("application/json");
        announced.insert(CONTENT_LENGTH, HeaderValue::from_static("16777216"));
        let slow = parts(60_000, 30_000).chain(stream::pending());
        let limits = Limits::default();
        let mut reading = Box::pin(bodies.read(slow, &announced, Takes::Json(Size::Batch), &limits, None));
        assert!(futures_util::poll!(&mut reading).is_pending());
        assert!((1..=8).contains(&(TOTAL / UNIT - free(&bodies))));
        drop(reading);
        assert_eq!(free(&bodies), TOTAL / UNIT);
    }

    #[tokio::test]
    async fn a_single_call_may_not_send_what_only_a_batch_needs() {
        let (bodies, limits) = (Bodies::default(), Limits::default());
        for (takes, most) in [
            (Takes::Json(Size::Fields), 512 << 10),
            (Takes::Worker(Size::Job), 768 << 10),
            (Takes::Worker(Size::Batch), 16 << 20),
        ] {
            assert_eq!(read(&bodies, most, takes).await.unwrap().len(), most);
            let Err(problem) = read(&bodies, most + 1, takes).await else { panic!("{takes:?}") };
            assert_eq!(problem.code, Code::PayloadTooLarge);
            assert!(problem.details.contains(&("limit", Detail::Number(most as u64))), "{problem:?}");
        }
        assert!(Size::Attempt.limit(&limits) > limits.result + limits.checkpoint);
        assert_eq!(Size::Job.limit(&Limits { payload: usize::MAX, ..limits }), limits.body);
        assert_eq!(read(&bodies, 5, Takes::Nothing).await.unwrap().len(), 0);
    }

    #[tokio::test]
    async fn what_is_refused_is_read_to_its_end() {
        let (bodies, limits) = (Bodies::default(), Limits::default());
        for announced in [None, Some(HeaderValue::from_static("1000000"))] {
            let mut headers = headers("application/json");
            if let Some(length) = announced {
                headers.insert(CONTENT_LENGTH, length);
            }
            let mut payload = parts(1_000_000, 30_000);
            let read = bodies.read(&mut payload, &headers, Takes::Worker(Size::Job), &limits, None);
            assert!(read.await.is_err_and(|problem| problem.code == Code::PayloadTooLarge));
            assert!(payload.next().await.is_none());
        }
    }

    #[tokio::test]
    async fn messagepack_is_no_way_around_the_limit() {
        let bodies = Bodies::default();
        // A byte in it becomes six in JSON: \u0001.
        let mut packed = b"\xdb\x00\x0a\x00\x00".to_vec();
        packed.extend(vec![1; 0x0a_0000]);
        let payload = stream::iter([Ok::<_, String>(Bytes::from(packed))]);
        let headers = headers("application/msgpack");
        let read = bodies.read(payload, &headers, Takes::Worker(Size::Job), &Limits::default(), None).await;
        assert!(read.is_err_and(|problem| problem.code == Code::PayloadTooLarge));
        let payload = stream::iter([Ok::<_, String>(Bytes::from_static(b"\x80"))]);
        let read = bodies.read(payload, &headers, Takes::Json(Size::Job), &Limits::default(), None).await;
        assert!(read.is_err_and(|problem| problem.code == Code::UnsupportedMediaType));
    }
}
