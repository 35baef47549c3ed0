// SPDX-License-Identifier: Apache-2.0
//! The dispatch actor.
//!
//! It caches who subscribed to what. It wakes up for events in the ring. When it dies, subscriptions close
//! and come back by themselves, and the next dispatcher goes on where this one was: nothing is lost.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use actix::{Actor, AsyncContext, Context, Handler, MessageResult, StreamHandler};
use futures_util::stream;
use jobbie_broker::{Event, Timestamp};
use tokio::sync::mpsc;

use super::messages::{Subscribe, Subscribed};
use super::rates::Rates;
use super::ring::{EventId, EventRing, NumberedEvent};
use super::{Kind, Topic};
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::scheduler::Alarm;
use crate::supervise::Epoch;

/// Events a subscriber may be behind before it is sent back to the ring.
const BEHIND: usize = 1024;
/// Events routed before other messages get their turn.
const TURN: usize = 1024;
/// How long events gather when nobody has subscribed: counters and timers are all that wait for them then, and
/// a thread that is woken for each entry costs as much as the rest of it.
const GATHER: Duration = Duration::from_millis(5);

/// What dispatch works with; shared with others, survives its restarts.
#[derive(Clone)]
pub struct DispatchParts {
    /// Where events come from.
    pub ring: Arc<EventRing>,
    /// Told when something may be due earlier than it thinks.
    pub alarm: Arc<Alarm>,
    /// Counts per queue.
    pub rates: Arc<Rates>,
    /// Counts for Prometheus.
    pub metrics: Arc<Metrics>,
    /// The time now.
    pub clock: Clock,
    /// The last log index that an earlier process knew. After a crash the end of what it had applied is applied
    /// again, and must not be counted twice.
    pub known: u64,
}

/// The dispatch actor.
pub struct Dispatch {
    epoch: Epoch,
    parts: DispatchParts,
    cursor: EventId,
    subscribers: HashMap<u64, Subscriber>,
    by_topic: HashMap<Topic, Vec<u64>>,
    /// How many topics of each kind somebody has subscribed to.
    of_kind: [usize; Kind::EACH.len()],
    next_subscriber: u64,
    /// Whether somebody waits for events, so that they go out at once.
    watched: Arc<AtomicBool>,
}

struct Subscriber {
    topics: Arc<[Topic]>,
    events: mpsc::Sender<Arc<NumberedEvent>>,
    last: EventId,
}

/// There are events that have not been dispatched.
struct Undispatched;

impl Dispatch {
    /// A dispatcher that goes on where the last one was.
    #[must_use]
    pub fn new(epoch: Epoch, parts: DispatchParts) -> Self {
        let cursor = parts.ring.dispatched();
        Self {
            epoch,
            parts,
            cursor,
            subscribers: HashMap::new(),
            by_topic: HashMap::new(),
            of_kind: Default::default(),
            next_subscriber: 0,
            watched: Arc::default(),
        }
    }

    fn turn(&mut self) {
        let slice = self.parts.ring.after(self.cursor, TURN);
        if slice.lost {
            // Closed channels send every subscriber back to the ring, where it learns what it lost.
            self.subscribers.clear();
            self.by_topic.clear();
            self.of_kind = Default::default();
            self.watch();
            self.parts.alarm.now();
        }
        let now = self.parts.clock.now();
        for event in slice.events {
            // After a hang another dispatcher has gone on from the last turn that ended: it counts these.
            if !self.epoch.is_current() {
                return;
            }
            self.cursor = event.id;
            self.route(&event, now);
        }
        // Once per turn: if this actor dies in the middle of one, its events are counted again, and whom they
        // concern comes back anyway.
        self.parts.ring.set_dispatched(self.cursor);
    }

    fn watch(&self) {
        self.watched.store(!self.subscribers.is_empty(), Ordering::Release);
    }

    fn route(&mut self, event: &Arc<NumberedEvent>, now: Timestamp) {
        if event.id.index > self.parts.known {
            self.parts.metrics.count(&event.event);
        }
        self.parts.rates.record(&event.event);
        self.parts.alarm.heed(&event.event, now);
        if self.subscribers.is_empty() {
            return;
        }
        let mut gone = Vec::new();
        for kind in Kind::EACH {
            if self.of_kind[kind as usize] == 0 {
                continue;
            }
            let Some(topic) = Topic::of(&event.event, kind) else { continue };
            for id in self.by_topic.get(&topic).into_iter().flatten() {
                if let Some(subscriber) = self.subscribers.get_mut(id)
                    && subscriber.last < event.id
                {
                    subscriber.last = event.id;
                    if subscriber.events.try_send(event.clone()).is_err() {
                        gone.push(*id);
                    }
                }
            }
        }
        for id in gone {
            self.forget(id);
        }
    }

    fn forget(&mut self, id: u64) {
        let Some(subscriber) = self.subscribers.remove(&id) else { return };
        for topic in subscriber.topics.iter() {
            if let Some(ids) = self.by_topic.get_mut(topic) {
                ids.retain(|other| *other != id);
                if ids.is_empty() {
                    self.by_topic.remove(topic);
                    self.of_kind[topic.kind() as usize] -= 1;
                }
            }
        }
        self.watch();
    }

    /// Those whose reader has gone away are found when they are sent something; this finds the rest.
    fn forget_closed(&mut self) {
        let closed: Vec<u64> =
            self.subscribers.iter().filter(|(_, s)| s.events.is_closed()).map(|(id, _)| *id).collect();
        for id in closed {
            self.forget(id);
        }
    }
}

impl Actor for Dispatch {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let (ring, watched) = (self.parts.ring.clone(), self.watched.clone());
        ctx.add_stream(stream::unfold((ring, watched), |(ring, watched)| async move {
            ring.undispatched().await;
            if !watched.load(Ordering::Acquire) {
                tokio::time::sleep(GATHER).await;
            }
            Some((Undispatched, (ring, watched)))
        }));
        ctx.run_interval(Duration::from_secs(5), |dispatch, _| dispatch.forget_closed());
    }
}

impl StreamHandler<Undispatched> for Dispatch {
    fn handle(&mut self, _: Undispatched, _: &mut Self::Context) {
        self.turn();
    }
}

impl Handler<Subscribe> for Dispatch {
    type Result = MessageResult<Subscribe>;

    fn handle(&mut self, subscribe: Subscribe, _: &mut Self::Context) -> Self::Result {
        let (sender, events) = mpsc::channel(BEHIND);
        // Only what this dispatcher has routed already: the rest it will route to the new subscriber too.
        let wanted = |event: &Event| subscribe.topics.iter().any(|topic| topic.covers(event));
        let missed = self.parts.ring.between(subscribe.after, self.cursor, BEHIND + 1, wanted);
        let lost_up_to = missed.lost.then_some(self.cursor);
        if lost_up_to.is_none() {
            for event in missed.events {
                if sender.try_send(event).is_err() {
                    // More than fits: this much for now, then it comes again with a later id.
                    return MessageResult(Subscribed { events, lost_up_to });
                }
            }
        }
        let id = self.next_subscriber;
        self.next_subscriber += 1;
        for topic in subscribe.topics.iter() {
            let ids = self.by_topic.entry(topic.clone()).or_default();
            self.of_kind[topic.kind() as usize] += usize::from(ids.is_empty());
            ids.push(id);
        }
        let last = if missed.lost { self.cursor } else { subscribe.after.max(self.cursor) };
        self.subscribers.insert(id, Subscriber { topics: subscribe.topics, events: sender, last });
        self.watch();
        MessageResult(Subscribed { events, lost_up_to })
    }
}
