// SPDX-License-Identifier: Apache-2.0
//! NATS JetStream: a file stream with work-queue retention for each queue, publishes that wait for the stream's answer, a
//! durable pull consumer, acks that wait for theirs. A batch is a pipeline of publishes, one pull, a pipeline of acks.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::peer::{Payloads, Peer};
use super::wire::{Wire, unexpected};

/// A connection.
pub struct Nats {
    wire: Wire,
    queue: String,
    inbox: String,
    replies: Vec<String>,
    last: Vec<u8>,
}

/// What the server delivers.
struct Message {
    reply: Option<String>,
    body: Vec<u8>,
    /// With a header, which only messages about the state of a pull have here.
    is_status: bool,
}

impl Nats {
    async fn open(port: u16, queue: &str, i: usize) -> Result<Self> {
        let mut wire = Wire::open(port).await?;
        let inbox = format!("_INBOX.{queue}.{i}");
        write!(
            wire.out,
            "CONNECT {{\"verbose\":false,\"pedantic\":false,\"headers\":true}}\r\nSUB {inbox} 1\r\nPING\r\n"
        )?;
        wire.send().await?;
        while wire.line().await? != b"PONG" {}
        Ok(Self { wire, queue: queue.to_owned(), inbox, replies: Vec::new(), last: Vec::new() })
    }

    fn publish(&mut self, subject: &str, body: &[u8]) {
        let out = &mut self.wire.out;
        // Writing to a vector cannot fail.
        let _ = write!(out, "PUB {subject} {} {}\r\n", self.inbox, body.len());
        out.extend_from_slice(body);
        out.extend_from_slice(b"\r\n");
    }

    async fn message(&mut self) -> Result<Message> {
        loop {
            let line = self.wire.line().await?;
            if line == b"PING" {
                self.wire.out.extend_from_slice(b"PONG\r\n");
                self.wire.send().await?;
                continue;
            }
            let text = std::str::from_utf8(line)?;
            let words: Vec<&str> = text.split(' ').collect();
            let (is_status, counts) = match words.first() {
                Some(&"MSG") => (false, 1),
                Some(&"HMSG") => (true, 2),
                _ => return Err(unexpected(line)),
            };
            let reply = (words.len() == 4 + counts).then(|| words[3].to_owned());
            let length: usize = words.last().context("a length")?.parse()?;
            let body = self.wire.take(length + 2).await?[..length].to_vec();
            return Ok(Message { reply, body, is_status });
        }
    }

    async fn request(&mut self, subject: &str, body: &str) -> Result<()> {
        self.publish(subject, body.as_bytes());
        self.wire.send().await?;
        let answer = self.message().await?;
        match answer.body.windows(7).any(|bytes| bytes == b"\"error\"") {
            true => bail!("{subject}: {}", String::from_utf8_lossy(&answer.body)),
            false => Ok(()),
        }
    }
}

impl Peer for Nats {
    const NAME: &'static str = "NATS JetStream, file storage, not synced before the answer";

    fn command(dir: &Path, port: u16) -> Result<Command> {
        let mut command = Command::new("nats-server");
        command.args(["-a", "127.0.0.1", "-p", &port.to_string(), "-js", "-sd"]).arg(dir);
        Ok(command)
    }

    async fn prepare(port: u16, queue: &str) -> Result<()> {
        let mut nats = Self::open(port, queue, usize::MAX).await?;
        let stream = format!(
            r#"{{"name":"{queue}","subjects":["{queue}"],"retention":"workqueue","storage":"file","max_consumers":-1,"max_msgs":-1,"max_bytes":-1,"discard":"old","num_replicas":1}}"#
        );
        nats.request(&format!("$JS.API.STREAM.CREATE.{queue}"), &stream).await?;
        let consumer = format!(
            r#"{{"stream_name":"{queue}","config":{{"durable_name":"w","ack_policy":"explicit","deliver_policy":"all","ack_wait":60000000000,"max_ack_pending":100000,"replay_policy":"instant"}}}}"#
        );
        nats.request(&format!("$JS.API.CONSUMER.DURABLE.CREATE.{queue}.w"), &consumer).await
    }

    async fn connect(port: u16, queue: &str, i: usize) -> Result<Self> {
        Self::open(port, queue, i).await
    }

    async fn enqueue(&mut self, payloads: &mut Payloads, count: usize) -> Result<()> {
        let queue = self.queue.clone();
        for _ in 0..count {
            self.publish(&queue, payloads.next());
        }
        self.wire.send().await?;
        for _ in 0..count {
            let answer = self.message().await?;
            if !answer.body.starts_with(b"{\"stream\"") {
                return Err(unexpected(&answer.body));
            }
        }
        Ok(())
    }

    async fn fetch(&mut self, count: usize, wait: bool) -> Result<usize> {
        let pull = match wait {
            true => format!(r#"{{"batch":{count},"expires":1000000000}}"#),
            false => format!(r#"{{"batch":{count},"no_wait":true}}"#),
        };
        let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{}.w", self.queue);
        self.publish(&subject, pull.as_bytes());
        self.wire.send().await?;
        self.replies.clear();
        while self.replies.len() < count {
            let message = self.message().await?;
            if message.is_status {
                break;
            }
            self.replies.push(message.reply.context("a job without a way to ack it")?);
            self.last = message.body;
        }
        Ok(self.replies.len())
    }

    async fn ack(&mut self) -> Result<()> {
        let replies = std::mem::take(&mut self.replies);
        for reply in &replies {
            self.publish(reply, b"+ACK");
        }
        self.wire.send().await?;
        for _ in &replies {
            self.message().await?;
        }
        Ok(())
    }

    fn last(&self) -> &[u8] {
        &self.last
    }
}
