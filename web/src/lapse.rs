// SPDX-License-Identifier: Apache-2.0
//! Ends an answer that goes on when its reader is not let through any more.

use std::pin::Pin;
use std::task::{Context, Poll};

use actix_web::HttpResponse;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;

use crate::error::Problem;

/// A body that ends early when `lapse` resolves. Dropping what is behind it gives back what was not delivered.
pub struct Lapsing {
    body: Option<BoxBody>,
    lapse: LocalBoxFuture<'static, Problem>,
}

impl Lapsing {
    /// Has a streamed answer end by `lapse`; any other is complete already.
    pub fn wrap(response: HttpResponse, lapse: LocalBoxFuture<'static, Problem>) -> HttpResponse {
        if !matches!(response.body().size(), BodySize::Stream) {
            return response;
        }
        response.map_body(|_, body| BoxBody::new(Self { body: Some(body), lapse }))
    }
}

impl MessageBody for Lapsing {
    type Error = Box<dyn std::error::Error>;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        // What is ready as it lapses is not sent any more: the check comes first.
        if self.body.is_some() && self.lapse.poll_unpin(cx).is_ready() {
            self.body = None;
        }
        match &mut self.body {
            Some(body) => Pin::new(body).poll_next(cx),
            None => Poll::Ready(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code;
    use actix_web::body::to_bytes;
    use futures_util::stream;
    use std::future::ready;

    fn streamed() -> HttpResponse {
        let chunks = stream::iter([Ok::<_, actix_web::Error>(Bytes::from_static(b"secret"))]);
        HttpResponse::Ok().streaming(chunks)
    }

    async fn read(lapse: LocalBoxFuture<'static, Problem>) -> Bytes {
        to_bytes(Lapsing::wrap(streamed(), lapse).into_body()).await.unwrap()
    }

    #[actix_web::test]
    async fn nothing_is_sent_once_it_has_lapsed() {
        let revoked = Problem::new(Code::Unauthorized, "revoked");
        assert_eq!(read(Box::pin(ready(revoked))).await, "");
        assert_eq!(read(Box::pin(std::future::pending())).await, "secret");
    }
}
