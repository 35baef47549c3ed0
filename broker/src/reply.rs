// SPDX-License-Identifier: Apache-2.0
//! What a command answers. Every reply is decided at one log index and the same on every node.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::body::Json;
use crate::id::JobId;
use crate::job::Job;
use crate::reject::Reject;
use crate::state::StateKind;
use crate::time::{Millis, Timestamp};

/// The answer to one command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// The rules say no; nothing was changed.
    Rejected(Reject),
    /// One per job of the enqueue, in order.
    Enqueued(Vec<Enqueued>),
    /// The jobs leased, maybe none.
    Fetched(Vec<LeasedJob>),
    /// One per item of a batched call, in order.
    Settled(Vec<Result<Settled, Reject>>),
    /// The job after a person's call; `None` once deleted.
    Job(Option<Arc<Job>>),
    /// The queue after a person's call.
    Queue,
    /// A bounded step of upkeep.
    Swept(Swept),
    /// The versions of the documents after the call, in order; 0 for a removed one.
    Docs(Vec<u64>),
}

/// What became of one enqueued job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enqueued {
    /// The job: new, or the one that holds the unique key.
    pub job: JobId,
    /// Its state.
    pub state: StateKind,
    /// True if the unique key was held and nothing new was enqueued.
    pub existing: bool,
}

/// A job as it goes to a worker: its row (with the lease inside) and its bodies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeasedJob {
    /// The row.
    pub job: Arc<Job>,
    /// The payload.
    pub payload: Json,
    /// The checkpoint of an earlier attempt.
    pub checkpoint: Option<Json>,
}

/// What became of one item of ack, fail, release or heartbeat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Settled {
    /// Completed.
    Acked,
    /// The attempt failed.
    Failed(FailedAs),
    /// Given back.
    Released,
    /// The lease goes on.
    Alive {
        /// Until when.
        lease_expires_at: Timestamp,
        /// How long a lease of this job lasts.
        length: Millis,
        /// True if the worker should stop: cancelling has been asked for.
        cancel: bool,
    },
}

/// What a failed attempt led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedAs {
    /// `retrying`, `pending` (retry at once), `dead` or `cancelled`.
    pub state: StateKind,
    /// When the next attempt is due.
    pub next_attempt_at: Option<Timestamp>,
    /// Attempts that are left.
    pub attempts_remaining: u32,
}

/// A bounded step of upkeep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Swept {
    /// Jobs or rows dealt with.
    pub done: u32,
    /// True if there is more to do at the same time.
    pub more: bool,
}
