// SPDX-License-Identifier: Apache-2.0
//! Who calls. Every port that tells or changes something about jobs and queues takes a [`Caller`]: what is
//! outside of their namespace and their queues is not there.

use jobbie_broker::{Event, Name, Reject, Scope};

use super::{Lane, PortError};

/// Who calls, in which namespace, and which queues they may touch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The principal: a key's id, `anonymous` when there are no keys, `broker` for upkeep.
    pub by: Name,
    /// The namespace.
    pub namespace: Name,
    /// The queues in it.
    pub scope: Scope,
    /// Whose turn its commands take when more is waiting than fits into one entry.
    pub lane: Lane,
}

impl Caller {
    /// The broker itself, which tends to its own state.
    #[must_use]
    pub fn broker() -> Self {
        let namespace = jobbie_broker::id::DEFAULT_NAMESPACE.into();
        Self { by: "broker".into(), namespace, scope: Scope::ALL, lane: Lane::BROKER }
    }

    /// Whether the caller may touch a queue that it names.
    ///
    /// # Errors
    /// [`PortError::Outside`], whether the queue exists or not.
    pub fn may_touch(&self, queue: &Name) -> Result<(), PortError> {
        if self.scope.allows(queue) { Ok(()) } else { Err(PortError::Outside(Reject::outside(queue))) }
    }

    /// True if the caller may know of an event.
    #[must_use]
    pub fn hears(&self, event: &Event) -> bool {
        *event.namespace() == self.namespace && self.scope.allows(event.queue())
    }
}
