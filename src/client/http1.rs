// SPDX-License-Identifier: Apache-2.0
//! One HTTP/1.1 connection: write a request, read head and body. Keep-alive, `Content-Length`, chunked, and
//! bodies that end with the connection, plain or over TLS. No pipelining, no redirects.
//!
//! Reading is cancel-safe: everything received stays in `buf`, and the only await is one `read`.

mod chunked;

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::tls::Tls;

pub use chunked::Chunked;

/// Heads are a few hundred bytes; anything longer than this is not a server of ours.
const MAX_HEAD: usize = 64 << 10;
/// Read size: one loopback segment.
const READ: usize = 64 << 10;

/// What is below HTTP.
enum Wire {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Wire {
    async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.write_all(bytes).await,
            Self::Tls(stream) => {
                stream.write_all(bytes).await?;
                stream.flush().await
            }
        }
    }

    async fn read_buf(&mut self, buf: &mut Vec<u8>) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read_buf(buf).await,
            Self::Tls(stream) => stream.read_buf(buf).await,
        }
    }
}

/// A connection and what has been received on it but not yet consumed.
pub struct Conn {
    wire: Wire,
    buf: Vec<u8>,
    at: usize,
    saw_answer: bool,
    reusable: bool,
}

/// The part of an answer's head that anyone here needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Status code.
    pub status: u16,
    /// `Retry-After` in seconds.
    pub retry_after: Option<u64>,
    /// Whether the server will close the connection.
    close: bool,
}

/// How the end of the body is found.
#[derive(Debug)]
pub enum Framing {
    /// This many bytes are left.
    Length(u64),
    /// Chunked transfer encoding.
    Chunked(Chunked),
    /// Everything until the connection closes.
    UntilClose,
}

impl Conn {
    /// Connects, with `TCP_NODELAY`: without it a small write can wait 40 ms for an acknowledgement.
    pub async fn open(host: &str, port: u16, tls: Option<&Tls>, timeout: Duration) -> io::Result<Self> {
        let opening = async {
            let stream = TcpStream::connect((host, port)).await?;
            stream.set_nodelay(true)?;
            match tls {
                None => Ok::<_, io::Error>(Wire::Plain(stream)),
                Some(tls) => Ok(Wire::Tls(Box::new(tls.connect(stream).await?))),
            }
        };
        let wire = tokio::time::timeout(timeout, opening)
            .await
            .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "connecting took too long"))??;
        Ok(Self { wire, buf: Vec::with_capacity(READ), at: 0, saw_answer: false, reusable: true })
    }

    /// Whether any byte of an answer to the last request was seen.
    pub fn saw_answer(&self) -> bool {
        self.saw_answer
    }

    /// Whether another request may follow.
    pub fn is_reusable(&self) -> bool {
        self.reusable
    }

    /// Writes a request and reads the whole answer into `body`, which is cleared first.
    pub async fn roundtrip(&mut self, request: &[u8], body: &mut Vec<u8>, limit: usize) -> io::Result<Head> {
        body.clear();
        let (head, mut framing) = self.send_and_read_head(request).await?;
        self.read_all(&mut framing, body, limit).await?;
        self.reusable = !head.close;
        Ok(head)
    }

    /// Writes a request and reads the head of its answer.
    pub async fn send_and_read_head(&mut self, request: &[u8]) -> io::Result<(Head, Framing)> {
        self.saw_answer = false;
        self.reusable = false; // until the answer is complete
        self.wire.write_all(request).await?;
        loop {
            if let Some((used, head, framing)) = parse_head(&self.buf[self.at..])? {
                self.at += used;
                // 1xx answers announce the real one.
                if head.status >= 200 {
                    return Ok((head, framing));
                }
                continue;
            }
            if self.buf.len() - self.at > MAX_HEAD {
                return Err(invalid("the answer's head is too long"));
            }
            if self.fill().await? == 0 {
                return Err(closed());
            }
        }
    }

    /// Reads the rest of a body into `out`.
    pub async fn read_all(
        &mut self,
        framing: &mut Framing,
        out: &mut Vec<u8>,
        limit: usize,
    ) -> io::Result<()> {
        while self.read_some(framing, out).await? {
            if out.len() > limit {
                return Err(invalid("the answer is too long"));
            }
        }
        Ok(())
    }

    /// Appends at least one byte of the body to `out`, or returns false at its end.
    pub async fn read_some(&mut self, framing: &mut Framing, out: &mut Vec<u8>) -> io::Result<bool> {
        loop {
            let input = &self.buf[self.at..];
            match framing {
                Framing::Length(0) => return Ok(false),
                Framing::Length(left) => {
                    let take = input.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    if take > 0 {
                        out.extend_from_slice(&input[..take]);
                        self.at += take;
                        *left -= take as u64;
                        return Ok(true);
                    }
                }
                Framing::Chunked(decoder) => {
                    let before = out.len();
                    self.at += decoder.decode(input, out)?;
                    if out.len() > before {
                        return Ok(true);
                    }
                    if decoder.is_done() {
                        return Ok(false);
                    }
                }
                Framing::UntilClose => {
                    if !input.is_empty() {
                        out.extend_from_slice(input);
                        self.at = self.buf.len();
                        return Ok(true);
                    }
                }
            }
            if self.fill().await? == 0 {
                return if matches!(framing, Framing::UntilClose) { Ok(false) } else { Err(closed()) };
            }
        }
    }

    async fn fill(&mut self) -> io::Result<usize> {
        if self.at == self.buf.len() {
            self.buf.clear();
            self.at = 0;
        } else if self.at >= READ {
            self.buf.drain(..self.at);
            self.at = 0;
        }
        self.buf.reserve(READ);
        let count = self.wire.read_buf(&mut self.buf).await?;
        self.saw_answer |= count > 0;
        Ok(count)
    }
}

fn parse_head(input: &[u8]) -> io::Result<Option<(usize, Head, Framing)>> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut headers);
    let used = match response.parse(input) {
        Ok(httparse::Status::Complete(used)) => used,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(e) => return Err(invalid(&format!("not HTTP: {e}"))),
    };
    let status = response.code.ok_or_else(|| invalid("no status"))?;
    let mut head = Head { status, retry_after: None, close: response.version == Some(0) };
    let (mut length, mut is_chunked) = (None, false);
    for header in response.headers.iter() {
        let value = std::str::from_utf8(header.value).unwrap_or_default().trim();
        if header.name.eq_ignore_ascii_case("content-length") {
            length = Some(value.parse::<u64>().map_err(|_| invalid("content-length is not a number"))?);
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            is_chunked = value.to_ascii_lowercase().ends_with("chunked");
        } else if header.name.eq_ignore_ascii_case("connection") {
            head.close |= value.eq_ignore_ascii_case("close");
        } else if header.name.eq_ignore_ascii_case("retry-after") {
            head.retry_after = value.parse().ok();
        }
    }
    let framing = match (status, is_chunked, length) {
        (100..200 | 204 | 304, ..) => Framing::Length(0),
        (_, true, _) => Framing::Chunked(Chunked::default()),
        (_, false, Some(length)) => Framing::Length(length),
        (_, false, None) => {
            head.close = true;
            Framing::UntilClose
        }
    };
    Ok(Some((used, head, framing)))
}

fn invalid(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.to_owned())
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed the connection")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_read() {
        let (used, head, framing) =
            parse_head(b"HTTP/1.1 429 Too Many\r\nRetry-After: 3\r\nContent-Length: 2\r\n\r\nhi")
                .unwrap()
                .unwrap();
        assert_eq!((used, head.status, head.retry_after, head.close), (60, 429, Some(3), false));
        assert!(matches!(framing, Framing::Length(2)));
        assert!(parse_head(b"HTTP/1.1 200 OK\r\nContent-Le").unwrap().is_none());
        assert!(parse_head(b"SSH-2.0-OpenSSH\r\n\r\n").is_err());
    }

    #[test]
    fn the_end_of_a_body_is_found() {
        let framing = |text: &str| parse_head(text.as_bytes()).unwrap().unwrap();
        assert!(matches!(framing("HTTP/1.1 204 No\r\n\r\n").2, Framing::Length(0)));
        assert!(matches!(
            framing("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n").2,
            Framing::Chunked(_)
        ));
        let (_, head, last) = framing("HTTP/1.0 200 OK\r\n\r\n");
        assert!(head.close && matches!(last, Framing::UntilClose));
        assert!(framing("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n").1.close);
        assert!(parse_head(b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n").is_err());
    }
}
