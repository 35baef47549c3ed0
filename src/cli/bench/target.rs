// SPDX-License-Identifier: Apache-2.0
//! What is loaded: a server, and requests to it as bytes that are built once or into a buffer that is kept.

use std::borrow::Cow;
use std::io;
use std::io::Write as _;
use std::net::ToSocketAddrs;
use std::time::Instant;

use anyhow::{Context as _, Result};
use serde::Deserialize;

use super::super::exit::usage;
use super::stats::Part;
use crate::client::{Client, Conn, Refusal};

/// Largest answer: a thousand jobs of the largest payload asked for.
const MAX_ANSWER: usize = 64 << 20;

/// A server under load.
pub struct Target {
    client: Client,
    /// Everything of a request's head that never changes.
    headers: String,
}

/// A job as a worker gets it; what the benchmark needs of it.
#[derive(Debug, Deserialize)]
pub struct Leased<'a> {
    /// Its id.
    #[serde(borrow)]
    pub job_id: Cow<'a, str>,
    /// Proof of the lease.
    #[serde(borrow)]
    pub lease_token: Cow<'a, str>,
}

/// A batch of them.
#[derive(Debug, Deserialize)]
pub struct LeasedMany<'a> {
    /// The jobs.
    #[serde(borrow)]
    pub jobs: Vec<Leased<'a>>,
}

impl Target {
    /// A server; one that is not on this machine only if the caller says that it is theirs.
    pub fn new(url: &str, api_key: Option<&str>, is_mine: bool) -> Result<Self> {
        let client = Client::new(url, api_key)?;
        let base = client.base();
        let mut found = (base.host.as_str(), base.port)
            .to_socket_addrs()
            .with_context(|| format!("cannot find {}", base.host))?;
        if !is_mine && !found.all(|address| address.ip().is_loopback()) {
            return Err(usage(format!(
                "{} is not this machine; loading it needs --i-own-this-host",
                base.authority()
            )));
        }
        let auth = client.api_key().map(|key| format!("authorization: Bearer {key}\r\n")).unwrap_or_default();
        let headers = format!(
            "host: {}\r\n{auth}accept: application/json\r\ncontent-type: application/json\r\n",
            base.authority()
        );
        Ok(Self { client, headers })
    }

    /// For calls that are not measured.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// A request as bytes.
    pub fn request(&self, path: &str, body: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.headers.len() + body.len() + 128);
        self.write(&mut bytes, &[path], body);
        bytes
    }

    /// The same into a buffer; the path in parts.
    pub fn write(&self, bytes: &mut Vec<u8>, path: &[&str], body: &[u8]) {
        bytes.clear();
        bytes.extend_from_slice(b"POST ");
        bytes.extend_from_slice(self.client.base().prefix.as_bytes());
        bytes.extend_from_slice(b"/api/v1");
        path.iter().for_each(|part| bytes.extend_from_slice(part.as_bytes()));
        // Writing to a vector cannot fail.
        let _ = write!(bytes, " HTTP/1.1\r\n{}content-length: {}\r\n\r\n", self.headers, body.len());
        bytes.extend_from_slice(body);
    }
}

/// A connection under load, with its buffers.
pub struct Line {
    conn: Conn,
    /// The last answer's body.
    pub body: Vec<u8>,
    /// What it did.
    pub part: Part,
}

impl Line {
    /// Connects.
    pub async fn open(target: &Target) -> Result<Self> {
        Ok(Self { conn: target.client.connect().await?, body: Vec::new(), part: Part::default() })
    }

    /// Sends a request and reads the answer into `body`. False if it was refused; an error if the connection is gone.
    pub async fn send(&mut self, request: &[u8]) -> io::Result<bool> {
        let start = Instant::now();
        let head = self.conn.roundtrip(request, &mut self.body, MAX_ANSWER).await?;
        self.part.answered(start);
        if head.status >= 300 {
            let refusal = Refusal::read(head.status, head.retry_after, &self.body);
            self.part.error(format!("{} [{}]", refusal.sentence, refusal.code));
            return Ok(false);
        }
        Ok(true)
    }
}

/// The body of an enqueue of `size` bytes of payload.
pub fn job(queue: &str, size: usize) -> String {
    let filler = "x".repeat(size.saturating_sub(r#"{"data":""}"#.len()));
    format!(r#"{{"queue":"{queue}","payload":{{"data":"{filler}"}}}}"#)
}

/// The body of a batch of the same job.
pub fn batch(job: &str, count: usize) -> String {
    format!(r#"{{"jobs":[{}]}}"#, vec![job; count].join(","))
}

/// The body of a batch of acks.
pub fn acks<'a>(jobs: impl Iterator<Item = (&'a str, &'a str)>, body: &mut Vec<u8>) {
    body.clear();
    body.extend_from_slice(br#"{"acks":["#);
    for (i, (id, token)) in jobs.enumerate() {
        if i > 0 {
            body.push(b',');
        }
        let _ = write!(body, r#"{{"job_id":"{id}","lease_token":"{token}"}}"#);
    }
    body.extend_from_slice(b"]}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_have_their_size_and_are_json() {
        let one: serde_json::Value = serde_json::from_str(&job("q", 200)).unwrap();
        assert_eq!(one["payload"].to_string().len(), 200);
        let many: serde_json::Value = serde_json::from_str(&batch(&job("q", 0), 3)).unwrap();
        assert_eq!(many["jobs"].as_array().unwrap().len(), 3);
        let mut body = Vec::new();
        acks([("a", "t"), ("b", "u")].into_iter(), &mut body);
        let acks: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(acks["acks"][1]["lease_token"], "u");
    }

    #[test]
    fn only_this_machine_is_loaded() {
        assert!(Target::new("http://127.0.0.1:1", None, false).is_ok());
        assert!(Target::new("http://[::1]:1", None, false).is_ok());
        let error = Target::new("http://192.0.2.1:1", None, false).err().unwrap();
        assert!(error.to_string().contains("--i-own-this-host"));
        assert!(Target::new("http://192.0.2.1:1", None, true).is_ok());
    }

    #[test]
    fn requests_are_whole() {
        let target = Target::new("http://127.0.0.1:1/base", Some("k"), false).unwrap();
        let text = String::from_utf8(target.request("/enqueue", b"{}")).unwrap();
        assert!(text.starts_with(
            "POST /base/api/v1/enqueue HTTP/1.1\r\nhost: 127.0.0.1:1\r\nauthorization: Bearer k\r\n"
        ));
        assert!(text.ends_with("content-length: 2\r\n\r\n{}"));
    }
}
