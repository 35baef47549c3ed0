// SPDX-License-Identifier: Apache-2.0
//! HTTP/2 without TLS, by prior knowledge: one connection, calls and event streams on it. Only for the latency rows; the
//! load of all others is HTTP/1.1, which costs the client less.

use std::collections::VecDeque;

use anyhow::{Context as _, Result, anyhow, bail};
use bytes::Bytes;
use h2::RecvStream;
use h2::client::SendRequest;
use http::Request;
use tokio::net::TcpStream;
use tokio::task::AbortHandle;

use super::target::Target;
use crate::client::{Event, SseParser};

/// A connection. Dropping it closes it.
pub struct Http2 {
    send: SendRequest<Bytes>,
    base: String,
    authorization: Option<String>,
    driver: AbortHandle,
}

impl Http2 {
    /// Connects, with `TCP_NODELAY`: without it a small frame can wait 40 ms for an acknowledgement.
    pub async fn open(target: &Target) -> Result<Self> {
        let base = target.client().base();
        let stream = TcpStream::connect((base.host.as_str(), base.port)).await?;
        stream.set_nodelay(true)?;
        let (send, connection) =
            h2::client::handshake(stream).await.context("the server does not speak HTTP/2")?;
        let driver = tokio::spawn(async move {
            // A broken connection is seen by the calls on it.
            let _ = connection.await;
        });
        Ok(Self {
            send,
            base: format!("http://{}{}/api/v1", base.authority(), base.prefix),
            authorization: target.client().api_key().map(|key| format!("Bearer {key}")),
            driver: driver.abort_handle(),
        })
    }

    /// A call; the body of its answer, or an error if it was refused.
    pub async fn post(&mut self, path: &str, body: Bytes) -> Result<Vec<u8>> {
        let mut answer = self.request("POST", path, Some(body)).await?;
        let mut bytes = Vec::new();
        while let Some(part) = answer.data().await {
            let part = part?;
            answer.flow_control().release_capacity(part.len())?;
            bytes.extend_from_slice(&part);
        }
        Ok(bytes)
    }

    /// An event stream.
    pub async fn stream(&mut self, path: &str) -> Result<Events> {
        let answer = self.request("GET", path, None).await?;
        Ok(Events { answer, parser: SseParser::default(), ready: VecDeque::new() })
    }

    async fn request(&mut self, method: &str, path: &str, body: Option<Bytes>) -> Result<RecvStream> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization);
        }
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        let mut send = self.send.clone().ready().await?;
        let (answer, mut sending) = send.send_request(request.body(())?, body.is_none())?;
        if let Some(body) = body {
            sending.send_data(body, true)?;
        }
        let answer = answer.await?;
        if !answer.status().is_success() {
            bail!("{path} was answered with {}", answer.status());
        }
        Ok(answer.into_body())
    }
}

impl Drop for Http2 {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// An open event stream.
pub struct Events {
    answer: RecvStream,
    parser: SseParser,
    ready: VecDeque<Event>,
}

impl Events {
    /// The next event.
    pub async fn next(&mut self) -> Result<Event> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(event);
            }
            let part = self.answer.data().await.context("the server ended the stream")??;
            self.answer.flow_control().release_capacity(part.len())?;
            let ready = &mut self.ready;
            self.parser.push(&part, |event| ready.push_back(event)).map_err(|why| anyhow!(why))?;
        }
    }
}
