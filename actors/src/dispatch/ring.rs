// SPDX-License-Identifier: Apache-2.0
//! The latest events, numbered, in a ring of bounded size: what streams resume from.
//!
//! Written by the task that applies entries (`append` takes one uncontended lock and never waits), read by
//! dispatch and by those who resume. It outlives every actor, so a restarted dispatcher goes on where the
//! old one was.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jobbie_broker::Event;
use jobbie_store::{AppliedEntry, ApplySink};
use tokio::sync::Notify;

/// Events kept: a reader who is away for a second at 60,000 events a second misses none. About 20 MB full.
pub const CAPACITY: usize = 65_536;

/// The number of an event: the log index of its entry and its position in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId {
    /// The log index of the entry.
    pub index: u64,
    /// Counted from 0 within the entry.
    pub position: u32,
}

impl EventId {
    /// Reads an id as it is displayed; `None` if it is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (index, position) = text.split_once('.')?;
        Some(Self { index: index.parse().ok()?, position: position.parse().ok()? })
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.index, self.position)
    }
}

/// An event with its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NumberedEvent {
    /// Its number.
    pub id: EventId,
    /// What happened.
    pub event: Event,
}

/// A part of the ring.
#[derive(Debug, Default)]
pub struct Slice {
    /// The events, in order.
    pub events: Vec<Arc<NumberedEvent>>,
    /// True if events between the id asked for and the first one here have left the ring.
    pub lost: bool,
}

/// The ring.
pub struct EventRing {
    capacity: usize,
    ring: Mutex<Ring>,
    news: Notify,
    routed: Notify,
}

#[derive(Default)]
struct Ring {
    events: VecDeque<Arc<NumberedEvent>>,
    /// Everything up to this id has left the ring, or happened before this process started.
    floor: EventId,
    /// Everything up to this id has been dispatched.
    dispatched: EventId,
}

impl Ring {
    fn last(&self) -> EventId {
        self.events.back().map_or(self.floor, |event| event.id)
    }
}

impl Default for EventRing {
    fn default() -> Self {
        Self::new(CAPACITY)
    }
}

impl EventRing {
    /// An empty ring for that many events.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self { capacity: capacity.max(1), ring: Mutex::default(), news: Notify::new(), routed: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Ring> {
        // Safe because no method leaves the ring half changed: a panic elsewhere spoils nothing.
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that what happened up to this log index is not in the ring: called once, at start, before any
    /// entry is applied.
    pub fn start_after(&self, index: u64) {
        let mut ring = self.lock();
        ring.floor = EventId { index, position: u32::MAX };
        ring.dispatched = ring.floor;
    }

    /// The id of the latest event.
    #[must_use]
    pub fn last(&self) -> EventId {
        self.lock().last()
    }

    /// Up to `limit` events that come after `id`.
    #[must_use]
    pub fn after(&self, id: EventId, limit: usize) -> Slice {
        let ring = self.lock();
        let from = ring.events.partition_point(|event| event.id <= id);
        Slice { events: ring.events.range(from..).take(limit).cloned().collect(), lost: id < ring.floor }
    }

    /// Up to `limit` of the wanted events that come after `id`, up to `until`. An id that has never been
    /// given out counts as lost: it is from another history.
    #[must_use]
    pub fn between(
        &self,
        id: EventId,
        until: EventId,
        limit: usize,
        wanted: impl Fn(&Event) -> bool,
    ) -> Slice {
        let ring = self.lock();
        let from = ring.events.partition_point(|event| event.id <= id);
        let events = ring.events.range(from..).take_while(|event| event.id <= until);
        Slice {
            events: events.filter(|event| wanted(&event.event)).take(limit).cloned().collect(),
            lost: id < ring.floor || id > ring.last(),
        }
    }

    /// Up to where events have been dispatched.
    #[must_use]
    pub fn dispatched(&self) -> EventId {
        self.lock().dispatched
    }

    /// Notes that events up to `id` have been dispatched. A dispatcher that was replaced because it hung, and
    /// comes back, takes nothing back.
    pub fn set_dispatched(&self, id: EventId) {
        {
            let mut ring = self.lock();
            ring.dispatched = ring.dispatched.max(id);
        }
        self.routed.notify_waiters();
    }

    /// Waits until everything that has happened by now is dispatched: counted, for one.
    pub async fn caught_up(&self) {
        let until = self.last();
        loop {
            let mut routed = std::pin::pin!(self.routed.notified());
            // Before the look, so that what is routed in between is not missed.
            routed.as_mut().enable();
            if self.dispatched() >= until {
                return;
            }
            routed.await;
        }
    }

    /// Waits until there are events that have not been dispatched. One caller at a time.
    pub async fn undispatched(&self) {
        loop {
            if self.last() > self.dispatched() {
                return;
            }
            self.news.notified().await;
        }
    }
}

impl ApplySink for EventRing {
    fn applied(&self, entries: Vec<AppliedEntry>) {
        let mut grown = false;
        {
            let mut ring = self.lock();
            for entry in entries {
                for (position, event) in entry.events.into_iter().enumerate() {
                    if ring.events.len() >= self.capacity
                        && let Some(oldest) = ring.events.pop_front()
                    {
                        ring.floor = oldest.id;
                    }
                    let position = u32::try_from(position).unwrap_or(u32::MAX);
                    let id = EventId { index: entry.index, position };
                    ring.events.push_back(Arc::new(NumberedEvent { id, event }));
                    grown = true;
                }
            }
        }
        if grown {
            self.news.notify_one();
        }
    }
}
