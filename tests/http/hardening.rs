// SPDX-License-Identifier: Apache-2.0
//! Clients that mean harm: slow ones, endless ones, ambiguous ones, and floods. Each of them is bounded and
//! ends, and meanwhile everybody else is served.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::fixture::Api;
use crate::support::conn::Conn;
use crate::support::{Launch, Request, SOON, Server, Stream};

/// Longer than any time that a slow client is given.
pub const LATE: Duration = Duration::from_secs(60);
/// An answer to somebody who does nothing wrong, on a machine that is busy.
const POLITE: Duration = Duration::from_secs(10);
const MIB: u64 = 1024 * 1024;

struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Calls that others make while `harm` is done; the longest that one of them took.
pub fn meanwhile(server: &Server, harm: impl FnOnce()) -> Duration {
    let (addr, done) = (server.addr(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let polite = scope.spawn(|| {
            let mut longest = Duration::ZERO;
            let body = json!({"queue": "polite"});
            loop {
                let last = done.load(Ordering::Relaxed);
                let start = Instant::now();
                let mut client = crate::support::Client::new(addr);
                let answer = client.send(&Request::json("POST", "/enqueue", &body)).expect("an answer");
                answer.expect(201);
                longest = longest.max(start.elapsed());
                if last {
                    return longest;
                }
            }
        });
        // Also when the test fails in the middle of it.
        let end = End(&done);
        harm();
        drop(end);
        polite.join().expect("others are served")
    })
}

#[track_caller]
fn undisturbed(server: &Server, harm: impl FnOnce()) {
    let longest = meanwhile(server, harm);
    assert!(longest < POLITE, "a call of somebody else took {longest:?}");
}

/// Waits until the server closes; the bytes of a last answer are read.
#[track_caller]
fn closes(mut conn: Conn) -> Option<u16> {
    let deadline = Instant::now() + LATE;
    match conn.head("POST", deadline) {
        Ok(head) => {
            let _ = conn.body(deadline);
            let end = conn.head("POST", deadline).err().map(|e| e.kind());
            assert!(matches!(end, Some(ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset)), "{end:?}");
            Some(head.status)
        }
        Err(e) if matches!(e.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset) => None,
        Err(e) => panic!("it does not close: {e}"),
    }
}

#[test]
fn heads_that_trickle_are_cut_off_on_new_and_on_kept_connections() {
    let server = Launch::new().start();
    let addr = server.addr();
    undisturbed(&server, || {
        let mut slow: Vec<Conn> = (0..150).map(|_| Conn::open(addr).unwrap()).collect();
        for (n, conn) in slow.iter_mut().enumerate() {
            if n % 3 == 0 {
                // One whole call first.
                conn.send(&Request::get("/info").bytes(addr, true)).unwrap();
                assert_eq!(conn.head("GET", Instant::now() + SOON).unwrap().status, 200);
                conn.body(Instant::now() + SOON).unwrap();
            }
            if n % 3 < 2 {
                conn.send(b"POST /api/v1/enqueue HTTP/1.1\r\nhost: lo").unwrap();
            }
        }
        for (n, conn) in slow.into_iter().enumerate() {
            assert_eq!(closes(conn), Some(408), "{n}");
        }
    });
    assert_eq!(server.get("/queues").status(), 200);
}

#[test]
fn a_body_that_trickles_has_thirty_seconds() {
    let server = Launch::new().start();
    let addr = server.addr();
    undisturbed(&server, || {
        let head =
            format!("POST /api/v1/enqueue HTTP/1.1\r\nhost: {addr}\r\ncontent-type: application/json\r\n");
        let mut slow: Vec<Conn> = (0..100).map(|_| Conn::open(addr).unwrap()).collect();
        for (n, conn) in slow.iter_mut().enumerate() {
            let (more, part) = if n % 2 == 0 {
                ("content-length: 1000\r\n\r\n", "{")
            } else {
                ("transfer-encoding: chunked\r\n\r\n", "5\r\n{\"q")
            };
            conn.send(format!("{head}{more}{part}").as_bytes()).unwrap();
        }
        for conn in slow {
            assert_eq!(closes(conn), Some(408));
        }
    });
    server.get("/queues/work").refused(404, "NOT_FOUND");
}

#[test]
fn heads_have_limits_and_a_clean_refusal() {
    let server = Launch::new().start();
    let host = format!("host: {}\r\n", server.addr());
    for (what, head, statuses) in [
        (
            "long header",
            format!("GET /healthz HTTP/1.1\r\n{host}x: {}\r\n\r\n", "x".repeat(300_000)),
            [431, 400],
        ),
        (
            "many headers",
            format!("GET /healthz HTTP/1.1\r\n{host}{}\r\n", "x: y\r\n".repeat(500)),
            [431, 400],
        ),
        ("long address", format!("GET /{} HTTP/1.1\r\n{host}\r\n", "x".repeat(300_000)), [431, 400]),
    ] {
        let mut conn = Conn::open(server.addr()).unwrap();
        // It may answer before it has read all of it.
        let _ = conn.send(head.as_bytes());
        let status = conn.head("GET", Instant::now() + SOON).unwrap_or_else(|e| panic!("{what}: {e}")).status;
        assert!(statuses.contains(&status), "{what}: {status}");
    }
    // What people have: a token of a few kilobytes, an address with a long list.
    let request = Request::new("GET", &format!("/healthz?{}", "a=b&".repeat(1_000)));
    assert_eq!(server.send(&request.header("authorization", &"x".repeat(8_000))).status(), 200);
}

#[test]
fn thousands_of_pipelined_requests_are_answered_in_order_and_hold_up_nobody() {
    const COUNT: usize = 5_000;
    let server = Launch::new().start();
    let addr = server.addr();
    let before = server.memory();
    undisturbed(&server, || {
        let mut conn = Conn::open(addr).unwrap();
        let mut writer = conn.cutter().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                for n in 0..COUNT {
                    let request = match n % 3 {
                        0 => Request::json("POST", "/enqueue", &json!({"queue": "pipelined"})),
                        1 => Request::get("/queues/none"),
                        _ => Request::new("GET", "/healthz"),
                    };
                    let bytes = request.header("x-request-id", &format!("n-{n}")).bytes(addr, true);
                    std::io::Write::write_all(&mut writer, &bytes).unwrap();
                }
            });
            let deadline = Instant::now() + LATE;
            for n in 0..COUNT {
                let head = conn.head("GET", deadline).unwrap();
                conn.body(deadline).unwrap();
                assert_eq!(head.header("x-request-id"), Some(format!("n-{n}").as_str()));
                assert_eq!(head.status, [201, 404, 200][n % 3]);
            }
        });
    });
    let grown = server.memory().saturating_sub(before);
    assert!(grown < 64 * MIB, "{} MiB more", grown / MIB);
}

/// What one reads as the body, the other reads as a request: a proxy in front and this server must never
/// disagree about where a request ends.
#[test]
fn a_request_cannot_hide_in_the_body_of_another() {
    let server = Launch::new().start();
    let host = format!("host: {}\r\n", server.addr());
    let hidden = Request::json("POST", "/enqueue", &json!({"queue": "smuggled"})).bytes(server.addr(), true);
    let hidden = String::from_utf8(hidden).unwrap();
    let length = hidden.len();
    for framing in [
        // Both, in either order and any spelling.
        format!("content-length: {length}\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
        format!("transfer-encoding: chunked\r\ncontent-length: {length}\r\n\r\n0\r\n\r\n"),
        format!("Transfer-Encoding: Chunked\r\ncontent-length: {length}\r\n\r\n0\r\n\r\n"),
        "transfer-encoding: xchunked\r\ncontent-length: 0\r\n\r\n".into(),
        "transfer-encoding: chunked, identity\r\ncontent-length: 0\r\n\r\n".into(),
        "transfer-encoding: identity\r\ntransfer-encoding: chunked\r\ncontent-length: 0\r\n\r\n".into(),
        "transfer-encoding : chunked\r\ncontent-length: 0\r\n\r\n".into(),
        "transfer-encoding:\u{b}chunked\r\ncontent-length: 0\r\n\r\n".into(),
        // Two lengths, or one that is read in two ways.
        format!("content-length: 0\r\ncontent-length: {length}\r\n\r\n"),
        format!("content-length: 0, {length}\r\n\r\n"),
        "content-length: +0\r\n\r\n".into(),
        "content-length: 0x0\r\n\r\n".into(),
        "content-length: -0\r\n\r\n".into(),
        // Lines that only some end, and headers that only some join.
        "x: y\rcontent-length: 0\r\n\r\n".into(),
        " content-length: 0\r\n\r\n".into(),
        // Chunks that do not say clearly how long they are.
        "transfer-encoding: chunked\r\n\r\n0x0\r\n\r\n".into(),
        "transfer-encoding: chunked\r\n\r\n+0\r\n\r\n".into(),
        "transfer-encoding: chunked\r\n\r\n0\n\n".into(),
        "transfer-encoding: chunked\r\n\r\n-1\r\n\r\n".into(),
    ] {
        let mut conn = Conn::open(server.addr()).unwrap();
        let head = format!("POST /api/v1/queues/q/resume HTTP/1.1\r\n{host}");
        let _ = conn.send(format!("{head}{framing}{hidden}").as_bytes());
        let _ = conn.finish();
        let deadline = Instant::now() + SOON;
        let mut statuses = Vec::new();
        while let Ok(head) = conn.head("POST", deadline) {
            statuses.push(head.status);
            if conn.body(deadline).is_err() {
                break;
            }
        }
        assert!(!statuses.contains(&201), "{framing:?}: {statuses:?}");
        assert_eq!(server.get("/queues/smuggled").status(), 404, "{framing:?}: {statuses:?}");
    }
    // The hidden request by itself is a good one.
    let mut conn = Conn::open(server.addr()).unwrap();
    conn.send(hidden.as_bytes()).unwrap();
    assert_eq!(conn.head("POST", Instant::now() + SOON).unwrap().status, 201);
}

#[test]
fn chunks_with_endless_decoration_end() {
    let server = Launch::new().start();
    let addr = server.addr();
    let before = server.memory();
    undisturbed(&server, || {
        let head = format!(
            "POST /api/v1/enqueue HTTP/1.1\r\nhost: {addr}\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
        );
        // A byte at a time, each with a kilobyte of extension; and one extension, and one trailer, that never end.
        let bytewise = format!("1;{}\r\n \r\n", "x".repeat(1_000)).repeat(20_000);
        let endless = format!("1;{}", "x".repeat(20_000_000));
        let trailers = format!("2\r\n{{}}\r\n0\r\n{}", "a: b\r\n".repeat(2_000_000));
        for attack in [bytewise, endless, trailers] {
            let mut conn = Conn::open(addr).unwrap();
            let _ = conn.send(head.as_bytes()).and_then(|()| conn.send(attack.as_bytes()));
            let _ = conn.finish();
            let answer = conn.head("POST", Instant::now() + LATE).map(|head| head.status);
            assert!(answer.as_ref().map_or(true, |status| (400..500).contains(status)), "{answer:?}");
        }
    });
    let grown = server.memory().saturating_sub(before);
    assert!(grown < 64 * MIB, "{} MiB more", grown / MIB);
}

#[test]
fn a_body_that_is_never_read_ends_with_its_answer() {
    let server = Launch::new().start();
    let addr = server.addr();
    undisturbed(&server, || {
        // The route takes no body, and this one has no end.
        let mut conn = Conn::open(addr).unwrap();
        let mut writer = conn.cutter().unwrap();
        let head = format!("GET /api/v1/info HTTP/1.1\r\nhost: {addr}\r\ntransfer-encoding: chunked\r\n\r\n");
        conn.send(head.as_bytes()).unwrap();
        std::thread::scope(|scope| {
            let writing = scope.spawn(move || {
                let chunk = [b"4000\r\n".to_vec(), vec![b'x'; 0x4000], b"\r\n".to_vec()].concat();
                let start = Instant::now();
                while std::io::Write::write_all(&mut writer, &chunk).is_ok() {
                    assert!(start.elapsed() < LATE, "it is read for ever");
                }
            });
            let status = conn.head("GET", Instant::now() + SOON).map(|head| head.status);
            assert!(matches!(status, Ok(200 | 400)), "{status:?}");
            writing.join().unwrap();
        });
    });
}

/// Else a client takes jobs, reads nothing, and they lie in buffers for as long as it likes.
#[test]
fn who_never_reads_is_dropped_and_its_jobs_go_back() {
    const JOBS: usize = 300;
    let server = Launch::new().start();
    let payload = "x".repeat(100_000);
    for _ in 0..JOBS {
        server.enqueue(&json!({"queue": "unread", "payload": payload}));
    }
    let before = server.memory();
    let mut news = server.news("unread");
    let mut greedy = Conn::open(server.addr()).unwrap();
    let request = Request::get("/stream?queues=unread&worker_id=w&prefetch=1000");
    greedy.send(&request.bytes(server.addr(), true)).unwrap();
    // Dropped with the connection: what was not delivered is given back at once.
    let deadline = Instant::now() + LATE;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let event = news.try_next(left).expect("a job is given back").expect("the stream goes on");
        if event.name == "job.released" {
            break;
        }
    }
    let grown = server.memory().saturating_sub(before);
    assert!(grown < 64 * MIB, "{} MiB more", grown / MIB);
    drop(greedy);
}

/// A machine that loses its power says no goodbye.
#[cfg(target_os = "linux")]
#[test]
fn a_peer_that_vanished_is_noticed() {
    use socket2::{SockFilter, SockRef};
    const RETURN: u16 = 0x06;
    let server = Launch::new().start();
    let stream = server.stream("/stream?queues=vanished&worker_id=w");
    // From now on this end hears nothing and confirms nothing.
    SockRef::from(&stream.cutter()).attach_filter(&[SockFilter::new(RETURN, 0, 0, 0)]).unwrap();
    let mut news = server.news("vanished");
    server.enqueue(&json!({"queue": "vanished"}));
    let deadline = Instant::now() + LATE;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let event = news.try_next(left).expect("the lease ends").expect("the stream goes on");
        if matches!(event.name.as_str(), "job.released" | "job.crashed") {
            break;
        }
    }
}

fn open_streams(addr: SocketAddr, count: usize) -> (Vec<Stream>, Option<u16>) {
    let mut open = Vec::new();
    for n in 0..count {
        match Stream::open(addr, &format!("/stream?queues=idle&worker_id=w{n}"), &[]) {
            Ok(Ok(stream)) => open.push(stream),
            Ok(Err(answer)) => return (open, Some(answer.status())),
            Err(e) => panic!("stream {n}: {e}"),
        }
    }
    (open, None)
}

#[test]
fn streams_run_out_before_files_do_and_one_client_leaves_some() {
    let server = Launch::new().files(1_500).start();
    let (mut open, refused) = open_streams(server.addr(), 1_500);
    assert_eq!(refused, Some(429), "{} are open", open.len());
    assert!(open.len() >= 300, "{}", open.len());
    // Everything else works, and so does a stream when another ends.
    let id = server.enqueue(&json!({"queue": "busy"}));
    assert_eq!(server.take("busy")["job_id"], json!(id));
    assert_eq!(server.send(&Request::new("GET", "/readyz")).status(), 200);
    drop(open.pop());
    let deadline = Instant::now() + SOON;
    while open_streams(server.addr(), 1).1.is_some() {
        assert!(Instant::now() < deadline, "the place of a stream that has ended is free");
    }
    // More connections than there may be files: those beyond are told so, and the server goes on.
    let extra: Vec<TcpStream> = (0..1_000).filter_map(|_| TcpStream::connect(server.addr()).ok()).collect();
    drop(extra);
    let deadline = Instant::now() + SOON;
    while crate::support::Client::new(server.addr()).send(&Request::get("/info")).is_err() {
        assert!(Instant::now() < deadline, "{}", server.output().tail(20));
    }
    server.enqueue(&json!({"queue": "busy"}));
}

#[test]
fn five_thousand_idle_streams_are_bearable() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit);
    let files =
        usize::try_from(getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
    // As many as this machine lets both ends have.
    let count = 5_000.min(files.saturating_sub(1_500) * 2 / 3);
    let server = Launch::new().start();
    let before = server.memory();
    let (mut open, refused) = open_streams(server.addr(), count);
    assert_eq!((refused, open.len()), (None, count));
    let each = server.memory().saturating_sub(before) / count as u64;
    println!("{count} streams, {each} bytes each");
    assert!(each < 64 * 1024, "{each} bytes for each stream");
    undisturbed(&server, || {
        let id = server.enqueue(&json!({"queue": "idle"}));
        server.job(&id);
    });
    // The job went to one of them; all of them hear the end.
    server.terminate();
    let mut jobs = 0;
    for stream in &mut open {
        let mut event = stream.next();
        while event.name != "drain" {
            jobs += usize::from(event.name == "job");
            event = stream.next();
        }
    }
    assert_eq!(jobs, 1);
}

#[test]
fn answers_that_nobody_reads_have_a_bound() {
    let server = Launch::new().start();
    for _ in 0..45 {
        server.enqueue(&json!({"queue": "big", "payload": "x".repeat(200_000)}));
    }
    let ask = Request::get("/jobs?queue=big&limit=100").bytes(server.addr(), true);
    let mut unread = Vec::new();
    let mut statuses = Vec::new();
    for _ in 0..60 {
        let mut conn = Conn::open(server.addr()).unwrap();
        conn.send(&ask).unwrap();
        statuses.push(conn.head("GET", Instant::now() + SOON).unwrap().status);
        unread.push(conn);
    }
    assert!(statuses[..10].iter().all(|status| *status == 200), "{statuses:?}");
    assert!(statuses.contains(&429), "{statuses:?}");
    assert_eq!(server.get("/queues/big").status(), 200, "what is small is answered");
    drop(unread);
    let deadline = Instant::now() + SOON;
    while server.get("/jobs?queue=big&limit=100").status() != 200 {
        assert!(Instant::now() < deadline, "the room is free again");
    }
}
