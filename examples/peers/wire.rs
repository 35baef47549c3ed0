// SPDX-License-Identifier: Apache-2.0
//! A connection for protocols made of lines and counted bytes.

use std::io;
use std::ops::Range;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A connection, what is to be sent on it, and what was received but not yet consumed.
pub struct Wire {
    stream: TcpStream,
    buf: Vec<u8>,
    at: usize,
    /// The next thing to send.
    pub out: Vec<u8>,
}

impl Wire {
    /// Connects on the loopback interface, with `TCP_NODELAY`.
    pub async fn open(port: u16) -> io::Result<Self> {
        let stream = TcpStream::connect((std::net::Ipv4Addr::LOCALHOST, port)).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buf: Vec::with_capacity(64 << 10), at: 0, out: Vec::new() })
    }

    /// Sends `out` in one piece.
    pub async fn send(&mut self) -> io::Result<()> {
        self.stream.write_all(&self.out).await?;
        self.out.clear();
        Ok(())
    }

    /// The next line, without its end. Valid until the next call.
    pub async fn line(&mut self) -> io::Result<&[u8]> {
        let mut looked_at = 0;
        loop {
            let rest = &self.buf[self.at..];
            if let Some(end) = rest[looked_at..].windows(2).position(|pair| pair == b"\r\n") {
                let line = self.at..self.at + looked_at + end;
                self.at = line.end + 2;
                return Ok(&self.buf[line]);
            }
            looked_at = rest.len().saturating_sub(1);
            self.fill().await?;
        }
    }

    /// The next `count` bytes. Valid until the next call.
    pub async fn take(&mut self, count: usize) -> io::Result<&[u8]> {
        while self.buf.len() - self.at < count {
            self.fill().await?;
        }
        let taken: Range<usize> = self.at..self.at + count;
        self.at = taken.end;
        Ok(&self.buf[taken])
    }

    async fn fill(&mut self) -> io::Result<()> {
        self.buf.drain(..self.at);
        self.at = 0;
        self.buf.reserve(64 << 10);
        match self.stream.read_buf(&mut self.buf).await? {
            0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed the connection")),
            _ => Ok(()),
        }
    }
}

/// An error for an answer that was not expected.
pub fn unexpected(answer: &[u8]) -> anyhow::Error {
    anyhow::anyhow!("unexpected answer: {}", String::from_utf8_lossy(answer))
}
