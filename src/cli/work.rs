// SPDX-License-Identifier: Apache-2.0
//! `jobbie work`: a whole worker in one line. It runs a command once per job and takes care of everything else.
//!
//! ```text
//! pool ──fetch──► job task ──spawn──► child (own process group)
//!   │                │  ▲ stop: cancelled, lease lost, shutdown
//!   │                │  └── registry ◄── heartbeat task (every third of a lease)
//!   └── signals      └──settle──► ack / fail / release, repeated until the outcome is known
//! ```
//!
//! Long polls rather than the stream: a poll survives proxies and restarts, asks for exactly as many jobs as there
//! are free slots, and can be repeated under its `request_id`, so that no lease is lost with a connection.
//!
//! What must hold:
//! * `W1` no child outlives its job: its process group is killed before the job is settled;
//! * `W2` every job fetched is settled, or its lease is lost; a settled job is no longer in the registry;
//! * `W3` a job whose lease is lost is not reported at all;
//! * `W4` no job runs on after its lease: if the server cannot be reached, the worker's own clock ends it.

mod backoff;
mod beat;
mod checkpoint;
mod child;
mod job;
mod log;
mod poll;
mod pool;
mod private;
mod registry;
mod settle;
mod signals;
mod verdict;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use jobbie_broker::lease::{MAX_LENGTH, MIN_LENGTH};
use jobbie_broker::time::Millis;

use super::Context;
use super::exit::{Exit, usage};
use super::fetch::hostname;
use super::when::Span;
use crate::client::{Client, unique_token};
use private::PrivateDir;

pub use backoff::Backoff;

const EXAMPLES: &str = r#"Examples:
  jobbie work mail -- ./send-mail.sh
  jobbie work urgent mail --concurrency 8 -- 'jq -r .to | xargs notify'
  jobbie work report --drain -- python3 report.py        # until the queue is empty, for CI
  jobbie work video --lease 10m --grace 5m -- ffmpeg-job

The command gets the payload on stdin. A command of one word runs through `sh -c`, several words directly.
Environment: JOBBIE_JOB_ID, JOBBIE_QUEUE, JOBBIE_ATTEMPT, JOBBIE_MAX_RETRIES, JOBBIE_LEASE_TOKEN, JOBBIE_URL,
TRACEPARENT if the job belongs to a trace, and JOBBIE_CHECKPOINT_FILE: holds the job's checkpoint if it has one;
JSON that is written there (to a file beside it, then renamed) is kept with the job and is there again on the next
attempt.
`jobbie heartbeat --progress 3/10` works from inside.

How it ends:
  exit 0    ack; stdout is the result if it is JSON, else its end as a string; empty stdout is no result
  exit 75   (EX_TEMPFAIL) release: comes back after --tempfail-delay, no attempt is spent
  exit 65   (EX_DATAERR) fail without a retry
  other     fail; the last line of stderr is the error, its last 20 lines are the backtrace
  cancelled, or longer than the job's timeout: SIGTERM, after --kill-after SIGKILL, then fail
  lease lost, or over because the server cannot be reached: the same, and nothing is reported
However it ends: what the command has left running is killed, unless it has a session of its own (setsid).

SIGTERM, SIGINT, SIGQUIT or SIGHUP: fetch no more, let jobs finish for --grace, then stop and release them. Once
more, but for SIGHUP: kill now. Under `nohup` SIGHUP is ignored."#;

/// Run a command for every job of one or more queues.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Command {
    /// Queues, the most urgent first.
    #[arg(required = true, value_name = "QUEUE")]
    queues: Vec<String>,
    /// How many jobs at once.
    #[arg(long, short, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    concurrency: u32,
    /// How long a job stays ours without a heartbeat, 1s to 1d; one is sent every third of it.
    #[arg(long, value_name = "DURATION", default_value = "60s")]
    lease: Span,
    /// How long running jobs may go on after a signal to end.
    #[arg(long, value_name = "DURATION", default_value = "30s")]
    grace: Span,
    /// How long a child may take to react to SIGTERM before it is killed.
    #[arg(long, value_name = "DURATION", default_value = "5s")]
    kill_after: Span,
    /// When a job comes back whose command ended with 75.
    #[arg(long, value_name = "DURATION", default_value = "30s")]
    tempfail_delay: Span,
    /// The name this worker goes by; by default host, process and a random part.
    #[arg(long, value_name = "ID")]
    worker_id: Option<String>,
    /// Exit when there is nothing to do: 0 if every job completed, 1 if any failed, was released or was lost.
    #[arg(long)]
    drain: bool,
    /// Run one job and exit: 0 if it completed, 1 if it failed, was released or was lost, 4 if there was none.
    #[arg(long, conflicts_with_all = ["drain", "concurrency"])]
    once: bool,
    /// Do not pass the commands' stderr on.
    #[arg(long, short)]
    quiet: bool,
    /// The command.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// How long the worker goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Until {
    Stopped,
    Empty,
    OneJob,
}

/// What all parts of a running worker share.
struct Worker {
    client: Client,
    id: String,
    hostname: String,
    queues: Vec<String>,
    program: child::Program,
    concurrency: usize,
    lease: Duration,
    kill_after: Duration,
    tempfail_delay: Duration,
    /// Holds the checkpoint files.
    dir: PrivateDir,
    registry: registry::Registry,
    log: log::Log,
    tally: log::Tally,
    phase: tokio::sync::watch::Sender<signals::Phase>,
}

impl Command {
    pub async fn run(self, context: Context) -> Result<Exit> {
        let (until, grace) = (self.until(), self.grace.duration());
        let worker = Arc::new(self.worker(context)?);
        let signals = tokio::spawn(signals::run(worker.clone(), grace)?);
        let done = work(&worker, until).await;
        signals.abort();
        // The last to know the worker is this function, which removes its directory.
        let _ = signals.await;
        done
    }

    fn until(&self) -> Until {
        match (self.once, self.drain) {
            (true, _) => Until::OneJob,
            (_, true) => Until::Empty,
            _ => Until::Stopped,
        }
    }

    fn worker(self, context: Context) -> Result<Worker> {
        let lease = self.lease.duration();
        let span = |bound: Millis| Duration::from_millis(bound.0);
        if !(span(MIN_LENGTH)..=span(MAX_LENGTH)).contains(&lease) {
            return Err(usage(format!("--lease must be from {MIN_LENGTH} to {MAX_LENGTH}")));
        }
        let hostname = hostname();
        let default_id = || format!("{hostname}-{}-{}", std::process::id(), &unique_token()[..6]);
        Ok(Worker {
            id: self.worker_id.unwrap_or_else(default_id),
            hostname,
            queues: self.queues,
            program: child::Program::new(self.command, &context.client),
            concurrency: if self.once { 1 } else { self.concurrency as usize },
            lease,
            kill_after: self.kill_after.duration(),
            tempfail_delay: self.tempfail_delay.duration(),
            dir: PrivateDir::new().with_context(|| {
                format!("cannot create a directory for checkpoints in {}", std::env::temp_dir().display())
            })?,
            registry: registry::Registry::default(),
            log: log::Log::new(context.out, self.quiet),
            tally: log::Tally::default(),
            phase: tokio::sync::watch::Sender::new(signals::Phase::Running),
            client: context.client,
        })
    }
}

/// Works, with heartbeats.
async fn work(worker: &Arc<Worker>, until: Until) -> Result<Exit> {
    let beats = tokio::spawn(beat::run(worker.clone()));
    let done = pool::run(worker, until).await;
    beats.abort();
    let _ = beats.await;
    done
}

#[cfg(test)]
mod tests;
