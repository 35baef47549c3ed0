// SPDX-License-Identifier: Apache-2.0
//! The command line's way to a jobbie server: HTTP/1.1 over tokio, plain or over TLS, nothing else.
//!
//! One small client serves every subcommand: single calls, long polls, event streams and the load generator,
//! which is why it is not a general HTTP library. It must not know any rule of the broker: it carries bodies
//! and turns refusals into [`Error`].
//!
//! What it promises:
//! * [`Error::Connect`] means nothing was sent;
//! * a request is repeated by itself only on a kept-alive connection that the server closed before answering,
//!   and in [`Client::send_repeatable`], which is for calls that the contract makes safe to repeat;
//! * a call that is not safe to repeat says so with [`Call::once`] and is written at most once.

mod address;
mod body;
mod error;
mod http1;
mod repeat;
mod sse;
#[cfg(test)]
pub mod testing;
mod tls;
mod token;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use address::{Base, segment};
pub use body::Body;
pub use error::{Error, Refusal};
pub use http1::{Conn, Head};
pub use sse::{Event, EventStream, Parser as SseParser};
pub use token::unique_token;

/// How long a call may take when it is not a long poll: far above the slowest healthy commit.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the head of a long answer may take: writing a snapshot of millions of jobs takes seconds.
pub const OPEN_TIMEOUT: Duration = Duration::from_secs(600);
/// How long a TCP connect may take; a loopback or data-centre connect takes milliseconds.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Largest answer that is read into memory: the contract's largest is a 16 MiB batch, plus its envelope.
pub const MAX_ANSWER: usize = 64 << 20;

/// A server, how to prove who is calling, and the connections kept open to it.
pub struct Client {
    base: Base,
    auth: Option<String>,
    tls: Option<Arc<tls::Tls>>,
    authorities: Option<PathBuf>,
    idle: Mutex<Vec<Conn>>,
}

/// One request, independent of the connection it goes out on.
pub struct Call {
    /// HTTP method.
    pub method: &'static str,
    /// Path below `/api/v1`, with its query.
    pub path: String,
    /// What the path is below: `/api/v1`, or nothing.
    below: &'static str,
    /// JSON body.
    pub body: Option<Vec<u8>>,
    /// How long the answer may take.
    pub timeout: Duration,
    /// Sent as `Idempotency-Key`, which makes an enqueue repeatable.
    pub key: Option<String>,
    /// Sent as `traceparent`: the trace that the call belongs to.
    pub trace: Option<String>,
    /// Whether it may be written a second time when the first was not answered.
    is_repeatable: bool,
}

/// What the server answered, with a status below 400.
#[derive(Debug)]
pub struct Answer {
    /// The body as received.
    pub body: Vec<u8>,
}

impl Call {
    /// A call without a body.
    pub fn new(method: &'static str, path: impl Into<String>) -> Self {
        let (path, below) = (path.into(), "/api/v1");
        Self {
            method,
            path,
            below,
            body: None,
            timeout: CALL_TIMEOUT,
            key: None,
            trace: None,
            is_repeatable: true,
        }
    }

    /// A `GET` of what is no part of the API, such as `/readyz`.
    pub fn outside_the_api(path: impl Into<String>) -> Self {
        Self { below: "", ..Self::new("GET", path) }
    }

    /// A `POST` with a JSON body.
    pub fn post(path: impl Into<String>, body: &impl Serialize) -> Result<Self, Error> {
        Self::new("POST", path).json(body)
    }

    /// The same call with a JSON body.
    pub fn json(mut self, body: &impl Serialize) -> Result<Self, Error> {
        self.body = Some(serde_json::to_vec(body).map_err(|e| Error::Nonsense(e.to_string()))?);
        Ok(self)
    }

    /// The same call, never sent twice: a second one would do something else again.
    pub fn once(mut self) -> Self {
        self.is_repeatable = false;
        self
    }

    /// The same call, allowed to take `wait` longer than a usual one.
    pub fn waiting(mut self, wait: Duration) -> Self {
        self.timeout = CALL_TIMEOUT + wait;
        self
    }
}

impl Answer {
    /// The body as `T`.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_slice(&self.body)
            .map_err(|e| Error::Nonsense(format!("the server's answer is not what was expected: {e}")))
    }
}

impl Client {
    /// A client for `url` that believes the authorities that this machine believes; opens no connection yet.
    pub fn new(url: &str, api_key: Option<&str>) -> Result<Self, Error> {
        Self::trusting(url, api_key, None)
    }

    /// The same, but believes only the authorities in a PEM file, if there is one.
    pub fn trusting(url: &str, api_key: Option<&str>, authorities: Option<&Path>) -> Result<Self, Error> {
        let base = Base::parse(url)?;
        let tls = base.is_secure.then(|| tls::Tls::new(&base.host, authorities)).transpose()?;
        let auth = match api_key.map(str::trim).filter(|key| !key.is_empty()) {
            Some(key) if key.bytes().any(|b| !(0x21..0x7f).contains(&b)) => {
                return Err(Error::Address("the API key contains characters that no key has".into()));
            }
            key => key.map(str::to_owned),
        };
        Ok(Self {
            base,
            auth,
            tls: tls.map(Arc::new),
            authorities: authorities.map(Path::to_owned),
            idle: Mutex::new(Vec::new()),
        })
    }

    /// The server's address.
    pub fn base(&self) -> &Base {
        &self.base
    }

    /// The API key in use, for children that talk to the same server.
    pub fn api_key(&self) -> Option<&str> {
        self.auth.as_deref()
    }

    /// The file with the authorities that are believed, for those children.
    pub fn authorities(&self) -> Option<&Path> {
        self.authorities.as_deref()
    }

    /// `GET` below `/api/v1`.
    pub async fn get(&self, path: &str) -> Result<Answer, Error> {
        self.send(&Call::new("GET", path)).await
    }

    /// Sends one call and reads its answer; a status of 400 and above is an [`Error::Refused`].
    pub async fn send(&self, call: &Call) -> Result<Answer, Error> {
        let request = self.request_bytes(call, "application/json", &[]);
        let exchange = self.exchange(&request, call.is_repeatable);
        let (head, body) = match tokio::time::timeout(call.timeout, exchange).await {
            Ok(done) => done?,
            Err(_) => return Err(Error::TimedOut { authority: self.base.authority(), after: call.timeout }),
        };
        if head.status >= 400 {
            return Err(Error::Refused(Refusal::read(head.status, head.retry_after, &body)));
        }
        Ok(Answer { body })
    }

    /// Sends a call that is safe to repeat, again and again while its outcome is unknown or the cluster has no
    /// leader. Bounded; the error that is returned is never weaker than what is known: see [`repeat`].
    pub async fn send_repeatable(&self, call: &Call) -> Result<Answer, Error> {
        let mut repeats = repeat::Repeats::default();
        loop {
            match self.send(call).await {
                Ok(answer) => return Ok(answer),
                Err(e) => tokio::time::sleep(repeats.after(e)?).await,
            }
        }
    }

    /// Opens an event stream below `/api/v1`.
    pub async fn stream(&self, path: &str, last_event_id: Option<&str>) -> Result<EventStream, Error> {
        let call = Call::new("GET", path);
        let resume: Vec<(&str, &str)> = last_event_id.map(|id| ("last-event-id", id)).into_iter().collect();
        let request = self.request_bytes(&call, "text/event-stream", &resume);
        let opening = async {
            let mut conn = self.connect().await?;
            let (head, mut framing) = conn.send_and_read_head(&request).await.map_err(|e| self.broken(e))?;
            if head.status != 200 {
                let mut body = Vec::new();
                conn.read_all(&mut framing, &mut body, MAX_ANSWER).await.map_err(|e| self.broken(e))?;
                return Err(Error::Refused(Refusal::read(head.status, head.retry_after, &body)));
            }
            Ok(EventStream::new(conn, framing, self.base.authority()))
        };
        match tokio::time::timeout(CALL_TIMEOUT, opening).await {
            Ok(done) => done,
            Err(_) => Err(Error::TimedOut { authority: self.base.authority(), after: CALL_TIMEOUT }),
        }
    }

    /// Opens a `GET` below `/api/v1` whose answer is too long for memory.
    pub async fn open(&self, path: &str) -> Result<Body, Error> {
        let request = self.request_bytes(&Call::new("GET", path), "*/*", &[]);
        let mut conn = self.connect().await?;
        let opening = async {
            let (head, mut framing) = conn.send_and_read_head(&request).await.map_err(|e| self.broken(e))?;
            if head.status != 200 {
                let mut body = Vec::new();
                conn.read_all(&mut framing, &mut body, MAX_ANSWER).await.map_err(|e| self.broken(e))?;
                return Err(Error::Refused(Refusal::read(head.status, head.retry_after, &body)));
            }
            Ok(framing)
        };
        match tokio::time::timeout(OPEN_TIMEOUT, opening).await {
            Ok(framing) => Ok(Body::new(conn, framing?, self.base.authority())),
            Err(_) => Err(Error::TimedOut { authority: self.base.authority(), after: OPEN_TIMEOUT }),
        }
    }

    /// Opens a connection.
    pub async fn connect(&self) -> Result<Conn, Error> {
        Conn::open(&self.base.host, self.base.port, self.tls.as_deref(), CONNECT_TIMEOUT)
            .await
            .map_err(|source| Error::Connect { authority: self.base.authority(), source })
    }

    /// The bytes of a request, ready for any connection to this server.
    pub fn request_bytes(&self, call: &Call, accept: &str, extra: &[(&str, &str)]) -> Vec<u8> {
        let mut head = format!(
            "{} {}{}{} HTTP/1.1\r\nhost: {}\r\nuser-agent: jobbie-cli/{}\r\naccept: {accept}\r\n",
            call.method,
            self.base.prefix,
            call.below,
            call.path,
            self.base.authority(),
            env!("CARGO_PKG_VERSION"),
        );
        let mut header = |name: &str, value: &str| {
            head.push_str(name);
            head.push_str(": ");
            head.push_str(value);
            head.push_str("\r\n");
        };
        if let Some(key) = &self.auth {
            header("authorization", &format!("Bearer {key}"));
        }
        if let Some(key) = &call.key {
            header("idempotency-key", key);
        }
        if let Some(trace) = &call.trace {
            header("traceparent", trace);
        }
        for (name, value) in extra {
            header(name, value);
        }
        if let Some(body) = &call.body {
            header("content-type", "application/json");
            header("content-length", &body.len().to_string());
        } else if call.method != "GET" {
            header("content-length", "0");
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(call.body.as_deref().unwrap_or_default());
        bytes
    }

    async fn exchange(&self, request: &[u8], is_repeatable: bool) -> Result<(Head, Vec<u8>), Error> {
        let (mut body, mut unanswered) = (Vec::new(), None);
        // A kept connection may be gone, and whether the request was read is then unknown. So a call that must not
        // be written twice gets a fresh one.
        let kept = is_repeatable.then(|| self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop());
        if let Some(mut conn) = kept.flatten() {
            match conn.roundtrip(request, &mut body, MAX_ANSWER).await {
                Ok(head) => return Ok((self.keep(conn, head), body)),
                // Most likely the server closed an idle connection while the request was on its way.
                Err(e) if !conn.saw_answer() => unanswered = Some(e),
                Err(e) => return Err(self.broken(e)),
            }
        }
        let mut conn = match (self.connect().await, unanswered) {
            (Ok(conn), _) => conn,
            // The request was written before, so this is not "nothing was sent".
            (Err(_), Some(unanswered)) => return Err(self.broken(unanswered)),
            (Err(e), None) => return Err(e),
        };
        let head = conn.roundtrip(request, &mut body, MAX_ANSWER).await.map_err(|e| self.broken(e))?;
        Ok((self.keep(conn, head), body))
    }

    fn keep(&self, conn: Conn, head: Head) -> Head {
        if conn.is_reusable() {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(conn);
        }
        head
    }

    fn broken(&self, source: std::io::Error) -> Error {
        Error::Broken { authority: self.base.authority(), source }
    }
}

#[cfg(test)]
mod tests;
