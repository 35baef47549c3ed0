// SPDX-License-Identifier: Apache-2.0
//! Who is believed about where calls come from. Shares of streams tell clients apart, so they are the measure.

use std::net::SocketAddr;

use serde_json::json;

use crate::fixture::name;
use crate::support::{Launch, Request, Server, Stream};

/// Few enough files that a share is reached soon.
const FILES: u64 = 1_500;

fn stream(addr: SocketAddr, header: &str, value: &str) -> Result<Stream, u16> {
    // Each its own worker: one that connects again takes its old stream's place.
    let path = format!("/stream?queues=q&worker_id={}", name("w"));
    let opened = Stream::open(addr, &path, &[(header, value)]);
    opened.expect("the server answers").map_err(|answer| answer.status())
}

/// Opens streams with headers by number until one is refused.
fn fill(server: &Server, header: &str, value: impl Fn(usize) -> String) -> Vec<Stream> {
    let mut open = Vec::new();
    loop {
        match stream(server.addr(), header, &value(open.len())) {
            Ok(stream) => open.push(stream),
            Err(status) => {
                assert_eq!(status, 429);
                return open;
            }
        }
        assert!(open.len() < 2_000, "there is no share");
    }
}

#[test]
fn behind_a_trusted_proxy_each_client_has_its_share() {
    let server = Launch::new().files(FILES).arg("--trusted-proxy").arg("127.0.0.0/8").start();
    let _first = fill(&server, "x-forwarded-for", |_| "203.0.113.1".into());
    let addr = server.addr();
    // What it makes up stands left of what the proxy says of it.
    assert_eq!(stream(addr, "x-forwarded-for", "6.6.6.6, 203.0.113.1").err(), Some(429));
    assert_eq!(stream(addr, "x-forwarded-for", "127.0.0.1, 203.0.113.1, 127.0.0.9").err(), Some(429));
    assert_eq!(stream(addr, "forwarded", "for=6.6.6.6, for=203.0.113.1;proto=https").err(), Some(429));
    assert!(stream(addr, "x-forwarded-for", "203.0.113.2").is_ok());
    assert!(stream(addr, "forwarded", "for=\"203.0.113.3:47\"").is_ok());
}

#[test]
fn nobody_gets_more_by_making_addresses_up() {
    let server = Launch::new().files(FILES).start();
    let open = fill(&server, "x-forwarded-for", |n| format!("203.0.113.{}", n % 250));
    assert_eq!(stream(server.addr(), "forwarded", "for=198.51.100.7").err(), Some(429));
    // As many as without any header.
    let count = open.len();
    drop(open);
    drop(server);
    let server = Launch::new().files(FILES).start();
    assert_eq!(fill(&server, "x-nothing", |_| "x".into()).len(), count);
}

#[test]
fn a_trusted_proxy_says_which_site_the_browser_shows() {
    let trusting = Launch::new().arg("--trusted-proxy").arg("127.0.0.1").start();
    let enqueue = |server: &Server, headers: &[(&str, &str)]| {
        let mut request = Request::json("POST", "/enqueue", &json!({"queue": "q"}));
        for (name, value) in headers {
            request = request.header(name, value);
        }
        server.send(&request).status()
    };
    let site = [("x-forwarded-proto", "https"), ("x-forwarded-host", "jobs.example")];
    let with = |origin| [&site[..], &[("origin", origin)]].concat();
    assert_eq!(enqueue(&trusting, &with("https://jobs.example")), 201);
    assert_eq!(enqueue(&trusting, &with("http://jobs.example")), 403);
    assert_eq!(enqueue(&trusting, &with("https://evil.example")), 403);
    assert_eq!(enqueue(&trusting, &[&site[..], &[("host", "evil.example")]].concat()), 403);
    let plain = Launch::new().start();
    assert_eq!(enqueue(&plain, &with("https://jobs.example")), 403);
    let origin = format!("http://{}", plain.addr());
    assert_eq!(enqueue(&plain, &with(&origin)), 201, "what it says is ignored");
}

#[test]
fn a_network_that_is_none_is_refused_at_the_start() {
    for wrong in ["10.0.0.0/33", "proxy.example", "10.0.0.1/8"] {
        let exited =
            Launch::new().arg("--trusted-proxy").arg(wrong).try_start().err().expect("it does not start");
        assert!(exited.output.contains("trusted-proxy: "), "{}", exited.output);
    }
}
