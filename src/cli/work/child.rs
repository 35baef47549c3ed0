// SPDX-License-Identifier: Apache-2.0
//! One run of the command: spawn it in a process group of its own, feed it, read it, wait for it, stop it.

mod output;

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::super::group::{Group, Signal};
use super::registry::Stop;
use crate::client::Client;

pub use output::Captured;

/// How long output may still come after the command has ended. Longer means that a grandchild holds the pipe.
const AFTERWARDS: Duration = Duration::from_secs(1);

/// What is run for every job.
pub struct Program {
    words: Vec<OsString>,
    env: Vec<(&'static str, OsString)>,
}

/// What a run needs to know about its job.
pub struct Run<'a> {
    /// Goes to stdin.
    pub payload: &'a str,
    /// Environment on top of the worker's own.
    pub env: Vec<(&'static str, String)>,
    /// Where the checkpoint is.
    pub checkpoint_file: &'a Path,
    /// Longest run.
    pub limit: Option<Duration>,
    /// Between SIGTERM and SIGKILL.
    pub kill_after: Duration,
    /// Gets each line of stderr.
    pub stderr: Box<dyn FnMut(&str) + Send>,
}

/// Why a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// By itself.
    Exited(ExitStatus),
    /// It took too long and was stopped.
    TimedOut,
    /// It was told to stop.
    Stopped(Stop),
}

/// A run that is over: no process of it is left.
pub struct Finished {
    /// Why.
    pub ended: Ended,
    /// Its stdout.
    pub stdout: Captured,
    /// The end of its stderr.
    pub stderr: String,
}

impl Program {
    /// One word is a line for the shell, several are run as they are.
    pub fn new(command: Vec<String>, client: &Client) -> Self {
        let words = match command.len() {
            1 => ["/bin/sh".to_owned(), "-c".to_owned()]
                .into_iter()
                .chain(command)
                .map(OsString::from)
                .collect(),
            _ => command.into_iter().map(OsString::from).collect(),
        };
        let mut env = vec![("JOBBIE_URL", OsString::from(client.base().url()))];
        env.extend(client.api_key().map(|key| ("JOBBIE_API_KEY", key.into())));
        env.extend(client.authorities().map(|file| ("JOBBIE_CA_CERT", file.into())));
        Self { words, env }
    }

    /// For messages.
    pub fn name(&self) -> String {
        self.words[0].to_string_lossy().into_owned()
    }

    fn spawn(&self, run: &Run<'_>) -> io::Result<Child> {
        Command::new(&self.words[0])
            .args(&self.words[1..])
            // The worker's own trace is not that of the job.
            .env_remove("TRACEPARENT")
            .env_remove("TRACESTATE")
            .envs(self.env.iter().map(|(k, v)| (k, v)))
            .envs(run.env.iter().map(|(k, v)| (k, v)))
            .env("JOBBIE_CHECKPOINT_FILE", run.checkpoint_file)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
    }

    /// Runs the command. An error means that it could not be started. Whether this returns or is dropped: nothing
    /// that the command has started in its group is left.
    pub async fn run(&self, run: Run<'_>, mut stop: watch::Receiver<Stop>) -> io::Result<Finished> {
        let mut child = self.spawn(&run)?;
        let group = child.id().map(Group::new);
        if let Some(mut stdin) = child.stdin.take() {
            let payload = run.payload.to_owned();
            // A command that does not read its input is not at fault.
            tokio::spawn(async move {
                let _ = stdin.write_all(payload.as_bytes()).await;
            });
        }
        let mut stdout = output::read(child.stdout.take(), |_| {});
        let mut stderr = output::read_lines(child.stderr.take(), run.stderr);
        let ended = watch_over(&mut child, group.as_ref(), run.limit, run.kill_after, &mut stop).await?;
        let both = async { ((&mut stdout).await, (&mut stderr).await) };
        let ended_too = timeout(AFTERWARDS, both).await;
        // The command has ended. What it started may not have, whether it holds a pipe or not; it ends with its job.
        drop(group);
        let (stdout, stderr) = match ended_too {
            Ok((out, err)) => (out.unwrap_or_default(), err.unwrap_or_default()),
            Err(_) => {
                let out = timeout(AFTERWARDS, &mut stdout).await.map(Result::unwrap_or_default);
                let err = timeout(AFTERWARDS, &mut stderr).await.map(Result::unwrap_or_default);
                stdout.abort();
                stderr.abort();
                (out.unwrap_or_default(), err.unwrap_or_default())
            }
        };
        Ok(Finished { ended, stdout, stderr: stderr.text() })
    }
}

async fn watch_over(
    child: &mut Child,
    group: Option<&Group>,
    limit: Option<Duration>,
    kill_after: Duration,
    stop: &mut watch::Receiver<Stop>,
) -> io::Result<Ended> {
    let deadline = limit.map(|limit| Instant::now() + limit);
    let too_long = async {
        match deadline {
            Some(deadline) => tokio::time::sleep_until(deadline).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        status = child.wait() => return Ok(Ended::Exited(status?)),
        why = stopped(stop, Stop::No) => {
            end(child, group, kill_after, stop).await?;
            // A stronger reason may have come while it was ending.
            return Ok(Ended::Stopped(why.max(*stop.borrow())));
        }
        () = too_long => {}
    }
    end(child, group, kill_after, stop).await?;
    match *stop.borrow() {
        Stop::Lost => Ok(Ended::Stopped(Stop::Lost)),
        _ => Ok(Ended::TimedOut),
    }
}

/// The reason, once it is stronger than `than`.
async fn stopped(stop: &mut watch::Receiver<Stop>, than: Stop) -> Stop {
    if let Ok(why) = stop.wait_for(|why| *why > than).await.map(|why| *why) {
        return why;
    }
    // Nobody is left who could stop it.
    std::future::pending().await
}

/// SIGTERM, some time, SIGKILL: to the whole group.
async fn end(
    child: &mut Child,
    group: Option<&Group>,
    kill_after: Duration,
    stop: &mut watch::Receiver<Stop>,
) -> io::Result<()> {
    let Some(group) = group else { return child.kill().await };
    if *stop.borrow() < Stop::Now {
        group.signal(Signal::TERM);
        tokio::select! {
            biased;
            _ = child.wait() => {}
            _ = stopped(stop, Stop::Lost) => {}
            () = tokio::time::sleep(kill_after) => {}
        }
    }
    // Also when the child has ended: what it started may not have.
    group.signal(Signal::KILL);
    child.wait().await.map(drop)
}
