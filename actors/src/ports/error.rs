// SPDX-License-Identifier: Apache-2.0
//! Why a port did not answer. A *no* of the rules is not here: that is a reply.

use std::time::Duration;

use jobbie_broker::Reject;

/// What kept a port from answering.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PortError {
    /// More is waiting than fits. Nothing was written.
    #[error("too much is waiting; try again in {}", seconds(retry_after))]
    Overloaded {
        /// When to try again.
        retry_after: Duration,
    },
    /// What is behind the port is starting, restarting or stopping. Nothing was written.
    #[error("{what} is not available at the moment; try again in {}", seconds(retry_after))]
    Unavailable {
        /// What.
        what: &'static str,
        /// When to try again.
        retry_after: Duration,
    },
    /// This node does not lead and knows nobody who does. Nothing was written.
    #[error("there is no leader at the moment; try again in a second")]
    NoLeader,
    /// The write may have happened. A repeat with the same id or key cannot do it twice.
    #[error("it is not known whether this was written; repeat it with the same id")]
    Unknown,
    /// The caller may not touch a queue that it named. Nothing was written.
    #[error("{0}")]
    Outside(Reject),
    /// The disk is nearly full, and the call would have added jobs. Nothing was written.
    #[error(
        "the disk has {} left, of which {} are kept for finishing what is there: new jobs are refused until there \
         is more room; ack, fail, release and delete still pass", mebibytes(*free), mebibytes(*reserve)
    )]
    StorageFull {
        /// Bytes that are left.
        free: u64,
        /// Bytes that are kept.
        reserve: u64,
    },
    /// The machine failed while reading.
    #[error("reading the state failed: {0}")]
    Fault(String),
}

fn seconds(span: &Duration) -> String {
    format!("{} s", span.as_secs().max(1))
}

fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

impl PortError {
    /// What is behind the port restarts or stops.
    #[must_use]
    pub const fn unavailable(what: &'static str) -> Self {
        Self::Unavailable { what, retry_after: Duration::from_secs(1) }
    }

    /// More is waiting than fits.
    #[must_use]
    pub const fn overloaded() -> Self {
        Self::Overloaded { retry_after: Duration::from_secs(1) }
    }
}

impl PortError {
    /// What an actor's port says, in the words of the doors.
    pub(crate) fn from_port(error: &crate::supervise::PortError, what: &'static str) -> Self {
        match error {
            crate::supervise::PortError::Overloaded => Self::overloaded(),
            // What is asked of actors can be asked again, so a lost answer is a reason to do so.
            crate::supervise::PortError::Unavailable | crate::supervise::PortError::Lost => {
                Self::unavailable(what)
            }
        }
    }
}
