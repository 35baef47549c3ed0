// SPDX-License-Identifier: Apache-2.0
//! Removing jobs of a queue in bounded steps: cleared ones, all of a queue that is being deleted, and
//! finished ones past retention.
//!
//! A round looks at the queue's jobs once, in the order below; where a step stopped, the next one goes on
//! ([`SweepPoint`]), so no step reads again what an earlier one removed or left.
//!
//! ```text
//! clear or delete:  pending ─► scheduled, retrying ─┐
//! retention only:                                    └► completed ─► dead ─► cancelled ─► round over
//! ```
//!
//! Behind the point a cleared job cannot appear: whatever joins the queue after the clear is not cleared.

use super::context::Context;
use crate::command::Purge;
use crate::id::{JobNo, QueueKey};
use crate::job::Job;
use crate::queue::SweepPoint;
use crate::reply::{Reply, Swept};
use crate::state::StateKind;
use crate::tables::schema::{Finished, FinishedKey, QueueJobKey, Ready, ReadyKey, Waiting};
use crate::tables::{Key, Tables};
use crate::time::Timestamp;

/// Jobs or rows that any one command of upkeep deals with at most, whatever limit it names: as many as the
/// largest batch of an enqueue.
pub const MAX_STEP: u32 = 10_000;
/// Jobs that a clear or delete looks at right away, so that small queues are empty when it answers.
pub const STEP_AT_ONCE: u32 = 500;

/// Which finished jobs have to go: those that finished before that time, and in each state all but that many.
#[derive(Clone, Copy)]
pub struct Bounds {
    pub before: Timestamp,
    pub keep: u64,
}

impl Bounds {
    /// Retention removes nothing.
    pub const NONE: Self = Self { before: Timestamp(0), keep: u64::MAX };
}

/// What a step looks at next: the jobs there, each with the point right behind it, and the point behind all.
struct Stretch {
    jobs: Vec<(JobNo, SweepPoint)>,
    then: Option<SweepPoint>,
}

impl<T: Tables> Context<'_, T> {
    pub fn purge(&mut self, command: &Purge) -> Result<Reply, T::Fault> {
        let key = self.queue_key(&command.queue);
        self.sweep(&key, Bounds { before: command.finished_before, keep: command.keep }, command.limit)
            .map(Reply::Swept)
    }

    /// One step: looks at up to `limit` jobs and removes those that have to go.
    pub fn sweep(&mut self, key: &QueueKey, bounds: Bounds, limit: u32) -> Result<Swept, T::Fault> {
        let Some(queue) = self.queue(key)? else { return Ok(Swept::default()) };
        let deleting = queue.deleting;
        let bounds = if deleting { Bounds { before: Timestamp::MAX, ..bounds } } else { bounds };
        let start = if queue.wants_purge() {
            SweepPoint::Ready { rank: 0, job: JobNo(0) }
        } else {
            first_finished(StateKind::Completed)
        };
        let began_at = queue.sweep;
        let mut point = Some(began_at.unwrap_or(start));
        let (mut left, mut done) = (limit.min(MAX_STEP), 0u32);
        while left > 0
            && let Some(from) = point
        {
            let mut stretch = self.stretch(key, from, bounds, left)?;
            left = left.saturating_sub(u32::try_from(stretch.jobs.len()).unwrap_or(left));
            for at in 0..stretch.jobs.len() {
                let (no, behind) = stretch.jobs[at];
                let surplus = match behind {
                    SweepPoint::Finished { state, at: finished_at, .. } => {
                        let surplus = self.surplus(key, state, bounds.keep)? > 0;
                        if !surplus && finished_at >= bounds.before {
                            // Whatever follows finished later, and there are few enough left.
                            stretch.jobs.clear();
                            break;
                        }
                        surplus
                    }
                    _ => false,
                };
                done =
                    done.saturating_add(u32::from(self.sweep_job(no, deleting, bounds.before, surplus)?));
            }
            point = match stretch.jobs.last() {
                Some((_, behind)) if left == 0 => Some(*behind),
                _ => stretch.then,
            };
        }
        if point != began_at || point.is_none() {
            self.end_step(key, point, deleting)?;
        }
        Ok(Swept { done, more: point.is_some() })
    }

    /// Keeps how far the round has come; at its end, that it is over.
    fn end_step(
        &mut self,
        key: &QueueKey,
        point: Option<SweepPoint>,
        deleting: bool,
    ) -> Result<(), T::Fault> {
        let Some(queue) = self.queue(key)? else { return Ok(()) };
        if point.is_none() && deleting && queue.total() == 0 {
            return self.drop_queue(key);
        }
        if queue.sweep != point || (point.is_none() && queue.clearing) {
            let queue = self.queue_mut(key)?;
            queue.sweep = point;
            queue.clearing &= point.is_some();
        }
        Ok(())
    }

    /// How many jobs of a terminal state there are beyond those that stay.
    fn surplus(&mut self, key: &QueueKey, state: StateKind, keep: u64) -> Result<u64, T::Fault> {
        if keep == u64::MAX {
            return Ok(0);
        }
        Ok(self.queue(key)?.map_or(0, |queue| queue.count(state).saturating_sub(keep)))
    }

    fn sweep_job(
        &mut self,
        no: JobNo,
        deleting: bool,
        finished_before: Timestamp,
        surplus: bool,
    ) -> Result<bool, T::Fault> {
        let Some(open) = self.job(no)? else { return Ok(false) };
        let finished_at = open.job.state.finished_at();
        let old =
            finished_at.is_some_and(|at| surplus || at < finished_before) && !self.answers_for_key(&open.job);
        let gone = self.is_gone(&open.job)?;
        if gone || old {
            // That a finished job has had its time is no news, that a person removed it is.
            self.remove(open, gone || deleting)?;
        }
        Ok(gone || old)
    }

    /// True for a completed job that is still returned to whoever enqueues its unique key.
    fn answers_for_key(&self, job: &Job) -> bool {
        job.state.kind() == StateKind::Completed
            && job
                .options
                .unique
                .as_ref()
                .is_some_and(|unique| job.created_at.after(unique.period) > self.now)
    }

    fn stretch(
        &mut self,
        key: &QueueKey,
        from: SweepPoint,
        bounds: Bounds,
        left: u32,
    ) -> Result<Stretch, T::Fault> {
        let limit = usize::try_from(left).unwrap_or(usize::MAX);
        let after = |job: JobNo| JobNo(job.0.saturating_add(1));
        let prefix = key.bytes();
        match from {
            SweepPoint::Ready { rank, job } => {
                let from = ReadyKey { queue: key.clone(), rank, job };
                let rows = self.tables.scan::<Ready>(&prefix, Some(&from), limit)?;
                let jobs = rows
                    .into_iter()
                    .map(|(key, ())| (key.job, SweepPoint::Ready { rank: key.rank, job: after(key.job) }));
                Ok(Stretch { jobs: jobs.collect(), then: Some(SweepPoint::Waiting { job: JobNo(0) }) })
            }
            SweepPoint::Waiting { job } => {
                let from = QueueJobKey { queue: key.clone(), job };
                let rows = self.tables.scan::<Waiting>(&prefix, Some(&from), limit)?;
                let jobs =
                    rows.into_iter().map(|(key, ())| (key.job, SweepPoint::Waiting { job: after(key.job) }));
                Ok(Stretch { jobs: jobs.collect(), then: Some(first_finished(StateKind::Completed)) })
            }
            SweepPoint::Finished { state, at, job } => {
                let from = FinishedKey { queue: key.clone(), state, at, job };
                let rows = self.tables.scan::<Finished>(
                    &FinishedKey::state_prefix(key, state),
                    Some(&from),
                    limit,
                )?;
                let more = self.surplus(key, state, bounds.keep)? > 0;
                let rows = rows.into_iter().map(|(key, ())| key);
                let jobs = rows
                    .take_while(|key| more || key.at < bounds.before)
                    .map(|key| (key.job, SweepPoint::Finished { state, at: key.at, job: after(key.job) }));
                let next = StateKind::TERMINAL.iter().copied().find(|next| *next as u8 > state as u8);
                Ok(Stretch { jobs: jobs.collect(), then: next.map(first_finished) })
            }
        }
    }
}

const fn first_finished(state: StateKind) -> SweepPoint {
    SweepPoint::Finished { state, at: Timestamp(0), job: JobNo(0) }
}

#[cfg(test)]
mod tests;
