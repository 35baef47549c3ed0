// SPDX-License-Identifier: Apache-2.0
//! The same for HTTP/2: floods of frames that cost their sender nothing.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::fixture::Api as _;
use crate::hardening::{LATE, meanwhile};
use crate::support::h2::{self, Conn, END, END_HEADERS, Frame, kind};
use crate::support::{Launch, SOON, Server};

const POLITE: Duration = Duration::from_secs(10);
const MIB: u64 = 1024 * 1024;

/// Does harm while others call; nobody waits for long, and not much memory is taken.
#[track_caller]
fn bounded(server: &Server, harm: impl FnOnce()) {
    let before = server.memory();
    let longest = meanwhile(server, harm);
    assert!(longest < POLITE, "a call of somebody else took {longest:?}");
    let grown = server.memory().saturating_sub(before);
    assert!(grown < 64 * MIB, "{} MiB more", grown / MIB);
}

/// Sends until the server ends the connection or `count` are sent; then how it ended, if so.
fn flood(conn: &mut Conn, count: usize, mut next: impl FnMut(&mut Conn, usize) -> Vec<u8>) -> Option<Frame> {
    for n in 0..count {
        let bytes = next(conn, n);
        if conn.send(&bytes).is_err() {
            break;
        }
    }
    let _ = conn.frame(&Frame::new(kind::PING, 0, 0, b"the end."));
    let deadline = Instant::now() + SOON;
    loop {
        match conn.raw(deadline) {
            Ok(frame) if frame.kind == kind::GOAWAY && frame.code() != 0 => return Some(frame),
            Ok(frame) if frame.kind == kind::PING && frame.payload == b"the end." => return None,
            Ok(_) => {}
            Err(e) => {
                assert_ne!(e.kind(), ErrorKind::TimedOut, "neither an answer nor an end");
                return None;
            }
        }
    }
}

#[test]
fn prior_knowledge_works_and_the_preface_may_come_in_pieces() {
    let server = Launch::new().start();
    let mut conn = Conn::open(server.addr()).unwrap();
    let call = conn.call("POST", "/api/v1/enqueue", Some(r#"{"queue":"q"}"#)).unwrap();
    let look = conn.call("GET", "/api/v1/queues", None).unwrap();
    assert!(String::from_utf8_lossy(&conn.answer(call, Instant::now() + SOON).unwrap().1).contains("job_id"));
    let _ = look;
    let mut slow = std::net::TcpStream::connect(server.addr()).unwrap();
    for byte in h2::PREFACE {
        std::io::Write::write_all(&mut slow, &[*byte]).unwrap();
    }
    std::io::Write::write_all(&mut slow, &Frame::new(kind::SETTINGS, 0, 0, &[]).bytes()).unwrap();
    slow.set_read_timeout(Some(SOON)).unwrap();
    let mut first = [0; 9];
    std::io::Read::read_exact(&mut slow, &mut first).unwrap();
    assert_eq!(first[3], kind::SETTINGS);
}

#[test]
fn rapid_reset_starts_nothing_that_goes_on() {
    let server = Launch::new().start();
    bounded(&server, || {
        for path in ["/api/v1/queues", "/api/v1/jobs", "/healthz"] {
            let mut conn = Conn::open(server.addr()).unwrap();
            flood(&mut conn, 20_000, |conn, _| {
                let (stream, mut bytes) = conn.request("GET", path, None);
                bytes.extend(Frame::new(kind::RST_STREAM, 0, stream, &8_u32.to_be_bytes()).bytes());
                bytes
            });
        }
    });
    // Long polls that are reset wait for nothing: the job goes to somebody who is there.
    let mut conn = Conn::open(server.addr()).unwrap();
    let body = json!({"queues": ["after"], "timeout": 50}).to_string();
    for _ in 0..15 {
        let stream = conn.call("POST", "/api/v1/fetch", Some(&body)).unwrap();
        let reset = Frame::new(kind::RST_STREAM, 0, stream, &8_u32.to_be_bytes());
        conn.frame(&reset).unwrap();
    }
    let last = conn.call("GET", "/healthz", None).unwrap();
    conn.answer(last, Instant::now() + SOON).unwrap();
    let id = server.enqueue(&json!({"queue": "after"}));
    let job = server.poll("after", 20).expect(200);
    assert_eq!((&job["job_id"], &job["attempt"]), (&json!(id), &json!(1)));
}

#[test]
fn a_head_that_goes_on_for_ever_ends_the_connection() {
    let server = Launch::new().start();
    bounded(&server, || {
        let mut conn = Conn::open(server.addr()).unwrap();
        let mut part = h2::head(&[("x-padding", &"x".repeat(8_000))]);
        let start = h2::head(&[(":method", "GET"), (":scheme", "http"), (":path", "/healthz")]);
        let stream = conn.number();
        conn.frame(&Frame::new(kind::HEADERS, END, stream, &start)).unwrap();
        part.truncate(8_000);
        let end = flood(&mut conn, 20_000, |_, _| Frame::new(kind::CONTINUATION, 0, stream, &part).bytes());
        // Ended by GOAWAY, or cut while this end was still sending.
        assert!(end.is_none_or(|frame| frame.code() != 0));
        let after =
            conn.call("GET", "/healthz", None).and_then(|call| conn.answer(call, Instant::now() + SOON));
        assert!(after.is_err(), "the connection is over");
    });
}

#[test]
fn a_head_that_is_too_large_is_refused_alone() {
    let server = Launch::new().start();
    let mut conn = Conn::open(server.addr()).unwrap();
    let stream = conn.number();
    let mut fields =
        vec![(":method", "GET"), (":scheme", "http"), (":path", "/healthz"), (":authority", "localhost")];
    let padding = "x".repeat(1_000);
    fields.extend(std::iter::repeat_n(("x-padding", padding.as_str()), 80));
    let block = h2::head(&fields);
    let mut parts = block.chunks(16_000);
    conn.frame(&Frame::new(kind::HEADERS, END, stream, parts.next().unwrap())).unwrap();
    let rest: Vec<&[u8]> = parts.collect();
    for (n, part) in rest.iter().enumerate() {
        let flags = if n + 1 == rest.len() { END_HEADERS } else { 0 };
        conn.frame(&Frame::new(kind::CONTINUATION, flags, stream, part)).unwrap();
    }
    let head = conn.until(Instant::now() + SOON, |frame| frame.stream == stream).unwrap();
    assert_ne!(head.status(), Some(200), "{head:?}");
    let next = conn.call("GET", "/healthz", None).unwrap();
    assert_eq!(conn.answer(next, Instant::now() + SOON).unwrap().0, Some(200));
}

#[test]
fn floods_of_small_frames_hold_up_nobody() {
    let server = Launch::new().start();
    bounded(&server, || {
        let settings = Frame::new(kind::SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100]).bytes();
        let ping = Frame::new(kind::PING, 0, 0, &[7; 8]).bytes();
        let window = Frame::new(kind::WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes()).bytes();
        let unknown = Frame::new(0xbe, 0, 0, &[0; 16]).bytes();
        for frame in [settings, ping, window, unknown] {
            let mut conn = Conn::open(server.addr()).unwrap();
            // What it answers is not read meanwhile.
            let many = frame.repeat(100);
            flood(&mut conn, 500, |_, _| many.clone());
        }
        // Parts of a body that are empty.
        let mut conn = Conn::open(server.addr()).unwrap();
        let (stream, head) = conn.request("POST", "/api/v1/enqueue", Some(""));
        conn.send(&head[..head.len() - 9]).unwrap();
        let many = Frame::new(kind::DATA, 0, stream, &[]).bytes().repeat(100);
        flood(&mut conn, 500, |_, _| many.clone());
    });
}

#[test]
fn a_connection_has_so_many_streams_and_no_more() {
    let server = Launch::new().start();
    let id = server.enqueue(&json!({"queue": "waited"}));
    let wait = format!("/api/v1/jobs/{id}/wait?timeout=50");
    let mut conn = Conn::open(server.addr()).unwrap();
    // Without waiting for the server's settings, which say how many there may be. Without a body, which would
    // arrive for a stream that is closed by then and be refused once more.
    let streams: Vec<u32> = (0..200).map(|_| conn.call("GET", &wait, None).unwrap()).collect();
    let deadline = Instant::now() + SOON;
    let mut refused = 0;
    while refused < 200 - 128 {
        let frame = conn.until(deadline, |frame| frame.stream != 0).unwrap();
        assert_eq!((frame.kind, frame.code()), (kind::RST_STREAM, 7), "REFUSED_STREAM");
        assert!(streams.contains(&frame.stream));
        refused += 1;
    }
    let mut other = Conn::open(server.addr()).unwrap();
    let call = other.call("GET", "/healthz", None).unwrap();
    assert_eq!(other.answer(call, deadline).unwrap().0, Some(200));
    // The first 128 wait, and hear of the end.
    server.settle("ack", &server.take("waited"), json!({})).expect(200);
    let part = conn.until(deadline, |frame| frame.kind == kind::DATA).unwrap();
    assert!(String::from_utf8_lossy(&part.payload).contains("completed"));
}

/// A window of nothing makes the server keep every answer. Nobody enqueues meanwhile: that takes memory too.
#[test]
fn answers_that_are_not_let_out_are_given_up() {
    const INITIAL_WINDOW: u16 = 4;
    let server = Launch::new().start();
    for _ in 0..20 {
        server.enqueue(&json!({"queue": "big", "payload": "x".repeat(40_000)}));
    }
    let before = server.memory();
    let mut conn = Conn::greet(server.addr(), &[(INITIAL_WINDOW, 0)]).unwrap();
    let calls: Vec<u32> =
        (0..20).map(|_| conn.call("GET", "/api/v1/jobs?queue=big", None).unwrap()).collect();
    server.get("/queues/big").expect(200);
    let deadline = Instant::now() + LATE;
    let mut ended = 0;
    while ended < calls.len() {
        let frame = conn.until(deadline, |frame| frame.kind == kind::RST_STREAM).unwrap();
        assert!(calls.contains(&frame.stream));
        ended += 1;
    }
    let grown = server.memory().saturating_sub(before);
    assert!(grown < 64 * MIB, "{} MiB more", grown / MIB);
}
