// SPDX-License-Identifier: Apache-2.0
//! Redis lists as a reliable queue, the pattern of its own documentation: LPUSH, LMOVE to a list of the worker, LREM from
//! there. With `appendfsync always` a command is answered after its fsync; a batch is one LPUSH, and pipelines of the others.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use super::peer::{Payloads, Peer};
use super::wire::{Wire, unexpected};

/// A connection.
pub struct Redis {
    wire: Wire,
    queue: String,
    own: String,
    jobs: Vec<Vec<u8>>,
}

/// What comes back.
enum Answer {
    Number,
    Bulk(Vec<u8>),
    Nothing,
}

impl Redis {
    fn command(&mut self, words: &[&[u8]]) {
        let out = &mut self.wire.out;
        // Writing to a vector cannot fail.
        let _ = write!(out, "*{}\r\n", words.len());
        for word in words {
            let _ = write!(out, "${}\r\n", word.len());
            out.extend_from_slice(word);
            out.extend_from_slice(b"\r\n");
        }
    }

    async fn answer(&mut self) -> Result<Answer> {
        let line = self.wire.line().await?;
        match line.first() {
            Some(b':') => Ok(Answer::Number),
            Some(b'$' | b'*') if &line[1..] == b"-1" => Ok(Answer::Nothing),
            Some(b'$') => {
                let length: usize = std::str::from_utf8(&line[1..])?.parse()?;
                let bytes = self.wire.take(length + 2).await?;
                Ok(Answer::Bulk(bytes[..length].to_vec()))
            }
            _ => Err(unexpected(line)),
        }
    }
}

impl Peer for Redis {
    const NAME: &'static str = "Redis lists, appendfsync always";

    fn command(dir: &Path, port: u16) -> Result<Command> {
        let mut command = Command::new("redis-server");
        let port = port.to_string();
        command.args([
            "--bind",
            "127.0.0.1",
            "--port",
            &port,
            "--appendonly",
            "yes",
            "--appendfsync",
            "always",
        ]);
        command.args(["--save", "", "--dir"]).arg(dir);
        Ok(command)
    }

    async fn prepare(_: u16, _: &str) -> Result<()> {
        Ok(())
    }

    async fn connect(port: u16, queue: &str, i: usize) -> Result<Self> {
        let own = format!("{queue}:worker-{i}");
        Ok(Self { wire: Wire::open(port).await?, queue: queue.to_owned(), own, jobs: Vec::new() })
    }

    async fn enqueue(&mut self, payloads: &mut Payloads, count: usize) -> Result<()> {
        let bodies: Vec<Vec<u8>> = (0..count).map(|_| payloads.next().to_vec()).collect();
        let queue = self.queue.clone();
        let mut words = vec![b"LPUSH".as_slice(), queue.as_bytes()];
        words.extend(bodies.iter().map(Vec::as_slice));
        self.command(&words);
        self.wire.send().await?;
        match self.answer().await? {
            Answer::Number => Ok(()),
            _ => bail!("LPUSH was not answered with a number"),
        }
    }

    async fn fetch(&mut self, count: usize, wait: bool) -> Result<usize> {
        let (queue, own) = (self.queue.clone(), self.own.clone());
        let (queue, own) = (queue.as_bytes(), own.as_bytes());
        for _ in 0..count {
            match wait {
                true => self.command(&[b"BLMOVE", queue, own, b"RIGHT", b"LEFT", b"1"]),
                false => self.command(&[b"LMOVE", queue, own, b"RIGHT", b"LEFT"]),
            }
        }
        self.wire.send().await?;
        self.jobs.clear();
        for _ in 0..count {
            if let Answer::Bulk(job) = self.answer().await? {
                self.jobs.push(job);
            }
        }
        Ok(self.jobs.len())
    }

    async fn ack(&mut self) -> Result<()> {
        let (own, jobs) = (self.own.clone(), std::mem::take(&mut self.jobs));
        jobs.iter().for_each(|job| self.command(&[b"LREM", own.as_bytes(), b"1", job]));
        self.wire.send().await?;
        for _ in &jobs {
            self.answer().await?;
        }
        Ok(())
    }

    fn last(&self) -> &[u8] {
        self.jobs.last().map_or(&[], Vec::as_slice)
    }
}
