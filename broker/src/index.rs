// SPDX-License-Identifier: Apache-2.0
//! Which index rows a job has: a pure function of the job.
//!
//! `apply` writes the difference between the rows of the job before and after, and the invariant checks
//! compare the tables with this function, so an index cannot drift from the jobs unnoticed.

use crate::id::QueueKey;
use crate::job::Job;
use crate::lease::LeaseRow;
use crate::state::State;
use crate::tables::schema::{DueKey, FinishedKey, Lane, LeaseKey, QueueJobKey, ReadyKey, Timer};
use crate::time::Timestamp;

/// The one index that says where a job stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Pending.
    Ready(ReadyKey),
    /// Scheduled or retrying.
    Waiting(QueueJobKey),
    /// Active.
    Leased(LeaseKey, LeaseRow),
    /// Completed, dead or cancelled.
    Finished(FinishedKey),
}

/// All index rows of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexRows {
    /// Where it stands.
    pub place: Place,
    /// Its timers: at most two at a time.
    pub timers: [Option<DueKey>; 2],
}

/// When a finished job goes by its own retention; not before it has stopped to answer for its unique key.
fn removal(job: &Job, finished_at: Timestamp) -> Option<Timestamp> {
    let at = finished_at.after(job.options.retention?);
    let held = job.options.unique.as_ref().filter(|_| matches!(job.state, State::Completed { .. }));
    Some(held.map_or(at, |unique| at.max(job.created_at.after(unique.period))))
}

/// The index rows that belong to a job.
#[must_use]
pub fn rows_of(job: &Job) -> IndexRows {
    let due = |timer: Timer, at: Timestamp| {
        let lane = if timer == Timer::Lease { Lane::Leases } else { Lane::Timers };
        DueKey { lane, at, timer, job: job.no }
    };
    let expire = job.expire_at.map(|at| due(Timer::Expire, at));
    let queue = || -> QueueKey { job.queue_key() };
    match &job.state {
        State::Pending => IndexRows {
            place: Place::Ready(ReadyKey::new(queue(), job.options.priority, job.no)),
            timers: [expire, None],
        },
        State::Scheduled { at } | State::Retrying { at } => IndexRows {
            place: Place::Waiting(QueueJobKey { queue: queue(), job: job.no }),
            timers: [Some(due(Timer::Ready, *at)), expire],
        },
        State::Active(lease) => IndexRows {
            place: Place::Leased(
                LeaseKey { namespace: job.namespace.clone(), worker: lease.worker.clone(), job: job.no },
                LeaseRow { granted_at: lease.granted_at, queue: job.queue.clone() },
            ),
            timers: [
                Some(due(Timer::Lease, lease.deadline)),
                job.options.timeout.map(|limit| due(Timer::Timeout, lease.granted_at.after(limit))),
            ],
        },
        State::Completed { at } | State::Dead { at, .. } | State::Cancelled { at, .. } => IndexRows {
            place: Place::Finished(FinishedKey {
                queue: queue(),
                state: job.state.kind(),
                at: *at,
                job: job.no,
            }),
            timers: [removal(job, *at).map(|at| due(Timer::Removal, at)), None],
        },
    }
}
