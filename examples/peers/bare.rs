// SPDX-License-Identifier: Apache-2.0
//! The yardstick of `jobbie bench`: actix's HTTP server, parsing and checking an enqueue as jobbie does and
//! answering at once.

use std::io::Write as _;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use super::peer::{Payloads, Peer};
use super::wire::{Wire, unexpected};

/// Is the server, until it is killed.
pub async fn serve(port: u16) -> Result<()> {
    let workers = std::thread::available_parallelism()?.get();
    Ok(jobbie_web::bare::serve((Ipv4Addr::LOCALHOST, port).into(), workers).await?)
}

/// A connection.
pub struct Bare {
    wire: Wire,
}

impl Peer for Bare {
    const NAME: &'static str = "bare HTTP";

    fn command(_: &Path, port: u16) -> Result<Command> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["--bare", &port.to_string()]);
        Ok(command)
    }

    async fn prepare(_: u16, _: &str) -> Result<()> {
        Ok(())
    }

    async fn connect(port: u16, _: &str, _: usize) -> Result<Self> {
        Ok(Self { wire: Wire::open(port).await? })
    }

    async fn enqueue(&mut self, payloads: &mut Payloads, count: usize) -> Result<()> {
        for _ in 0..count {
            let payload = std::str::from_utf8(payloads.next())?;
            let data = &payload[..payload.len() - r#"{"data":""}"#.len()];
            let body = format!(r#"{{"queue":"bare","payload":{{"data":"{data}"}}}}"#);
            write!(
                self.wire.out,
                "POST /api/v1/enqueue HTTP/1.1\r\nhost: bare\r\naccept: application/json\r\n\
                 content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            )?;
            self.wire.send().await?;
            let status = self.wire.line().await?;
            if !status.starts_with(b"HTTP/1.1 201") {
                return Err(unexpected(status));
            }
            let mut length = 0;
            loop {
                let line = self.wire.line().await?.to_ascii_lowercase();
                if line.is_empty() {
                    break;
                }
                if let Some(value) = line.strip_prefix(b"content-length: ") {
                    length = std::str::from_utf8(value)?.parse()?;
                }
            }
            self.wire.take(length).await?;
        }
        Ok(())
    }

    async fn fetch(&mut self, _: usize, _: bool) -> Result<usize> {
        bail!("the bare server has no jobs")
    }

    async fn ack(&mut self) -> Result<()> {
        bail!("the bare server has no jobs")
    }

    fn last(&self) -> &[u8] {
        &[]
    }
}
