// SPDX-License-Identifier: Apache-2.0
//! The main loop: as many jobs as there are slots, until it is time to stop.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use anyhow::{Result, anyhow};
use tokio::task::{JoinError, JoinSet};

use super::super::exit::Exit;
use super::job::{self, Ran};
use super::poll::{Poll, WAIT};
use super::signals::Phase;
use super::{Until, Worker, beat};
use std::time::Duration;

type Jobs = JoinSet<Result<Ran>>;

/// Works until stopped, until the queues are empty, or for one job.
pub async fn run(worker: &Arc<Worker>, until: Until) -> Result<Exit> {
    let mut jobs = Jobs::new();
    let fetched = fetch(worker, until, &mut jobs).await;
    let was_told_to_end = worker.phase() > Phase::Running;
    worker.finish();
    let finished = finish(worker, &mut jobs).await;
    let count = |n: &std::sync::atomic::AtomicU64| n.load(Ordering::Relaxed);
    let (completed, failed, other) =
        (count(&worker.tally.completed), count(&worker.tally.failed), count(&worker.tally.other));
    worker.log.say(&format!("{completed} completed, {failed} failed, {other} released or lost"));
    fetched?;
    finished?;
    Ok(match until {
        _ if worker.phase() >= Phase::Killing => Exit::Failed,
        Until::Stopped => Exit::Done,
        // Released and lost jobs are still to be done: to call that drained would be wrong.
        _ if failed + other > 0 => Exit::Failed,
        Until::Empty if was_told_to_end => Exit::Failed,
        Until::OneJob if completed == 0 => Exit::Nothing,
        _ => Exit::Done,
    })
}

async fn fetch(worker: &Arc<Worker>, until: Until, jobs: &mut Jobs) -> Result<()> {
    let is_daemon = until == Until::Stopped;
    let mut was_empty = false;
    while worker.phase() == Phase::Running {
        while let Some(done) = jobs.try_join_next() {
            check(done)?;
        }
        let free = worker.concurrency - jobs.len();
        // With --drain an empty queue is empty only if no running job can still put something into it.
        if free == 0 || was_empty && !jobs.is_empty() {
            tokio::select! {
                Some(done) = jobs.join_next() => check(done)?,
                () = worker.reached(Phase::Finishing) => break,
            }
            was_empty = false;
            continue;
        }
        if was_empty {
            break;
        }
        let poll = Poll::new(free, if is_daemon { WAIT } else { Duration::ZERO });
        let mut leased = tokio::select! {
            leased = poll.run(worker, is_daemon) => leased?,
            () = worker.reached(Phase::Finishing) => {
                poll.give_back(worker).await?;
                break;
            }
        };
        was_empty = leased.is_empty() && !is_daemon;
        let is_one = until == Until::OneJob && !leased.is_empty();
        let ours_until = beat::confirm(worker, &mut leased, poll.asked).await;
        for job in leased {
            let worker = worker.clone();
            jobs.spawn(async move { job::run(&worker, job, ours_until).await });
        }
        if is_one {
            break;
        }
    }
    Ok(())
}

/// Waits for the jobs that still run; the signals decide for how long.
async fn finish(worker: &Worker, jobs: &mut Jobs) -> Result<()> {
    let mut worst = Ok(());
    loop {
        tokio::select! {
            done = jobs.join_next() => match done {
                Some(done) => worst = worst.and(check(done)),
                None => return worst,
            },
            () = worker.reached(Phase::Gone) => return worst,
        }
    }
}

fn check(done: Result<Result<Ran>, JoinError>) -> Result<()> {
    match done {
        Ok(Ok(Ran::Over)) => Ok(()),
        Ok(Ok(Ran::CannotRun(why))) => Err(anyhow!(why)),
        Ok(Err(e)) => Err(e),
        Err(e) => Err(anyhow!("a job's task ended badly: {e}")),
    }
}
