// SPDX-License-Identifier: Apache-2.0
//! Dispatch: carries the news of the log to whoever waits for it.
//!
//! ```text
//! state machine ──► Hearers ──► EventRing ──► Dispatch ──► subscriptions (streams, waits, /events)
//!                    │         (bounded)         └───────► scheduler's alarm, rates, metrics
//!                    └─► queue actors: "look again"
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
#[cfg(test)]
pub(crate) use tests::event;

use jobbie_broker::{Change, Event, JobNo, Name, QueueKey};

/// What a subscription is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Topic {
    /// Everything in a namespace.
    All(Name),
    /// A queue and its jobs.
    Queue(QueueKey),
    /// One job.
    Job(JobNo),
    /// The leases of one worker, once they are granted: cancelling and their ends.
    Worker {
        /// Its namespace.
        namespace: Name,
        /// Its id.
        worker: Name,
    },
}

/// The kinds of topics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    All,
    Queue,
    Job,
    Worker,
}

impl Kind {
    const EACH: [Self; 4] = [Self::All, Self::Queue, Self::Job, Self::Worker];
}

impl Topic {
    const fn kind(&self) -> Kind {
        match self {
            Self::All(_) => Kind::All,
            Self::Queue(_) => Kind::Queue,
            Self::Job(_) => Kind::Job,
            Self::Worker { .. } => Kind::Worker,
        }
    }

    /// The topic of a kind that an event belongs to.
    fn of(event: &Event, kind: Kind) -> Option<Self> {
        Some(match (kind, event) {
            (Kind::All, _) => Self::All(event.namespace().clone()),
            (Kind::Queue, _) => Self::Queue(QueueKey::new(event.namespace(), event.queue())),
            (Kind::Job, Event::Job(job)) => Self::Job(job.job.no),
            // Whoever follows leases has them from the claim itself; what counts is how they go on.
            (Kind::Worker, Event::Job(job))
                if !matches!(job.change, Change::Started | Change::Progressed) =>
            {
                let worker = job.worker.clone().filter(|worker| !worker.is_empty())?;
                Self::Worker { namespace: job.namespace.clone(), worker }
            }
            (Kind::Job | Kind::Worker, _) => return None,
        })
    }

    /// True if the event belongs to this topic.
    #[must_use]
    pub fn covers(&self, event: &Event) -> bool {
        Self::of(event, self.kind()).is_some_and(|topic| topic == *self)
    }
}
