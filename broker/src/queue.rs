// SPDX-License-Identifier: Apache-2.0
//! A queue's row: its settings, its counters, and the one question whether it may hand out a job now.

use serde::{Deserialize, Serialize};

use crate::id::JobNo;
use crate::state::StateKind;
use crate::throttle::{Arrival, Throttle};
use crate::time::Timestamp;

/// Everything about a queue but its jobs. Counters move in the same commit as the jobs they count.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queue {
    /// When the queue was first named.
    pub created_at: Timestamp,
    /// Since when it is paused: nothing is handed out, everything else goes on.
    pub paused_at: Option<Timestamp>,
    /// Since when it drains: enqueues from outside are refused, what is in it finishes.
    pub draining_at: Option<Timestamp>,
    /// At most that many active jobs.
    pub concurrency: Option<u32>,
    /// At most that many starts per period.
    pub throttle: Option<Throttle>,
    /// State of the throttle.
    pub arrival: Arrival,
    /// Jobs by state, indexed by the number of [`StateKind`].
    pub counts: [u64; 9],
    /// What has happened since the queue was created.
    pub totals: Totals,
    /// Jobs that began to wait before this number are cleared: invisible at once, removed in bounded steps.
    pub clear_below: JobNo,
    /// The queue is being deleted: it accepts nothing, its jobs are removed in bounded steps, then it.
    pub deleting: bool,
    /// Cleared jobs may still have rows; `Purge` removes them.
    pub clearing: bool,
    /// How far the present round of `Purge` has come; `None` between rounds.
    pub sweep: Option<SweepPoint>,
}

/// Where the next step of `Purge` goes on looking, so that no step looks twice at what an earlier one left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SweepPoint {
    /// Among the pending jobs.
    Ready {
        /// 255 − priority.
        rank: u8,
        /// The first job to look at.
        job: JobNo,
    },
    /// Among the scheduled and retrying jobs.
    Waiting {
        /// The first job to look at.
        job: JobNo,
    },
    /// Among the finished jobs.
    Finished {
        /// Which of the terminal states.
        state: StateKind,
        /// When the first job to look at finished.
        at: Timestamp,
        /// The first job to look at.
        job: JobNo,
    },
}

/// Monotonic totals of a queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Jobs accepted.
    pub enqueued: u64,
    /// Leases granted.
    pub fetched: u64,
    /// Jobs acknowledged.
    pub completed: u64,
    /// Attempts failed, by the worker's word or by timeout.
    pub failed: u64,
    /// Leases lost.
    pub crashed: u64,
    /// Jobs given up.
    pub dead: u64,
    /// Jobs called off.
    pub cancelled: u64,
}

/// Why a queue hands out nothing at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blocked {
    /// It is being deleted.
    Deleting,
    /// Somebody paused it.
    Paused,
    /// As many jobs are active as `concurrency` allows.
    Concurrency(u32),
    /// The throttle opens again at that time.
    Throttled(Timestamp),
}

impl Queue {
    /// Jobs in a state.
    #[must_use]
    pub fn count(&self, kind: StateKind) -> u64 {
        self.counts[kind as usize]
    }

    /// Jobs in any state.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// True if a job that began to wait at `entered` has been cleared or goes down with the queue.
    #[must_use]
    pub fn has_cleared(&self, entered: JobNo) -> bool {
        self.deleting || entered < self.clear_below
    }

    /// True if `Purge` has something to do here beside retention.
    #[must_use]
    pub const fn wants_purge(&self) -> bool {
        self.deleting || self.clearing
    }

    /// The throttle's state after one more start at `now`, or what stands in the way. Fetch asks this for
    /// every job it grants; whoever decides whether to wake a waiting worker asks the same function.
    ///
    /// # Errors
    /// The first obstacle found.
    pub fn admit(&self, now: Timestamp) -> Result<Arrival, Blocked> {
        if self.deleting {
            return Err(Blocked::Deleting);
        }
        if self.paused_at.is_some() {
            return Err(Blocked::Paused);
        }
        if let Some(limit) = self.concurrency
            && self.count(StateKind::Active) >= u64::from(limit)
        {
            return Err(Blocked::Concurrency(limit));
        }
        match self.throttle {
            None => Ok(self.arrival),
            Some(throttle) => throttle.admit(self.arrival, now).map_err(Blocked::Throttled),
        }
    }
}
