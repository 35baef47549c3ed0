// SPDX-License-Identifier: Apache-2.0
//! One TCP connection that speaks HTTP/1.1: any bytes out, answers in, whole or piece by piece.
//!
//! Written by hand because the tests need what libraries hide: malformed requests, half a body, an answer
//! that never ends, and whether anything was sent when it failed.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// How the body of an answer ends.
#[derive(Clone, Copy, Debug)]
enum Framing {
    Length(usize),
    /// In chunks; so many bytes of the present one are left.
    Chunked(Option<usize>),
    UntilClose,
    Done,
}

/// Status line and headers.
#[derive(Clone, Debug)]
pub struct Head {
    /// The status.
    pub status: u16,
    /// The headers as they came.
    pub headers: Vec<(String, String)>,
}

impl Head {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }
}

/// A connection.
pub struct Conn {
    stream: TcpStream,
    input: Vec<u8>,
    framing: Framing,
}

impl Conn {
    /// Connects.
    pub fn open(addr: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&addr, Duration::from_secs(5))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, input: Vec::new(), framing: Framing::Done })
    }

    /// Sends bytes, whatever they are.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Ends the sending half: a body that was announced and never comes.
    pub fn finish(&self) -> io::Result<()> {
        self.stream.shutdown(std::net::Shutdown::Write)
    }

    /// A second handle, to cut the connection while somebody reads from it.
    pub fn cutter(&self) -> io::Result<TcpStream> {
        self.stream.try_clone()
    }

    /// Reads more input; an error if there is none before the deadline or ever again.
    fn fill(&mut self, deadline: Instant) -> io::Result<()> {
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        self.stream.set_read_timeout(Some(left))?;
        let mut piece = [0; 16 * 1024];
        match self.stream.read(&mut piece) {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Ok(n) => {
                self.input.extend_from_slice(&piece[..n]);
                Ok(())
            }
            Err(e) if e.kind() == ErrorKind::Interrupted => Ok(()),
            // What a read timeout is called depends on the system.
            Err(e) if e.kind() == ErrorKind::WouldBlock => Err(ErrorKind::TimedOut.into()),
            Err(e) => Err(e),
        }
    }

    /// Reads status line and headers. `method` decides whether a body follows.
    pub fn head(&mut self, method: &str, deadline: Instant) -> io::Result<Head> {
        loop {
            if let Some((head, length)) = parse_head(&self.input)? {
                self.input.drain(..length);
                if head.status == 100 {
                    continue;
                }
                self.framing = framing(&head, method)?;
                return Ok(head);
            }
            self.fill(deadline)?;
        }
    }

    /// The next piece of the body; `None` at its end.
    pub fn piece(&mut self, deadline: Instant) -> io::Result<Option<Vec<u8>>> {
        loop {
            match self.framing {
                Framing::Done => return Ok(None),
                Framing::Length(0) => self.framing = Framing::Done,
                Framing::Length(left) if !self.input.is_empty() => {
                    let piece = self.take(left);
                    self.framing = Framing::Length(left - piece.len());
                    return Ok(Some(piece));
                }
                Framing::UntilClose if !self.input.is_empty() => return Ok(Some(self.take(usize::MAX))),
                Framing::Chunked(Some(left)) if left > 0 && !self.input.is_empty() => {
                    let piece = self.take(left);
                    self.framing = Framing::Chunked(Some(left - piece.len()));
                    return Ok(Some(piece));
                }
                Framing::Chunked(Some(0)) if self.input.len() >= 2 => {
                    self.input.drain(..2);
                    self.framing = Framing::Chunked(None);
                }
                Framing::Chunked(None) if self.line_end().is_some() => self.chunk()?,
                Framing::UntilClose => match self.fill(deadline) {
                    Err(e) if e.kind() == ErrorKind::UnexpectedEof => self.framing = Framing::Done,
                    other => other?,
                },
                Framing::Length(_) | Framing::Chunked(_) => self.fill(deadline)?,
            }
        }
    }

    /// The whole rest of the body.
    pub fn body(&mut self, deadline: Instant) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        while let Some(piece) = self.piece(deadline)? {
            body.extend_from_slice(&piece);
        }
        Ok(body)
    }

    fn take(&mut self, most: usize) -> Vec<u8> {
        let n = most.min(self.input.len());
        self.input.drain(..n).collect()
    }

    fn line_end(&self) -> Option<usize> {
        self.input.windows(2).position(|pair| pair == b"\r\n")
    }

    fn chunk(&mut self) -> io::Result<()> {
        let end = self.line_end().unwrap_or_default();
        let line = String::from_utf8_lossy(&self.input[..end]).into_owned();
        let size = usize::from_str_radix(line.split(';').next().unwrap_or_default().trim(), 16)
            .map_err(|e| io::Error::new(ErrorKind::InvalidData, format!("chunk size {line:?}: {e}")))?;
        self.input.drain(..end + 2);
        // After the last chunk comes an empty line; the parser of the next head skips it if it comes late.
        self.framing = if size == 0 { Framing::Done } else { Framing::Chunked(Some(size)) };
        if size == 0 && self.input.starts_with(b"\r\n") {
            self.input.drain(..2);
        }
        Ok(())
    }
}

fn parse_head(input: &[u8]) -> io::Result<Option<(Head, usize)>> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut parsed = httparse::Response::new(&mut headers);
    let bad = |e: httparse::Error| io::Error::new(ErrorKind::InvalidData, format!("not an HTTP answer: {e}"));
    let httparse::Status::Complete(length) = parsed.parse(input).map_err(bad)? else { return Ok(None) };
    let text = |header: &httparse::Header<'_>| {
        (header.name.to_owned(), String::from_utf8_lossy(header.value).into_owned())
    };
    let headers = parsed.headers.iter().map(text).collect();
    Ok(Some((Head { status: parsed.code.unwrap_or_default(), headers }, length)))
}

fn framing(head: &Head, method: &str) -> io::Result<Framing> {
    if method == "HEAD" || matches!(head.status, 204 | 304) {
        return Ok(Framing::Done);
    }
    if head.header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
        return Ok(Framing::Chunked(None));
    }
    match head.header("content-length") {
        Some(length) => length.parse().map(Framing::Length).map_err(io::Error::other),
        None => Ok(Framing::UntilClose),
    }
}
