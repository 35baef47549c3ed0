// SPDX-License-Identifier: Apache-2.0
//! What a system must be able to do to be measured, and its process.

use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// A server that takes longer to answer its first connection is not coming up.
const START: Duration = Duration::from_secs(60);

/// A connection to a system under load.
pub trait Peer: Sized + 'static {
    /// Name and what an acknowledgement means.
    const NAME: &'static str;
    /// How its server is started.
    fn command(dir: &Path, port: u16) -> Result<Command>;
    /// Makes a queue.
    async fn prepare(port: u16, queue: &str) -> Result<()>;
    /// Connects as the `i`-th client of a queue.
    async fn connect(port: u16, queue: &str, i: usize) -> Result<Self>;
    /// Enqueues `count` jobs in one go and waits until all are acknowledged.
    async fn enqueue(&mut self, payloads: &mut Payloads, count: usize) -> Result<()>;
    /// Fetches up to `count` jobs in one go; how many. With `wait`, a queue that is empty is waited for, at most about a
    /// second.
    async fn fetch(&mut self, count: usize, wait: bool) -> Result<usize>;
    /// Acks in one go what was fetched, and waits until all acks are acknowledged.
    async fn ack(&mut self) -> Result<()>;
    /// The payload of the job that was fetched last.
    fn last(&self) -> &[u8];
}

/// Payloads of 200 bytes, no two of them the same: a number and a filler.
pub struct Payloads {
    next: u64,
    bytes: [u8; 200],
}

impl Payloads {
    /// Numbers from here on.
    pub fn from(next: u64) -> Self {
        Self { next, bytes: [b'x'; 200] }
    }

    /// The next payload.
    pub fn next(&mut self) -> &[u8] {
        let mut rest = self.next;
        for digit in self.bytes[..20].iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        self.next += 1;
        &self.bytes
    }

    /// The number in a payload.
    pub fn number(payload: &[u8]) -> Option<u64> {
        std::str::from_utf8(payload.get(..20)?).ok()?.parse().ok()
    }
}

/// A server process with its data.
pub struct Running<P> {
    child: Child,
    dir: PathBuf,
    /// Where it listens.
    pub port: u16,
    peer: PhantomData<P>,
}

impl<P: Peer> Running<P> {
    /// Starts it in a directory of its own below `dir`.
    pub async fn start(dir: &Path) -> Result<Self> {
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let dir = dir.join(format!("peers-{}-{port}", std::process::id()));
        std::fs::create_dir_all(&dir)?;
        let child = spawn::<P>(&dir, port)?;
        let running = Self { child, dir, port, peer: PhantomData };
        running.answering().await?;
        Ok(running)
    }

    /// Kills it with SIGKILL, and starts it again on the same data.
    pub fn kill_and_start_again(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        self.child = spawn::<P>(&self.dir, self.port)?;
        Ok(())
    }

    /// A connection as soon as there can be one.
    pub async fn answering(&self) -> Result<()> {
        let end = Instant::now() + START;
        while let Err(e) = tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await {
            if Instant::now() > end {
                bail!("{} does not come up: {e}", P::NAME);
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok(())
    }

    /// User and system time so far.
    pub fn time(&self) -> Option<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).ok()?;
        let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
        let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        Some(Duration::from_millis((user + system) * 10))
    }

    /// Resident memory in MiB.
    pub fn memory(&self) -> Option<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        Some(line.split_ascii_whitespace().next()?.parse::<f64>().ok()? / 1_024.0)
    }
}

impl<P> Drop for Running<P> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn spawn<P: Peer>(dir: &Path, port: u16) -> Result<Child> {
    let mut command = P::command(dir, port)?;
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().with_context(|| format!("cannot start {}: is it installed?", P::NAME))
}
