// SPDX-License-Identifier: Apache-2.0
//! beanstalkd with its log synced at each write (`-b DIR -f 0`). A batch is a pipeline.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use super::peer::{Payloads, Peer};
use super::wire::{Wire, unexpected};

/// A connection.
pub struct Beanstalkd {
    wire: Wire,
    ids: Vec<u64>,
    last: Vec<u8>,
}

impl Peer for Beanstalkd {
    const NAME: &'static str = "beanstalkd -f0";

    fn command(dir: &Path, port: u16) -> Result<Command> {
        let mut command = Command::new("beanstalkd");
        command.args(["-l", "127.0.0.1", "-p", &port.to_string(), "-f", "0", "-b"]).arg(dir);
        Ok(command)
    }

    async fn prepare(_: u16, _: &str) -> Result<()> {
        Ok(())
    }

    async fn connect(port: u16, queue: &str, _: usize) -> Result<Self> {
        let mut wire = Wire::open(port).await?;
        write!(wire.out, "use {queue}\r\nwatch {queue}\r\nignore default\r\n")?;
        wire.send().await?;
        for start in ["USING", "WATCHING", "WATCHING"] {
            let line = wire.line().await?;
            if !line.starts_with(start.as_bytes()) {
                return Err(unexpected(line));
            }
        }
        Ok(Self { wire, ids: Vec::new(), last: Vec::new() })
    }

    async fn enqueue(&mut self, payloads: &mut Payloads, count: usize) -> Result<()> {
        for _ in 0..count {
            let payload = payloads.next();
            write!(self.wire.out, "put 50 0 60 {}\r\n", payload.len())?;
            self.wire.out.extend_from_slice(payload);
            self.wire.out.extend_from_slice(b"\r\n");
        }
        self.wire.send().await?;
        for _ in 0..count {
            let line = self.wire.line().await?;
            if !line.starts_with(b"INSERTED") {
                return Err(unexpected(line));
            }
        }
        Ok(())
    }

    async fn fetch(&mut self, count: usize, wait: bool) -> Result<usize> {
        for _ in 0..count {
            write!(self.wire.out, "reserve-with-timeout {}\r\n", u8::from(wait))?;
        }
        self.wire.send().await?;
        self.ids.clear();
        for _ in 0..count {
            let line = self.wire.line().await?;
            if line.starts_with(b"TIMED_OUT") {
                continue;
            }
            let text = std::str::from_utf8(line)?.strip_prefix("RESERVED ");
            let Some((id, length)) = text.and_then(|text| text.split_once(' ')) else {
                return Err(unexpected(line));
            };
            let length: usize = length.parse().context("a length")?;
            self.ids.push(id.parse::<u64>().context("an id")?);
            let body = self.wire.take(length + 2).await?;
            self.last.clear();
            self.last.extend_from_slice(&body[..length]);
        }
        Ok(self.ids.len())
    }

    async fn ack(&mut self) -> Result<()> {
        for id in &self.ids {
            write!(self.wire.out, "delete {id}\r\n")?;
        }
        self.wire.send().await?;
        for _ in 0..self.ids.len() {
            let line = self.wire.line().await?;
            if line != b"DELETED" {
                return Err(unexpected(line));
            }
        }
        Ok(())
    }

    fn last(&self) -> &[u8] {
        &self.last
    }
}
