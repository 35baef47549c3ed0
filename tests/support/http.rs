// SPDX-License-Identifier: Apache-2.0
//! Requests and answers, with JSON at hand.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::SOON;
use super::conn::{Conn, Head};

/// How long a connection is kept for the next request: below any server's idle timeout.
const KEEP: Duration = Duration::from_secs(2);

/// A request, independent of a connection.
#[derive(Clone, Debug)]
pub struct Request {
    /// The method.
    pub method: String,
    /// The path with its query.
    pub path: String,
    /// Headers besides `Host`, `Content-Length` and `Connection`.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Option<Vec<u8>>,
    /// How long the answer may take.
    pub within: Duration,
}

impl Request {
    /// A request without a body, anywhere on the server.
    pub fn new(method: &str, path: &str) -> Self {
        Self { method: method.into(), path: path.into(), headers: Vec::new(), body: None, within: SOON }
    }

    /// A `GET` below `/api/v1`.
    pub fn get(path: &str) -> Self {
        Self::new("GET", &format!("/api/v1{path}"))
    }

    /// A request below `/api/v1` with a JSON body.
    pub fn json(method: &str, path: &str, body: &Value) -> Self {
        Self::text(method, path, &body.to_string())
    }

    /// A request below `/api/v1` with a body that says it is JSON.
    pub fn text(method: &str, path: &str, body: &str) -> Self {
        Self::new(method, &format!("/api/v1{path}")).body("application/json", body.as_bytes())
    }

    /// The same with a body.
    pub fn body(mut self, content_type: &str, body: &[u8]) -> Self {
        self.body = Some(body.to_vec());
        self.header("content-type", content_type)
    }

    /// The same with a header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// The same with another time limit.
    pub fn within(mut self, within: Duration) -> Self {
        self.within = within;
        self
    }

    /// The bytes on the wire. A `Host` among the headers replaces the right one.
    pub fn bytes(&self, addr: SocketAddr, keep: bool) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.path);
        let mut line = |name: &str, value: &str| head.push_str(&format!("{name}: {value}\r\n"));
        if !self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            line("host", &addr.to_string());
        }
        if !keep {
            line("connection", "close");
        }
        for (name, value) in &self.headers {
            line(name, value);
        }
        match &self.body {
            Some(body) => line("content-length", &body.len().to_string()),
            None if self.method != "GET" => line("content-length", "0"),
            None => {}
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(self.body.as_deref().unwrap_or_default());
        bytes
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Response {
    /// Status and headers.
    pub head: Head,
    /// The body.
    pub body: Vec<u8>,
}

impl Response {
    /// The status.
    pub const fn status(&self) -> u16 {
        self.head.status
    }

    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.header(name)
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; `null` if it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The machine-readable code of an error.
    pub fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }

    /// The log index at which it was decided.
    pub fn index(&self) -> Option<u64> {
        self.header("x-jobbie-index")?.parse().ok()
    }

    /// The body as JSON, if the status is that one.
    #[track_caller]
    pub fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status(), status, "answer: {}", self.text());
        self.json()
    }

    /// Checks a refusal: status, code, and the three fields that every error has.
    #[track_caller]
    pub fn refused(&self, status: u16, code: &str) -> Value {
        let body = self.expect(status);
        assert_eq!(body["code"], code, "answer: {}", self.text());
        self.is_problem();
        body
    }

    /// Checks that the answer is an error of the contract's form.
    #[track_caller]
    pub fn is_problem(&self) {
        let body = self.json();
        let filled = |name: &str| body[name].as_str().is_some_and(|text| !text.is_empty());
        let whole = filled("error") && filled("code") && filled("request_id");
        assert!(whole, "no error of the contract's form: {} {}", self.status(), self.text());
        let kind = self.header("content-type").unwrap_or_default();
        assert!(kind.starts_with("application/json"), "an error of type {kind}");
    }
}

/// Why there is no answer.
#[derive(Debug)]
pub enum SendError {
    /// No connection, so nothing was sent.
    Refused(io::Error),
    /// It may have arrived.
    Unknown(io::Error),
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(e) => write!(f, "no connection: {e}"),
            Self::Unknown(e) => write!(f, "no answer: {e}"),
        }
    }
}

/// Sends requests, one after the other.
pub struct Client {
    addr: SocketAddr,
    keep: bool,
    idle: Option<(Conn, Instant)>,
}

impl Client {
    /// A client that opens a connection for each request.
    pub const fn new(addr: SocketAddr) -> Self {
        Self { addr, keep: false, idle: None }
    }

    /// A client that keeps its connection.
    pub const fn keeping(addr: SocketAddr) -> Self {
        Self { addr, keep: true, idle: None }
    }

    /// Sends a request and reads the whole answer.
    pub fn send(&mut self, request: &Request) -> Result<Response, SendError> {
        let mut conn = match self.idle.take() {
            Some((conn, since)) if since.elapsed() < KEEP => conn,
            _ => Conn::open(self.addr).map_err(SendError::Refused)?,
        };
        let response =
            exchange(&mut conn, request, &request.bytes(self.addr, self.keep)).map_err(SendError::Unknown)?;
        let closes = response.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        if self.keep && !closes {
            self.idle = Some((conn, Instant::now()));
        }
        Ok(response)
    }
}

fn exchange(conn: &mut Conn, request: &Request, bytes: &[u8]) -> io::Result<Response> {
    let deadline = Instant::now() + request.within;
    // A server may refuse a body before it has read it; its answer counts, not the broken pipe.
    let sent = conn.send(bytes);
    let head = match (conn.head(&request.method, deadline), sent) {
        (Ok(head), _) => head,
        (Err(_), Err(sent)) => return Err(sent),
        (Err(e), Ok(())) => return Err(e),
    };
    let body = conn.body(deadline)?;
    Ok(Response { head, body })
}
