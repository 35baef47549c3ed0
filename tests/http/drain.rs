// SPDX-License-Identifier: Apache-2.0
//! SIGTERM under load: whatever was sent is answered, whole, or the connection was refused.
//!
//! The clients here are strict. A connection that ends without an answer to what was sent on it, an answer
//! that ends early, a reset: each fails the test. What may happen is a refused connection, and an answer that
//! says the server is stopping.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::conn::Conn;
use crate::support::{Launch, Request, SOON, h2};

/// Rounds of start, load, stop.
const ROUNDS: usize = 20;
const CLIENTS: u64 = 12;
const BOUND: Duration = Duration::from_secs(15);

/// What the clients of one round saw.
#[derive(Default)]
struct Seen {
    answered: AtomicU64,
    stopping: AtomicU64,
    enqueued: AtomicU64,
    lost: Mutex<Vec<String>>,
}

impl Seen {
    fn lost(&self, what: String) {
        self.lost.lock().unwrap().push(what);
    }

    /// Notes an answer; whether the client goes on with this connection.
    fn answer(&self, status: u16, closes: bool) -> bool {
        match status {
            201 => self.enqueued.fetch_add(1, Ordering::Relaxed),
            200 | 204 => 0,
            503 => self.stopping.fetch_add(1, Ordering::Relaxed),
            other => {
                self.lost(format!("status {other}"));
                0
            }
        };
        self.answered.fetch_add(1, Ordering::Relaxed);
        !closes
    }
}

/// A connection, unless nobody listens any more. Whoever is not heard (the server is silent while it empties
/// its queue) knows that nothing was sent, too.
fn connect(addr: SocketAddr, seen: &Seen) -> Option<Conn> {
    match Conn::open(addr) {
        Ok(conn) => Some(conn),
        Err(e) if matches!(e.kind(), ErrorKind::ConnectionRefused | ErrorKind::TimedOut) => None,
        Err(e) => {
            seen.lost(format!("connecting: {e}"));
            None
        }
    }
}

/// Calls again and again on connections that are kept, `pause` apart, until nobody listens.
fn keep_calling(addr: SocketAddr, seen: &Seen, client: u64, pause: Duration) {
    let body = json!({"queue": "drain", "payload": client, "tags": {"padding": "x".repeat(200)}});
    let enqueue = Request::json("POST", "/enqueue", &body).bytes(addr, true);
    let look = Request::get("/queues").bytes(addr, true);
    while let Some(mut conn) = connect(addr, seen) {
        for turn in 0_u64.. {
            let (method, request) = if turn % 3 == 2 { ("GET", &look) } else { ("POST", &enqueue) };
            if !pause.is_zero() {
                // Not to wait for anything: so that connections are idle when the stop begins.
                std::thread::sleep(pause);
            }
            let sent = conn.send(request);
            let deadline = Instant::now() + SOON;
            let answer = conn.head(method, deadline).and_then(|head| conn.body(deadline).map(|_| head));
            match answer {
                Ok(head) => {
                    let closes = head.header("connection").is_some_and(|v| v.eq_ignore_ascii_case("close"));
                    if !seen.answer(head.status, closes) {
                        break;
                    }
                }
                Err(e) => {
                    seen.lost(format!("client {client}, call {turn}: sent {sent:?}, answer {e}"));
                    break;
                }
            }
        }
    }
}

/// The same on HTTP/2, several calls at a time. A call on a stream behind the last one that GOAWAY names is
/// known not to have been carried out.
fn keep_calling_h2(addr: SocketAddr, seen: &Seen) {
    let body = json!({"queue": "drain", "payload": 0}).to_string();
    loop {
        let mut conn = match h2::Conn::open(addr) {
            Ok(conn) => conn,
            Err(e) if matches!(e.kind(), ErrorKind::ConnectionRefused | ErrorKind::TimedOut) => return,
            Err(e) => return seen.lost(format!("h2 connecting: {e}")),
        };
        let (mut open, mut last): (Vec<u32>, u32) = (Vec::new(), u32::MAX);
        loop {
            while open.len() < 4 && last == u32::MAX {
                match conn.call("POST", "/api/v1/enqueue", Some(&body)) {
                    Ok(stream) => open.push(stream),
                    Err(_) => break,
                }
            }
            open.retain(|stream| *stream <= last);
            if open.is_empty() {
                break;
            }
            match conn.next(Instant::now() + SOON) {
                Ok(frame) if frame.kind == h2::kind::GOAWAY => {
                    last = last.min(frame.last_stream()).min(u32::MAX - 1)
                }
                Ok(frame) if frame.flags & h2::END == h2::END && open.contains(&frame.stream) => {
                    open.retain(|stream| *stream != frame.stream);
                    seen.answered.fetch_add(1, Ordering::Relaxed);
                    let is_job = frame.payload.windows(6).any(|part| part == b"job_id");
                    seen.enqueued.fetch_add(u64::from(is_job), Ordering::Relaxed);
                }
                Ok(frame) if frame.kind == h2::kind::RST_STREAM => {
                    return seen.lost(format!("h2 stream {} reset: {}", frame.stream, frame.code()));
                }
                Ok(_) => {}
                Err(e) => {
                    return seen
                        .lost(format!("h2: {} calls without an answer, last {last}: {e}", open.len()));
                }
            }
        }
    }
}

#[test]
fn no_call_is_lost_in_twenty_stops_under_load() {
    let launch = Launch::new();
    let mut total = 0;
    for round in 0..ROUNDS {
        let mut server = launch.start();
        let (addr, seen) = (server.addr(), Seen::default());
        std::thread::scope(|scope| {
            for client in 0..CLIENTS {
                let pause =
                    if client % 3 == 0 { Duration::from_millis(70 + 40 * client) } else { Duration::ZERO };
                let seen = &seen;
                scope.spawn(move || keep_calling(addr, seen, client, pause));
            }
            scope.spawn(|| keep_calling_h2(addr, &seen));
            let deadline = Instant::now() + SOON;
            while seen.answered.load(Ordering::Relaxed) < 200 {
                assert!(Instant::now() < deadline, "no load: {:?}", seen.lost.lock().unwrap());
                std::thread::yield_now();
            }
            server.terminate();
        });
        let status = server.wait_exit(BOUND);
        let lost = seen.lost.into_inner().unwrap();
        assert!(lost.is_empty(), "round {round}: {} lost: {lost:#?}", lost.len());
        assert_eq!(status.code(), Some(0), "round {round}: {}", server.output().tail(20));
        total += seen.enqueued.load(Ordering::Relaxed);
    }
    // An answer of 201 is a job; and a call that was told the server stops has not made one.
    let server = launch.start();
    assert_eq!(server.get("/queues/drain").expect(200)["counts"]["pending"], json!(total));
}

#[test]
fn an_idle_connection_is_told_that_the_server_stops_before_it_is_closed() {
    let mut server = Launch::new().start();
    let mut idle = Conn::open(server.addr()).unwrap();
    let deadline = Instant::now() + SOON;
    idle.send(&Request::get("/info").bytes(server.addr(), true)).unwrap();
    assert_eq!(idle.head("GET", deadline).unwrap().status, 200);
    idle.body(deadline).unwrap();
    server.terminate();
    // A request that was sent in the same moment would read this as its answer, and it is true.
    let head = idle.head("GET", deadline).unwrap();
    assert_eq!((head.status, head.header("connection")), (503, Some("close")));
    let body: serde_json::Value = serde_json::from_slice(&idle.body(deadline).unwrap()).unwrap();
    assert_eq!(body["code"], "UNAVAILABLE");
    assert_eq!(idle.send(&Request::get("/info").bytes(server.addr(), true)).map_err(|e| e.kind()), Ok(()));
    drop(idle);
    assert_eq!(server.wait_exit(BOUND).code(), Some(0));
}

#[test]
fn what_is_pipelined_behind_the_last_answer_is_not_carried_out() {
    let mut server = Launch::new().start();
    let mut conn = Conn::open(server.addr()).unwrap();
    let deadline = Instant::now() + SOON;
    let wait = Request::json("POST", "/fetch", &json!({"queues": ["none"], "timeout": 50}));
    let enqueue = Request::json("POST", "/enqueue", &json!({"queue": "late"}));
    let both = [wait.bytes(server.addr(), true), enqueue.bytes(server.addr(), true)].concat();
    conn.send(&both).unwrap();
    server.get("/info").expect(200);
    server.terminate();
    let head = conn.head("POST", deadline).unwrap();
    assert_eq!((head.status, head.header("connection")), (204, Some("close")));
    match conn.head("POST", deadline) {
        Ok(head) => assert_eq!(head.status, 503),
        Err(e) => assert_eq!(e.kind(), ErrorKind::UnexpectedEof),
    }
    assert_eq!(server.wait_exit(BOUND).code(), Some(0));
    let server = server.launch().start();
    server.get("/queues/late").refused(404, "NOT_FOUND");
}
