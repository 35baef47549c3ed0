// SPDX-License-Identifier: Apache-2.0
//! What the scheduler may be told.

use actix::Message;
use jobbie_broker::job::Progress;
use jobbie_broker::{JobNo, LeaseToken, Millis, Timestamp};

/// Bare signs of life of leases that the caller has checked. The answer is `None` if this node does not lead,
/// or has not yet applied that it does: nothing is promised then.
#[derive(Message)]
#[rtype(result = "Option<Vec<Heard>>")]
pub struct Beat {
    /// The leases.
    pub items: Vec<BeatItem>,
}

/// One sign of life.
pub struct BeatItem {
    /// The job.
    pub job: JobNo,
    /// The token of its present lease.
    pub token: LeaseToken,
    /// How long the lease lasts from a sign of life on.
    pub length: Millis,
    /// How far the attempt has come.
    pub progress: Option<Progress>,
}

/// What became of a sign of life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// The lease lasts until then.
    Until(Timestamp),
    /// Too late: the end of the lease has been proposed.
    Late,
}
