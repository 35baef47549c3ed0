// SPDX-License-Identifier: Apache-2.0
//! How the doors are set up.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use crate::forwarded::Network;
use crate::server::TlsFiles;
use crate::wire::Limits;

/// Settings of the HTTP server.
#[derive(Clone, Debug)]
pub struct WebConfig {
    /// The addresses to listen on.
    pub bind: Vec<SocketAddr>,
    /// The path that everything lies under: `/`, or `/jobs` behind a proxy that passes the path on.
    pub base_path: String,
    /// How large things may be.
    pub limits: Limits,
    /// Threads that read and write connections.
    pub workers: usize,
    /// Connections that may be open at once.
    pub max_connections: usize,
    /// Event and job streams that may be open at once.
    pub max_streams: usize,
    /// A request that takes this long, without what its caller asked to wait, is worth a line in the log; `None`
    /// writes none.
    pub slow_request: Option<Duration>,
    /// Certificate and key; without them connections are not encrypted.
    pub tls: Option<TlsFiles>,
    /// Proxies that are believed when they say for whom they call.
    pub trusted_proxies: Vec<Network>,
    /// How long requests that are being answered may take when the server stops.
    pub shutdown_grace: Duration,
    /// Listen on more than loopback although there are no keys.
    pub insecure_no_auth: bool,
    /// Show the metrics to everybody, also once there are keys.
    pub public_metrics: bool,
    /// Add routes that tests of the server need.
    pub debug: bool,
}

impl Default for WebConfig {
    fn default() -> Self {
        Self {
            bind: vec![SocketAddr::from(([127, 0, 0, 1], 8080))],
            base_path: "/".into(),
            limits: Limits::default(),
            workers: std::thread::available_parallelism().map_or(2, |n| n.get().clamp(2, 16)),
            max_connections: 25_000,
            // A stream holds a connection and a few kilobytes.
            max_streams: 10_000,
            slow_request: Some(Duration::from_secs(1)),
            tls: None,
            trusted_proxies: Vec::new(),
            shutdown_grace: Duration::from_secs(10),
            insecure_no_auth: false,
            public_metrics: false,
            debug: false,
        }
    }
}

impl WebConfig {
    /// True if nobody but this machine can connect.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.bind.iter().all(|address| address.ip().is_loopback())
    }

    /// The base path without its last slash: empty, or `/jobs`.
    ///
    /// # Errors
    /// If it has characters that would have to be encoded, or empty parts.
    pub fn base(&self) -> io::Result<String> {
        let base = self.base_path.trim_end_matches('/');
        if base.is_empty() {
            return Ok(String::new());
        }
        let plain = |part: &str| {
            let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~');
            !part.is_empty() && !matches!(part, "." | "..") && part.bytes().all(allowed)
        };
        match base.strip_prefix('/') {
            Some(path) if path.split('/').all(plain) => Ok(base.to_owned()),
            _ => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!(
                    "the base path {:?} must be like /jobs, with letters, digits, - _ . ~",
                    self.base_path
                ),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_path_is_plain() {
        let base = |text: &str| WebConfig { base_path: text.into(), ..WebConfig::default() }.base();
        for (text, expected) in [("", ""), ("/", ""), ("/jobs", "/jobs"), ("/a/b.c/", "/a/b.c")] {
            assert_eq!(base(text).unwrap(), expected);
        }
        for bad in ["jobs", "/a//b", "/a b", "/../x", "/{x}", "/é"] {
            assert!(base(bad).is_err(), "{bad}");
        }
    }
}
