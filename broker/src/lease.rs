// SPDX-License-Identifier: Apache-2.0
//! A lease: a worker's time-limited claim on a job. One attempt, one lease, one token.

use serde::{Deserialize, Serialize};

use crate::command::LeaseRef;
use crate::id::{LeaseToken, Name};
use crate::time::{Millis, Timestamp};

/// The default length of a lease.
pub const DEFAULT_LENGTH: Millis = Millis::from_secs(60);
/// The shortest lease a worker may ask for: below this, one slow round trip loses it.
pub const MIN_LENGTH: Millis = Millis::from_secs(1);
/// The longest lease a worker may ask for; a longer run extends it by heartbeat.
pub const MAX_LENGTH: Millis = Millis::from_secs(24 * 3600);

/// Who runs a job, since when and until when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// What the worker must show.
    pub token: LeaseToken,
    /// The worker's id; empty if it gave none.
    pub worker: Name,
    /// The worker's host; empty if it gave none.
    pub hostname: Name,
    /// When the lease was granted.
    pub granted_at: Timestamp,
    /// How long it lasts from a grant or a heartbeat on.
    pub length: Millis,
    /// When it ends unless extended.
    pub deadline: Timestamp,
    /// For a lease granted to a stream: how many jobs of that stream run at once. Of a vanished stream's
    /// leases only the oldest that many count as crashed, the rest had not begun and are released.
    pub stream_concurrency: Option<u32>,
}

impl Lease {
    /// True if a worker that shows `claim` speaks for this lease: with a token, the token decides; without
    /// one the worker must be the same if it is named.
    #[must_use]
    pub fn answers_to(&self, claim: &LeaseRef) -> bool {
        match &claim.token {
            Some(token) => *token == self.token,
            None => claim.worker.as_ref().is_none_or(|worker| *worker == self.worker),
        }
    }

    /// When the lease ends if the present leader has led since `term_started`: what an older leader
    /// extended only in memory is given back in full.
    #[must_use]
    pub fn ends_at(&self, term_started: Timestamp) -> Timestamp {
        self.deadline.max(term_started.after(self.length))
    }
}

/// The row of a lease in the table of leases.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseRow {
    /// When it was granted.
    pub granted_at: Timestamp,
    /// The job's queue.
    pub queue: Name,
}
