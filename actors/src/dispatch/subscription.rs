// SPDX-License-Identifier: Apache-2.0
//! One reader of the news. It survives a restart of dispatch and its own slowness: whenever the channel
//! closes it subscribes again from the last event it saw.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::Topic;
use super::messages::Subscribe;
use super::ring::{EventId, EventRing, NumberedEvent};
use crate::ports::Caller;
use crate::supervise::Port;

/// How long to wait before asking a dispatcher again that is restarting; it takes 2–10 ms.
const AGAIN: Duration = Duration::from_millis(10);

/// What a subscription yields.
#[derive(Clone, Debug)]
pub enum News {
    /// Something happened.
    Event(Arc<NumberedEvent>),
    /// Events were lost: read the state afresh, then go on.
    Resync,
}

/// A reader of some topics.
pub struct Subscription {
    port: Port<Subscribe>,
    topics: Arc<[Topic]>,
    last: EventId,
    live: Option<mpsc::Receiver<Arc<NumberedEvent>>>,
    /// Whose business the news must be; `None` for everybody's.
    caller: Option<Caller>,
}

impl Subscription {
    /// Begins after `from`, or with the next event there is.
    pub(crate) fn new(
        port: Port<Subscribe>,
        ring: Arc<EventRing>,
        topics: Vec<Topic>,
        from: Option<EventId>,
    ) -> Self {
        Self {
            port,
            topics: topics.into(),
            last: from.unwrap_or_else(|| ring.last()),
            live: None,
            caller: None,
        }
    }

    /// Only what a caller may know of.
    pub(crate) fn heard_by(mut self, caller: Caller) -> Self {
        self.caller = Some(caller);
        self
    }

    /// The next piece of news; waits for it as long as it takes. Dropping the future loses nothing.
    pub async fn next(&mut self) -> News {
        loop {
            if let Some(events) = &mut self.live {
                if let Some(event) = events.recv().await {
                    self.last = event.id;
                    if self.caller.as_ref().is_some_and(|caller| !caller.hears(&event.event)) {
                        continue;
                    }
                    return News::Event(event);
                }
                self.live = None;
            }
            let request = Subscribe { topics: self.topics.clone(), after: self.last };
            match self.port.ask(request).await {
                Ok(subscribed) => {
                    self.live = Some(subscribed.events);
                    if let Some(lost_up_to) = subscribed.lost_up_to {
                        self.last = lost_up_to;
                        return News::Resync;
                    }
                }
                Err(_) => tokio::time::sleep(AGAIN).await,
            }
        }
    }

    /// The next event, if it is here already.
    pub fn try_next(&mut self) -> Option<News> {
        let event = self.live.as_mut()?.try_recv().ok()?;
        self.last = event.id;
        Some(News::Event(event))
    }

    /// The id of the last event it yielded, or where it began.
    #[must_use]
    pub const fn last(&self) -> EventId {
        self.last
    }
}
