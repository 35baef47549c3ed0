// SPDX-License-Identifier: Apache-2.0
//! News: what happened to jobs and queues, in the order of the log.
//!
//! An event is numbered by the log index of its entry and its position in it; streams resume by that pair.

use serde::{Deserialize, Serialize};

use crate::id::{JobId, LeaseToken, Name};
use crate::state::{Reason, StateKind};
use crate::time::Timestamp;

/// What happened to a job. The variants are part of the format of timelines: append only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Change {
    /// Accepted.
    Enqueued,
    /// Its time has come.
    Promoted,
    /// Handed to a worker.
    Started,
    /// The worker told how far it has come.
    Progressed,
    /// Acknowledged.
    Completed,
    /// An attempt failed, another follows.
    Failed,
    /// The worker was told to slow down; no attempt was spent.
    RateLimited,
    /// An attempt ran too long.
    TimedOut,
    /// Given back without spending an attempt.
    Released,
    /// The lease ran out.
    Crashed,
    /// Given up.
    Died,
    /// Cancelling has been asked for, the worker is being told.
    CancelRequested,
    /// Called off.
    Cancelled,
    /// Sent back to its queue by a person.
    Retried,
    /// Put into another queue.
    Moved,
    /// Changed by a person.
    Updated,
    /// Removed.
    Deleted,
}

impl Change {
    /// Every change, for documentation and checks.
    pub const ALL: [Self; 17] = [
        Self::Enqueued,
        Self::Promoted,
        Self::Started,
        Self::Progressed,
        Self::Completed,
        Self::Failed,
        Self::RateLimited,
        Self::TimedOut,
        Self::Released,
        Self::Crashed,
        Self::Died,
        Self::CancelRequested,
        Self::Cancelled,
        Self::Retried,
        Self::Moved,
        Self::Updated,
        Self::Deleted,
    ];

    /// The event's type on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Enqueued => "job.enqueued",
            Self::Promoted => "job.promoted",
            Self::Started => "job.started",
            Self::Progressed => "job.progress",
            Self::Completed => "job.completed",
            Self::Failed => "job.failed",
            Self::RateLimited => "job.rate_limited",
            Self::TimedOut => "job.timed_out",
            Self::Released => "job.released",
            Self::Crashed => "job.crashed",
            Self::Died => "job.dead",
            Self::CancelRequested => "job.cancel_requested",
            Self::Cancelled => "job.cancelled",
            Self::Retried => "job.retried",
            Self::Moved => "job.moved",
            Self::Updated => "job.updated",
            Self::Deleted => "job.deleted",
        }
    }
}

/// Something happened to a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobEvent {
    /// What.
    pub change: Change,
    /// To which job.
    pub job: JobId,
    /// When.
    pub at: Timestamp,
    /// Its namespace.
    pub namespace: Name,
    /// Its queue after the change.
    pub queue: Name,
    /// Its state before; `None` for a new job.
    pub from: Option<StateKind>,
    /// Its state after; for a deleted job the last one.
    pub state: StateKind,
    /// The number of the attempt.
    pub attempt: u32,
    /// The worker that holds or held the lease in question.
    pub worker: Option<Name>,
    /// The lease that began, goes on or ended with this.
    pub token: Option<LeaseToken>,
    /// When the job is due, for a scheduled or retrying one.
    pub due_at: Option<Timestamp>,
    /// Why it is dead or cancelled.
    pub reason: Option<Reason>,
    /// How long it had been waiting (started) or running (end of an attempt), in milliseconds.
    pub took_ms: Option<u64>,
}

/// Something about a queue was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum QueueNews {
    /// Named for the first time.
    Created,
    /// Hands out nothing.
    Paused,
    /// Works normally again.
    Resumed,
    /// Refuses enqueues.
    Draining,
    /// Its limits were set.
    Limited,
    /// Its waiting jobs are being removed.
    Cleared,
    /// It is being removed.
    Deleting,
    /// It is gone.
    Deleted,
}

impl QueueNews {
    /// The event's type on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Created => "queue.created",
            Self::Paused => "queue.paused",
            Self::Resumed => "queue.resumed",
            Self::Draining => "queue.draining",
            Self::Limited => "queue.limited",
            Self::Cleared => "queue.cleared",
            Self::Deleting => "queue.deleting",
            Self::Deleted => "queue.deleted",
        }
    }
}

/// Something happened to a queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueEvent {
    /// What.
    pub news: QueueNews,
    /// When.
    pub at: Timestamp,
    /// Its namespace.
    pub namespace: Name,
    /// Its name.
    pub queue: Name,
}

/// One piece of news.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// About a job.
    Job(JobEvent),
    /// About a queue.
    Queue(QueueEvent),
}

impl Event {
    /// The event's type on the wire.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Job(event) => event.change.name(),
            Self::Queue(event) => event.news.name(),
        }
    }

    /// The namespace it happened in.
    #[must_use]
    pub const fn namespace(&self) -> &Name {
        match self {
            Self::Job(event) => &event.namespace,
            Self::Queue(event) => &event.namespace,
        }
    }

    /// The queue it happened in.
    #[must_use]
    pub const fn queue(&self) -> &Name {
        match self {
            Self::Job(event) => &event.queue,
            Self::Queue(event) => &event.queue,
        }
    }
}
