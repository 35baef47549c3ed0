// SPDX-License-Identifier: Apache-2.0
//! What dispatch may be asked.

use std::sync::Arc;

use actix::Message;
use tokio::sync::mpsc;

use super::Topic;
use super::ring::{EventId, NumberedEvent};

/// Send me the news of these topics.
#[derive(Message)]
#[rtype(result = "Subscribed")]
pub struct Subscribe {
    /// Any of them.
    pub topics: Arc<[Topic]>,
    /// Only what comes after this event.
    pub after: EventId,
}

/// What a subscriber gets. The channel closes when it was full or dispatch restarts; whoever wants more
/// subscribes again with the id of the last event that came.
pub struct Subscribed {
    /// The events.
    pub events: mpsc::Receiver<Arc<NumberedEvent>>,
    /// Set if events after the one named are lost: everything up to this id must be read afresh.
    pub lost_up_to: Option<EventId>,
}
