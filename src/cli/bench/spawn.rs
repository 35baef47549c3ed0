// SPDX-License-Identifier: Apache-2.0
//! Processes that the benchmark starts itself: a server in a directory of its own, and the bare HTTP server that it
//! is compared with. They end with the benchmark.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::super::group::{Signal, signal};
use crate::client::{Call, Client, unique_token};

/// A debug build with a long log to apply takes some seconds; more is a failure.
const START: Duration = Duration::from_secs(60);
/// Where a server's messages go, in its directory.
const SERVER_LOG: &str = "server.log";
/// As long as the server's own grace and some more.
const STOP: Duration = Duration::from_secs(15);

/// A running process.
pub struct Spawned {
    child: Child,
    dir: Option<PathBuf>,
    /// Where it listens.
    pub url: String,
}

impl Spawned {
    /// Starts a durable server in a directory of its own below `dir`.
    pub async fn server(dir: &Path) -> Result<Self> {
        let dir = dir.join(format!("jobbie-bench-{}", unique_token()));
        std::fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let mut spawned = Self::start(server_command(&dir)?, Some(dir))?;
        spawned.hear().await?;
        Ok(spawned)
    }

    /// Kills the server with SIGKILL and starts it again on the same data.
    pub async fn kill_and_start_again(&mut self) -> Result<()> {
        let dir = self.dir.clone().context("only a server with a directory starts again")?;
        self.child.kill().await?;
        self.child = spawn(server_command(&dir)?)?;
        self.hear().await
    }

    /// Waits until the server says where it listens.
    async fn hear(&mut self) -> Result<()> {
        let heard = tokio::time::timeout(START, self.listening()).await;
        let heard =
            heard.unwrap_or_else(|_| Err(anyhow!("the server did not say where it listens within 60 s")));
        match heard {
            Ok(url) => self.url = url,
            Err(e) => {
                let log = self.dir().map(|dir| std::fs::read_to_string(dir.join(SERVER_LOG)));
                let log = log.and_then(Result::ok).unwrap_or_default();
                let last: Vec<&str> = log.lines().rev().take(5).collect();
                let last = last.into_iter().rev().collect::<Vec<_>>().join("\n  ");
                return Err(e.context(format!("the server did not start; its last words:\n  {last}")));
            }
        }
        Ok(())
    }

    /// Starts the bare HTTP server.
    pub async fn bare() -> Result<Self> {
        // Free now; that somebody takes it in the next millisecond is possible and ends in an error.
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut command = Command::new(std::env::current_exe()?);
        command
            .args(["bench", "--bare-server", &port.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::inherit());
        let mut spawned = Self::start(command, None)?;
        spawned.url = format!("http://127.0.0.1:{port}");
        let client = Client::new(&spawned.url, None)?;
        let call = Call::post("/enqueue", &serde_json::json!({"queue": "bare", "payload": null}))?;
        let answers = async {
            while client.send(&call).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::select! {
            status = spawned.child.wait() => return Err(anyhow!("the bare server ended: {}", status?)),
            done = tokio::time::timeout(START, answers) => done.context("the bare server does not answer")?,
        }
        Ok(spawned)
    }

    fn start(command: Command, dir: Option<PathBuf>) -> Result<Self> {
        Ok(Self { child: spawn(command)?, dir, url: String::new() })
    }

    async fn listening(&mut self) -> Result<String> {
        let stdout = self.child.stdout.take().context("no stdout")?;
        let mut lines = BufReader::new(stdout).lines();
        while let Some(line) = lines.next_line().await? {
            if let Some((_, url)) = line.split_once("listening on ") {
                // What else it may say is read and dropped, or it would block one day.
                tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
                return Ok(url.split_whitespace().next().unwrap_or(url).to_owned());
            }
        }
        Err(anyhow!("the server ended: {}", self.child.wait().await?))
    }

    /// Its process.
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Its directory.
    pub fn dir(&self) -> Option<&Path> {
        self.dir.as_deref()
    }

    /// Stops it in an orderly way and removes its directory.
    pub async fn stop(mut self, keep: bool) -> Result<()> {
        if let Some(pid) = self.pid() {
            signal(pid, Signal::TERM);
            if tokio::time::timeout(STOP, self.child.wait()).await.is_err() {
                self.child.kill().await?;
            }
        }
        let dir = self.dir.take().filter(|_| !keep);
        if let Some(dir) = dir {
            std::fs::remove_dir_all(&dir).with_context(|| format!("cannot remove {}", dir.display()))?;
        }
        Ok(())
    }
}

/// A server on whatever port is free.
fn server_command(dir: &Path) -> Result<Command> {
    let log = std::fs::File::options().create(true).append(true).open(dir.join(SERVER_LOG))?;
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args(["server", "--bind", "127.0.0.1:0", "--durability", "fsync", "--data-dir"])
        .arg(dir.join("data"));
    command.stdout(Stdio::piped()).stderr(log);
    Ok(command)
}

/// Starts a process in its own group: Ctrl-C ends the benchmark, and the benchmark ends the server.
fn spawn(mut command: Command) -> Result<Child> {
    let command = command.stdin(Stdio::null()).process_group(0).kill_on_drop(true);
    command.spawn().context("cannot start jobbie")
}

/// A benchmark that is interrupted leaves neither a process nor a directory.
impl Drop for Spawned {
    fn drop(&mut self) {
        let _ = self.child.start_kill();
        if let Some(dir) = self.dir.take() {
            let _ = std::fs::remove_dir_all(dir);
        }
    }
}
