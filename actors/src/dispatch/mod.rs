// SPDX-License-Identifier: Apache-2.0
//! Dispatch: carries the news of the log to whoever waits for it.
//!
//! ```text
//! state machine ──► EventRing ──► Dispatch ──► subscriptions (streams, waits, /events)
//!   (append)        (bounded)        │  └────► queue actors: "look again"
//!                                    └───────► scheduler's alarm, rates, metrics
//! ```
//!
//! The ring is written by the task that applies entries and outlives the actor; the actor reads it at its
//! own pace. Nobody who reads slowly holds anything up: a subscription that is full is closed, and its
//! reader comes back to the ring with the id of the last event it saw.

mod actor;
pub mod messages;
pub mod rates;
pub mod ring;
pub mod subscription;
#[cfg(test)]
mod tests;

pub use actor::{Dispatch, DispatchParts};

use jobbie_broker::{Event, JobNo, Name, QueueKey};

/// What a subscription is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Topic {
    /// Everything in a namespace.
    All(Name),
    /// A queue and its jobs.
    Queue(QueueKey),
    /// One job.
    Job(JobNo),
    /// The leases of one worker.
    Worker {
        /// Its namespace.
        namespace: Name,
        /// Its id.
        worker: Name,
    },
}

impl Topic {
    /// The topics that an event belongs to.
    fn of(event: &Event) -> impl Iterator<Item = Self> {
        let all = Self::All(event.namespace().clone());
        let queue = Self::Queue(QueueKey::new(event.namespace(), event.queue()));
        let (job, worker) = match event {
            Event::Queue(_) => (None, None),
            Event::Job(job) => (
                Some(Self::Job(job.job.no)),
                job.worker
                    .as_ref()
                    .filter(|worker| !worker.is_empty())
                    .map(|worker| Self::Worker { namespace: job.namespace.clone(), worker: worker.clone() }),
            ),
        };
        [Some(all), Some(queue), job, worker].into_iter().flatten()
    }

    /// True if the event belongs to this topic.
    #[must_use]
    pub fn covers(&self, event: &Event) -> bool {
        Self::of(event).any(|topic| topic == *self)
    }
}
