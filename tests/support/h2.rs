// SPDX-License-Identifier: Apache-2.0
//! HTTP/2 by hand: frames as they are, so that a test can send what no library would.
//!
//! Heads are written without compression. Of answers only what the tests need is read: which stream, which
//! status, the body's bytes, and the frames that end things.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// What begins a connection.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Kinds of frames.
pub mod kind {
    /// A part of a body.
    pub const DATA: u8 = 0;
    /// A head, or its beginning.
    pub const HEADERS: u8 = 1;
    /// The end of a stream by one side.
    pub const RST_STREAM: u8 = 3;
    /// Settings.
    pub const SETTINGS: u8 = 4;
    /// A ping.
    pub const PING: u8 = 6;
    /// The end of a connection.
    pub const GOAWAY: u8 = 7;
    /// More room.
    pub const WINDOW_UPDATE: u8 = 8;
    /// More of a head.
    pub const CONTINUATION: u8 = 9;
}

/// Ends the stream (DATA, HEADERS) or confirms (SETTINGS, PING).
pub const END: u8 = 1;
/// Ends the head.
pub const END_HEADERS: u8 = 4;

/// One frame.
#[derive(Clone, Debug)]
pub struct Frame {
    /// What it is.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// Its stream; 0 is the connection.
    pub stream: u32,
    /// The rest.
    pub payload: Vec<u8>,
}

impl Frame {
    /// A frame.
    pub fn new(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Self {
        Self { kind, flags, stream, payload: payload.into() }
    }

    /// Its bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let length = u32::try_from(self.payload.len()).unwrap().to_be_bytes();
        let mut bytes = length[1..].to_vec();
        bytes.extend([self.kind, self.flags]);
        bytes.extend(self.stream.to_be_bytes());
        bytes.extend(&self.payload);
        bytes
    }

    /// The status that the head of an answer begins with, if it is one of those that have a number of their
    /// own in the table.
    pub fn status(&self) -> Option<u16> {
        match self.payload.first()? {
            0x88 => Some(200),
            0x89 => Some(204),
            0x8b => Some(304),
            0x8c => Some(400),
            0x8d => Some(404),
            0x8e => Some(500),
            // Another status: literal with the name of number 8.
            0x48 | 0x08 | 0x18 => None,
            _ => None,
        }
    }

    /// The error code of RST_STREAM or GOAWAY.
    pub fn code(&self) -> u32 {
        let at = if self.kind == kind::GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }

    /// The last stream that a GOAWAY lets through.
    pub fn last_stream(&self) -> u32 {
        u32::from_be_bytes(self.payload[..4].try_into().unwrap())
    }
}

/// A head's fields, uncompressed.
pub fn head(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    let text = |block: &mut Vec<u8>, text: &str| {
        let length = text.len();
        if length < 127 {
            block.push(u8::try_from(length).unwrap());
        } else {
            block.push(127);
            let mut rest = length - 127;
            while rest >= 128 {
                block.push(u8::try_from(rest % 128).unwrap() | 128);
                rest /= 128;
            }
            block.push(u8::try_from(rest).unwrap());
        }
        block.extend(text.as_bytes());
    };
    for (name, value) in fields {
        block.push(0);
        text(&mut block, name);
        text(&mut block, value);
    }
    block
}

/// What frames go over.
pub trait Wire: Read + Write + Send {}

impl<T: Read + Write + Send> Wire for T {}

/// A connection.
pub struct Conn {
    wire: Box<dyn Wire>,
    /// The socket below, for its time limit.
    socket: TcpStream,
    input: Vec<u8>,
    addr: SocketAddr,
    next: u32,
}

impl Conn {
    /// Connects and greets.
    pub fn open(addr: SocketAddr) -> io::Result<Self> {
        Self::greet(addr, &[])
    }

    /// Connects and greets with settings.
    pub fn greet(addr: SocketAddr, settings: &[(u16, u32)]) -> io::Result<Self> {
        let socket = TcpStream::connect_timeout(&addr, Duration::from_secs(5))?;
        socket.set_nodelay(true)?;
        let wire = Box::new(socket.try_clone()?);
        Self::over(wire, socket, settings)
    }

    /// Greets on a connection that has been opened.
    pub fn over(mut wire: Box<dyn Wire>, socket: TcpStream, settings: &[(u16, u32)]) -> io::Result<Self> {
        let addr = socket.peer_addr()?;
        let mut payload = Vec::new();
        for (id, value) in settings {
            payload.extend(id.to_be_bytes());
            payload.extend(value.to_be_bytes());
        }
        wire.write_all(PREFACE)?;
        wire.write_all(&Frame::new(kind::SETTINGS, 0, 0, &payload).bytes())?;
        Ok(Self { wire, socket, input: Vec::new(), addr, next: 1 })
    }

    /// Sends bytes, whatever they are.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.wire.write_all(bytes)?;
        self.wire.flush()
    }

    /// Sends a frame.
    pub fn frame(&mut self, frame: &Frame) -> io::Result<()> {
        self.send(&frame.bytes())
    }

    /// The number of the next stream.
    pub fn number(&mut self) -> u32 {
        let number = self.next;
        self.next += 2;
        number
    }

    /// The head of a request on the next stream.
    pub fn request(&mut self, method: &str, path: &str, body: Option<&str>) -> (u32, Vec<u8>) {
        let (stream, authority) = (self.number(), self.addr.to_string());
        let mut fields = vec![
            (":method", method),
            (":scheme", "http"),
            (":path", path),
            (":authority", authority.as_str()),
        ];
        let length = body.map(|body| body.len().to_string());
        if let Some(length) = &length {
            fields.extend([("content-type", "application/json"), ("content-length", length)]);
        }
        let flags = if body.is_some() { END_HEADERS } else { END_HEADERS | END };
        let mut bytes = Frame::new(kind::HEADERS, flags, stream, &head(&fields)).bytes();
        if let Some(body) = body {
            bytes.extend(Frame::new(kind::DATA, END, stream, body.as_bytes()).bytes());
        }
        (stream, bytes)
    }

    /// Sends a request; its stream.
    pub fn call(&mut self, method: &str, path: &str, body: Option<&str>) -> io::Result<u32> {
        let (stream, bytes) = self.request(method, path, body);
        self.send(&bytes).map(|()| stream)
    }

    /// The next frame, after settings and pings are confirmed.
    pub fn next(&mut self, deadline: Instant) -> io::Result<Frame> {
        loop {
            let frame = self.raw(deadline)?;
            match (frame.kind, frame.flags & END) {
                (kind::SETTINGS | kind::PING, 0) => {
                    // The connection may be closed by now, which the next read shows.
                    let _ = self.frame(&Frame { flags: END, payload: echo(&frame), ..frame });
                }
                (kind::SETTINGS | kind::PING | kind::WINDOW_UPDATE, _) => {}
                _ => return Ok(frame),
            }
        }
    }

    /// The next frame, whatever it is.
    pub fn raw(&mut self, deadline: Instant) -> io::Result<Frame> {
        loop {
            if let Some(frame) = self.parse() {
                return Ok(frame);
            }
            let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            self.socket.set_read_timeout(Some(left))?;
            let mut piece = [0; 16 * 1024];
            match self.wire.read(&mut piece) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(n) => self.input.extend_from_slice(&piece[..n]),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Err(ErrorKind::TimedOut.into()),
                Err(e) => return Err(e),
            }
        }
    }

    /// Reads frames until one fits.
    pub fn until(&mut self, deadline: Instant, fits: impl Fn(&Frame) -> bool) -> io::Result<Frame> {
        loop {
            let frame = self.next(deadline)?;
            if fits(&frame) {
                return Ok(frame);
            }
        }
    }

    /// Reads an answer to its end: the status if it is in the table, and the body.
    pub fn answer(&mut self, stream: u32, deadline: Instant) -> io::Result<(Option<u16>, Vec<u8>)> {
        let (mut status, mut body) = (None, Vec::new());
        loop {
            let frame = self.until(deadline, |frame| frame.stream == stream || frame.stream == 0)?;
            match frame.kind {
                kind::HEADERS => status = frame.status(),
                kind::DATA => body.extend_from_slice(&frame.payload),
                kind::RST_STREAM => return Err(io::Error::other(format!("reset: {}", frame.code()))),
                _ => continue,
            }
            if frame.flags & END == END {
                return Ok((status, body));
            }
        }
    }

    fn parse(&mut self) -> Option<Frame> {
        let head = self.input.get(..9)?;
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let (kind, flags) = (head[3], head[4]);
        let stream = u32::from_be_bytes(head[5..9].try_into().unwrap()) & 0x7fff_ffff;
        let payload = self.input.get(9..9 + length)?.to_vec();
        self.input.drain(..9 + length);
        Some(Frame { kind, flags, stream, payload })
    }
}

fn echo(frame: &Frame) -> Vec<u8> {
    if frame.kind == kind::PING { frame.payload.clone() } else { Vec::new() }
}
