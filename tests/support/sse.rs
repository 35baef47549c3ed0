// SPDX-License-Identifier: Apache-2.0
//! Event streams: blocking, line by line, with a deadline for each event.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::SOON;
use super::conn::{Conn, Head};
use super::http::{Request, Response};

/// One event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// Its name; `message` if it has none.
    pub name: String,
    /// Its id, if it has one.
    pub id: Option<String>,
    /// Its data, lines joined by a line feed as the standard says.
    pub data: String,
}

impl Event {
    /// The data as JSON; `null` if it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap_or_default()
    }
}

/// An open event stream.
pub struct Stream {
    conn: Conn,
    /// Status and headers.
    pub head: Head,
    text: Vec<u8>,
    /// What has been read of the next event.
    next: Event,
    has_data: bool,
    ended: bool,
}

impl Stream {
    /// Opens a stream; the answer if it is not one.
    pub fn open(
        addr: SocketAddr,
        path: &str,
        headers: &[(&str, &str)],
    ) -> io::Result<Result<Self, Box<Response>>> {
        let mut request = Request::get(path).header("accept", "text/event-stream");
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let mut conn = Conn::open(addr)?;
        conn.send(&request.bytes(addr, true))?;
        let deadline = Instant::now() + SOON;
        let head = conn.head("GET", deadline)?;
        if head.status != 200 {
            let body = conn.body(deadline)?;
            return Ok(Err(Box::new(Response { head, body })));
        }
        let (text, next) = (Vec::new(), Event::default());
        Ok(Ok(Self { conn, head, text, next, has_data: false, ended: false }))
    }

    /// A handle to cut the connection with, as a dying worker does.
    pub fn cutter(&self) -> TcpStream {
        self.conn.cutter().expect("a socket can be cloned")
    }

    /// The next event. `Ok(None)` at the end of the stream, an error of kind `TimedOut` when there is none in time.
    pub fn try_next(&mut self, within: Duration) -> io::Result<Option<Event>> {
        let deadline = Instant::now() + within;
        loop {
            if let Some(event) = self.line_by_line() {
                return Ok(Some(event));
            }
            if self.ended {
                return Ok(None);
            }
            match self.conn.piece(deadline) {
                Ok(Some(piece)) => self.text.extend_from_slice(&piece),
                Ok(None) => self.ended = true,
                Err(e) => return Err(e),
            }
        }
    }

    fn line_by_line(&mut self) -> Option<Event> {
        while let Some(end) = self.text.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.text.drain(..=end).collect();
            let line = String::from_utf8(line).expect("an event stream is UTF-8");
            let line = line.trim_end_matches(['\n', '\r']);
            if line.is_empty() {
                let mut event = std::mem::take(&mut self.next);
                if std::mem::take(&mut self.has_data) {
                    if event.name.is_empty() {
                        event.name = "message".into();
                    }
                    return Some(event);
                }
                continue;
            }
            self.field(line);
        }
        None
    }

    fn field(&mut self, line: &str) {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "event" => self.next.name = value.into(),
            "id" => self.next.id = Some(value.into()),
            "data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.next.data.push('\n');
                }
                self.next.data.push_str(value);
            }
            _ => {}
        }
    }

    /// The next event; fails the test if there is none soon.
    #[track_caller]
    pub fn next(&mut self) -> Event {
        match self.try_next(SOON) {
            Ok(Some(event)) => event,
            Ok(None) => panic!("the stream ended"),
            Err(e) => panic!("no event: {e}"),
        }
    }

    /// The next event of that name that `fits`; skips others.
    #[track_caller]
    pub fn until(&mut self, name: &str, fits: impl Fn(&Event) -> bool) -> Event {
        let deadline = Instant::now() + SOON;
        let mut seen = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.try_next(left) {
                Ok(Some(event)) if event.name == name && fits(&event) => return event,
                Ok(Some(event)) => seen.push(format!("{} {}", event.name, event.data)),
                Ok(None) => panic!("the stream ended before {name}; seen: {seen:#?}"),
                Err(e) => panic!("no {name}: {e}; seen: {seen:#?}"),
            }
        }
    }

    /// The next event of that name about that job.
    #[track_caller]
    pub fn about(&mut self, name: &str, job: &str) -> Event {
        self.until(name, |event| event.json()["job_id"] == job)
    }
}
