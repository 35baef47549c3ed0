// SPDX-License-Identifier: Apache-2.0
//! What the rules say no to. A reject is an answer: the same on every node, with nothing changed.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::{JobRef, Name};
use crate::state::StateKind;

/// The stable code of a reject; each has a page in `docs/errors/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Code {
    /// There is no such job or queue.
    NotFound,
    /// It is in the wrong state for that, or the key was used for something else.
    Conflict,
    /// The queue accepts nothing new.
    QueueDraining,
    /// The token is not that of the current lease.
    LeaseLost,
    /// The caller may not touch that queue.
    Forbidden,
}

impl Code {
    /// The code on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotFound => "NOT_FOUND",
            Self::Conflict => "CONFLICT",
            Self::QueueDraining => "QUEUE_DRAINING",
            Self::LeaseLost => "LEASE_LOST",
            Self::Forbidden => "FORBIDDEN",
        }
    }
}

/// A refusal with its reason for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reject {
    /// For programs.
    pub code: Code,
    /// For people: lower case, no full stop.
    pub message: String,
}

impl fmt::Display for Reject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Reject {
    fn new(code: Code, message: String) -> Self {
        Self { code, message }
    }

    /// No job of that id in the namespace.
    #[must_use]
    pub fn no_such_job(job: &JobRef) -> Self {
        Self::new(Code::NotFound, format!("there is no job {job}"))
    }

    /// No queue of that name in the namespace.
    #[must_use]
    pub fn no_such_queue(queue: &Name) -> Self {
        Self::new(Code::NotFound, format!("there is no queue {queue}"))
    }

    /// The caller does not hold the job's current lease.
    #[must_use]
    pub fn lease_lost(job: &JobRef, state: StateKind) -> Self {
        let message = format!("the lease of job {job} is not yours any more; the job is {}", state.name());
        Self::new(Code::LeaseLost, message)
    }

    /// The job is not in a state that allows this.
    #[must_use]
    pub fn wrong_state(job: &JobRef, state: StateKind, action: &str, allowed: &str) -> Self {
        let message = format!("job {job} is {}; {action} needs a job that is {allowed}", state.name());
        Self::new(Code::Conflict, message)
    }

    /// The key or id was used before with other content.
    #[must_use]
    pub fn key_reused(what: &str, key: &Name) -> Self {
        Self::new(Code::Conflict, format!("the {what} {key} was used before with a different request"))
    }

    /// The unique key belongs to another live job.
    #[must_use]
    pub fn unique_held(key: &Name, holder: &impl fmt::Display) -> Self {
        Self::new(Code::Conflict, format!("the unique key {key} is held by job {holder}"))
    }

    /// The unique key belongs to another live job, of which the caller may not know more.
    #[must_use]
    pub fn unique_held_elsewhere(key: &Name) -> Self {
        Self::new(
            Code::Conflict,
            format!("the unique key {key} is held by a job outside of the caller's queues"),
        )
    }

    /// The caller may not touch that queue, whether it exists or not.
    #[must_use]
    pub fn outside(queue: &Name) -> Self {
        Self::new(Code::Forbidden, format!("queue {queue} is outside of the queues of this key"))
    }

    /// A document is not what the caller has seen.
    #[must_use]
    pub fn document_changed(space: &Name, key: &Name) -> Self {
        Self::new(Code::Conflict, format!("document {space}/{key} has changed since it was read"))
    }

    /// The queue drains.
    #[must_use]
    pub fn draining(queue: &Name) -> Self {
        Self::new(Code::QueueDraining, format!("queue {queue} is draining and accepts no new jobs"))
    }

    /// The queue is being deleted.
    #[must_use]
    pub fn deleting(queue: &Name) -> Self {
        Self::new(Code::Conflict, format!("queue {queue} is being deleted; repeat when it is gone"))
    }

    /// The queue still has active jobs.
    #[must_use]
    pub fn still_active(queue: &Name, active: u64) -> Self {
        let message = format!("queue {queue} has {active} active jobs; drain it or cancel them first");
        Self::new(Code::Conflict, message)
    }
}
