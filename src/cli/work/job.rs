// SPDX-License-Identifier: Apache-2.0
//! One job from its lease to its end.

use std::io;
use std::sync::PoisonError;
use std::time::Duration;

use anyhow::Result;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::Worker;
use super::child::{Ended, Run};
use super::log::Line;
use super::registry::{Entry, Stop};
use super::settle::{self, Settled};
use super::verdict::{self, Verdict};
use crate::client::unique_token;

/// A leased job.
#[derive(Debug, Deserialize)]
pub struct Leased {
    /// Its id.
    pub job_id: String,
    /// Its queue.
    pub queue: String,
    /// What to work on; absent is null.
    payload: Option<Box<RawValue>>,
    #[serde(default = "first")]
    attempt: u64,
    max_retries: Option<u64>,
    /// Proof of the lease.
    pub lease_token: String,
    checkpoint: Option<Box<RawValue>>,
    timeout_ms: Option<u64>,
    /// W3C `traceparent` of the enqueue.
    trace: Option<String>,
}

fn first() -> u64 {
    1
}

/// How it went, as far as the pool is concerned.
#[derive(Debug, PartialEq, Eq)]
pub enum Ran {
    /// It is settled one way or another.
    Over,
    /// The command cannot be started, and no job's attempt is to be wasted on that.
    CannotRun(String),
}

/// A pause for commands that could not be started for want of memory, processes or disk.
const NO_ROOM: Duration = Duration::from_secs(5);

/// Runs the command for a job that is ours until then, and settles it.
pub async fn run(worker: &Worker, job: Leased, ours_until: Instant) -> Result<Ran> {
    let file = worker.dir.path().join(unique_token());
    let entry = worker.registry.enter(&job.job_id, &job.lease_token, file.clone(), ours_until);
    if entry.is_lost() {
        tell(worker, &job, &Verdict::Nothing, &Settled::Lost, Ended::Stopped(Stop::Lost), Duration::ZERO);
        return Ok(Ran::Over);
    }
    if let Err(e) = restore(worker, &job, &entry) {
        let why = format!("cannot write to {}: {e}", worker.dir.path().display());
        return not_started(worker, &job, &why, Some(NO_ROOM)).await.map(|()| Ran::Over);
    }
    let started = Instant::now();
    let limit = job.timeout_ms.filter(|ms| *ms > 0).map(Duration::from_millis);
    let mut env = vec![
        ("JOBBIE_JOB_ID", job.job_id.clone()),
        ("JOBBIE_QUEUE", job.queue.clone()),
        ("JOBBIE_ATTEMPT", job.attempt.to_string()),
        ("JOBBIE_MAX_RETRIES", job.max_retries.unwrap_or(0).to_string()),
        ("JOBBIE_LEASE_TOKEN", job.lease_token.clone()),
    ];
    env.extend(job.trace.clone().map(|trace| ("TRACEPARENT", trace)));
    let run = Run {
        payload: job.payload.as_ref().map_or("null", |p| p.get()),
        env,
        checkpoint_file: &file,
        limit,
        kill_after: worker.kill_after,
        stderr: worker.log.child(&job.job_id),
    };
    let finished = tokio::select! {
        finished = worker.program.run(run, entry.stop.clone()) => finished,
        never = entry.guard() => match never {},
    };
    let finished = match finished {
        Ok(finished) => finished,
        Err(e) => return could_not_start(worker, &job, &e).await,
    };
    let verdict = verdict::of(&finished, limit, worker.tempfail_delay);
    let settled = settle::settle(worker, &entry, &job.job_id, &job.lease_token, &verdict).await?;
    let _ = std::fs::remove_file(&file);
    tell(worker, &job, &verdict, &settled, finished.ended, started.elapsed());
    Ok(Ran::Over)
}

/// Prepares the checkpoint file.
fn restore(worker: &Worker, job: &Leased, entry: &Entry<'_>) -> io::Result<()> {
    worker.dir.ensure()?;
    match job.checkpoint.as_ref().filter(|c| c.get() != "null") {
        Some(checkpoint) => {
            entry.checkpoint.lock().unwrap_or_else(PoisonError::into_inner).restore(checkpoint)
        }
        None => Ok(()),
    }
}

/// A missing command is the worker's fault, a full process table nobody's: in neither case the job's.
async fn could_not_start(worker: &Worker, job: &Leased, error: &io::Error) -> Result<Ran> {
    let is_ours = matches!(
        error.kind(),
        io::ErrorKind::NotFound
            | io::ErrorKind::PermissionDenied
            | io::ErrorKind::InvalidInput
            | io::ErrorKind::IsADirectory
    );
    let why = format!("cannot run {}: {error}", worker.program.name());
    not_started(worker, job, &why, (!is_ours).then_some(NO_ROOM)).await?;
    Ok(if is_ours { Ran::CannotRun(why) } else { Ran::Over })
}

/// Gives a job back that could not be started: no attempt is spent on what is wrong with this machine.
async fn not_started(worker: &Worker, job: &Leased, why: &str, delay: Option<Duration>) -> Result<()> {
    settle::release(worker, &job.job_id, &job.lease_token, delay).await?;
    worker.tally.count(&worker.tally.other);
    worker.log.say(&format!("{} released: {why}", job.job_id));
    Ok(())
}

fn tell(worker: &Worker, job: &Leased, verdict: &Verdict, settled: &Settled, ended: Ended, took: Duration) {
    let tally = &worker.tally;
    let (outcome, remark) = match (settled, verdict) {
        // The server keeps the time too, and was first: the attempt has failed, in the same way.
        (Settled::Lost, Verdict::Fail { error, .. }) if ended == Ended::TimedOut => {
            tally.count(&tally.failed);
            ("failed", error.clone())
        }
        (Settled::Lost, _) | (_, Verdict::Nothing) => {
            tally.count(&tally.other);
            ("lost", "the lease is gone, another worker may have the job".to_owned())
        }
        (Settled::Refused(why), _) => {
            tally.count(&tally.failed);
            ("failed", format!("the server refused the outcome: {why}"))
        }
        (Settled::Unknown, _) => {
            tally.count(&tally.failed);
            ("unknown", "the server did not answer before the worker ended".to_owned())
        }
        (Settled::Known, Verdict::Ack { .. }) => {
            tally.count(&tally.completed);
            ("completed", String::new())
        }
        (Settled::Known, Verdict::Fail { error, .. }) => {
            tally.count(&tally.failed);
            if ended == Ended::Stopped(Stop::Cancelled) {
                ("cancelled", String::new())
            } else {
                ("failed", error.clone())
            }
        }
        (Settled::Known, Verdict::Release { .. }) => {
            tally.count(&tally.other);
            ("released", String::new())
        }
    };
    worker.log.job(&Line {
        id: &job.job_id,
        queue: &job.queue,
        attempt: job.attempt,
        outcome,
        remark: &remark,
        took,
    });
}
