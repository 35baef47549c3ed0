// SPDX-License-Identifier: Apache-2.0
//! The job stream: delivery by push, with credit.
//!
//! ```text
//! credit = prefetch − jobs out        fetch(count = credit) ──► out ──► ended (ack, fail, …) ──► credit
//! ```
//!
//! - `S1` at most `prefetch` jobs of a stream are out: delivered or about to be, and not ended.
//! - `S2` the oldest `concurrency` of them are the worker's to keep alive by heartbeat; the rest wait in its
//!   buffer, and the stream keeps their leases alive while it is open.
//! - `S3` a stream of the same worker that opens later takes over: the earlier one ends, its leases go on.
//! - `S4` jobs that were claimed and not yet delivered when a stream closes are given back at once.

mod job_stream;
mod out;
mod registry;

pub use job_stream::JobStream;
pub(crate) use registry::{Seat, Streams};

use jobbie_broker::reply::LeasedJob;
use jobbie_broker::{JobId, Millis, Name};

/// What a worker asks of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamRequest {
    /// Names of queues, in the order in which they are asked.
    pub queues: Vec<Name>,
    /// The worker's id. Empty: it cannot come back for its leases.
    pub worker: Name,
    /// The worker's host; may be empty.
    pub hostname: Name,
    /// At most that many jobs out; at least 1.
    pub prefetch: u32,
    /// How many of them the worker runs at once; at least 1.
    pub concurrency: u32,
    /// How long a lease lasts without a sign of life.
    pub lease: Millis,
}

/// What a stream yields.
#[derive(Clone, Debug)]
pub enum StreamNews {
    /// A job to run.
    Job {
        /// The log index at which it was claimed; for an adopted one, of now.
        index: u64,
        /// The job with its lease.
        leased: Box<LeasedJob>,
        /// True if an earlier stream of this worker had it already.
        adopted: bool,
    },
    /// Stop running this job: cancelling has been asked for.
    Cancel(JobId),
    /// The lease of this job is lost: its outcome will be refused.
    LeaseLost(JobId),
    /// The server is about to stop, or another stream of this worker has taken over: finish what is out and
    /// connect again. Nothing follows.
    Drain,
}
