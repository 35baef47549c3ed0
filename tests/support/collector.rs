// SPDX-License-Identifier: Apache-2.0
//! A collector of a few lines: takes what OTLP over HTTP posts, and reads as much of Protocol Buffers as it needs.
//! Field numbers are those of `opentelemetry-proto`, written down here once more.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use super::SOON;

/// What was posted: path, content type, body.
type Posted = (String, String, Vec<u8>);

/// A collector on a port of its own.
pub struct Collector {
    addr: SocketAddr,
    posted: Arc<(Mutex<Vec<Posted>>, Condvar)>,
}

impl Collector {
    /// One that takes everything.
    pub fn start() -> Self {
        Self::answering(Some("200 OK"))
    }

    /// One that takes connections and never answers.
    pub fn silent() -> Self {
        Self::answering(None)
    }

    /// One that answers everything with this status.
    pub fn answering(status: Option<&'static str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let addr = listener.local_addr().expect("it is bound");
        let posted: Arc<(Mutex<Vec<Posted>>, Condvar)> = Arc::default();
        let all = posted.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let all = all.clone();
                thread::spawn(move || serve(stream, &all, status));
            }
        });
        Self { addr, posted }
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// The first of what was posted, waited for, that `found` makes something of.
    #[track_caller]
    pub fn wait_for<T>(&self, found: impl Fn(&[Posted]) -> Option<T>) -> T {
        let posted = self.posted.0.lock().unwrap();
        let mut value = None;
        let waited = self.posted.1.wait_timeout_while(posted, SOON, |posted| {
            value = found(posted);
            value.is_none()
        });
        drop(waited.unwrap());
        value.expect("the collector is sent what is waited for")
    }

    /// The latest body that was posted to a path, waited for.
    #[track_caller]
    pub fn wait(&self, path: &str) -> Vec<u8> {
        self.wait_for(|posted| {
            let (_, kind, body) = posted.iter().rev().find(|(at, ..)| at == path)?;
            assert_eq!(kind, "application/x-protobuf");
            Some(body.clone())
        })
    }

    /// All spans so far, once `done` is content with them.
    #[track_caller]
    pub fn spans(&self, done: impl Fn(&[Span]) -> bool) -> Vec<Span> {
        self.wait_for(|posted| {
            let traces = posted.iter().filter(|(path, ..)| path == "/v1/traces");
            let spans: Vec<Span> = traces.flat_map(|(_, _, body)| spans(body)).collect();
            done(&spans).then_some(spans)
        })
    }
}

fn serve(mut stream: TcpStream, all: &(Mutex<Vec<Posted>>, Condvar), status: Option<&str>) {
    let mut buffer = Vec::new();
    loop {
        let head = loop {
            if let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            if !more(&mut stream, &mut buffer) {
                return;
            }
        };
        let text = String::from_utf8_lossy(&buffer[..head]).into_owned();
        let header = |name: &str| {
            let mut lines = text.lines().filter_map(|line| line.split_once(": "));
            lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned())
        };
        let length: usize = header("content-length").and_then(|text| text.parse().ok()).expect("a length");
        while buffer.len() < head + length {
            if !more(&mut stream, &mut buffer) {
                return;
            }
        }
        let path = text.split(' ').nth(1).unwrap_or_default().to_owned();
        assert!(text.starts_with("POST "), "{text}");
        let body = buffer[head..head + length].to_vec();
        buffer.drain(..head + length);
        all.0.lock().unwrap().push((path, header("content-type").unwrap_or_default(), body));
        all.1.notify_all();
        if let Some(status) = status {
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
            if stream.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    }
}

fn more(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> bool {
    let mut part = [0; 8192];
    let count = stream.read(&mut part).unwrap_or(0);
    buffer.extend_from_slice(&part[..count]);
    count > 0
}

/// The value of a field.
#[derive(Clone, Debug)]
pub enum Field<'a> {
    /// A number, of whatever width.
    Number(u64),
    /// Text, bytes or a message.
    Bytes(&'a [u8]),
}

/// A message: its fields, in order.
#[derive(Clone, Debug)]
pub struct Message<'a>(Vec<(u64, Field<'a>)>);

impl<'a> Message<'a> {
    /// Reads a message.
    #[track_caller]
    pub fn read(mut bytes: &'a [u8]) -> Self {
        let mut fields = Vec::new();
        while !bytes.is_empty() {
            let key = varint(&mut bytes);
            let mut take = |count: usize| {
                let (taken, rest) = bytes.split_at(count);
                bytes = rest;
                taken
            };
            let little =
                |bytes: &[u8]| bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte));
            let field = match key & 7 {
                0 => Field::Number(varint(&mut bytes)),
                1 => Field::Number(little(take(8))),
                5 => Field::Number(little(take(4))),
                2 => {
                    let length = usize::try_from(varint(&mut bytes)).unwrap();
                    let (taken, rest) = bytes.split_at(length);
                    bytes = rest;
                    Field::Bytes(taken)
                }
                other => panic!("no such kind of field: {other}"),
            };
            fields.push((key >> 3, field));
        }
        Self(fields)
    }

    /// Every value of a field that is bytes.
    pub fn all(&self, field: u64) -> Vec<&'a [u8]> {
        let fields = self.0.iter().filter(|(number, _)| *number == field);
        fields
            .filter_map(|(_, value)| if let Field::Bytes(bytes) = value { Some(*bytes) } else { None })
            .collect()
    }

    /// The messages of a field.
    pub fn messages(&self, field: u64) -> Vec<Self> {
        self.all(field).into_iter().map(Self::read).collect()
    }

    /// The text of a field, empty if it is not there.
    pub fn text(&self, field: u64) -> String {
        self.all(field).first().map(|bytes| String::from_utf8(bytes.to_vec()).unwrap()).unwrap_or_default()
    }

    /// The bytes of a field as hexadecimal digits, empty if it is not there.
    pub fn hex(&self, field: u64) -> String {
        let bytes = self.all(field).first().copied().unwrap_or_default();
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// A number, 0 if it is not there.
    pub fn number(&self, field: u64) -> u64 {
        let number = |value: &Field<'_>| if let Field::Number(number) = value { Some(*number) } else { None };
        self.0.iter().find(|(at, _)| *at == field).and_then(|(_, value)| number(value)).unwrap_or(0)
    }

    /// The key and value of an attribute as text.
    fn attribute(&self) -> (String, String) {
        let any = &self.messages(2)[0];
        let value = if any.all(1).is_empty() { any.number(3).to_string() } else { any.text(1) };
        (self.text(1), value)
    }

    /// The attributes in a field.
    pub fn attributes(&self, field: u64) -> Vec<(String, String)> {
        self.messages(field).iter().map(Message::attribute).collect()
    }
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let (mut value, mut shift) = (0, 0);
    loop {
        let (byte, rest) = bytes.split_first().expect("a number ends");
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            return value;
        }
    }
}

/// A span as it arrives.
#[derive(Clone, Debug)]
pub struct Span {
    /// Its name.
    pub name: String,
    /// Its kind: 1 internal, 2 server, 4 producer.
    pub kind: u64,
    /// Trace and span in hexadecimal.
    pub trace: String,
    /// Its id.
    pub id: String,
    /// The span above it; empty if there is none.
    pub parent: String,
    /// Nanoseconds since 1970.
    pub times: (u64, u64),
    /// Its attributes.
    pub attributes: Vec<(String, String)>,
    /// The spans it links to.
    pub links: Vec<(String, String)>,
    /// Why it failed; empty if it did not.
    pub error: String,
    /// What the process says of itself.
    pub resource: Vec<(String, String)>,
}

impl Span {
    /// An attribute's value.
    pub fn get(&self, key: &str) -> &str {
        self.attributes.iter().find(|(name, _)| name == key).map_or("", |(_, value)| value)
    }
}

fn spans(body: &[u8]) -> Vec<Span> {
    let mut found = Vec::new();
    for all in Message::read(body).messages(1) {
        let resource = all.messages(1)[0].attributes(1);
        for span in all.messages(2).iter().flat_map(|scope| scope.messages(2)) {
            let status = span.messages(15).first().map(|status| (status.number(3), status.text(2)));
            assert!(status.as_ref().is_none_or(|(code, _)| *code == 2), "{status:?}");
            found.push(Span {
                name: span.text(5),
                kind: span.number(6),
                trace: span.hex(1),
                id: span.hex(2),
                parent: span.hex(4),
                times: (span.number(7), span.number(8)),
                attributes: span.attributes(9),
                links: span.messages(13).iter().map(|link| (link.hex(1), link.hex(2))).collect(),
                error: status.map(|(_, text)| text).unwrap_or_default(),
                resource: resource.clone(),
            });
        }
    }
    found
}
