// SPDX-License-Identifier: Apache-2.0
//! The actor of one queue.
//!
//! It caches who waits, in the order they came. It wakes up when somebody parks, when dispatch says that a
//! job may be handed out, when a woken waiter has claimed, and when the queue's throttle opens. When it
//! dies, those who wait look by themselves and park again: nothing is lost.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use actix::{Actor, AsyncContext, Context, Handler, SpawnHandle};
use jobbie_broker::queue::Blocked;
use jobbie_broker::{Queue, QueueKey, StateKind, Timestamp};
use jobbie_store::Reader;

use super::directory::Retire;
use super::messages::{Park, Stir};
use super::waiter::{Ticket, Waking};
use crate::clock::Clock;
use crate::supervise::{Epoch, Port};

/// How often those who have gone away are cleared out, and how long an actor idles before it is retired.
const TIDY: Duration = Duration::from_secs(10);

/// Fewer tickets than this are not worth a look between two tidyings.
const TIDY_FROM: usize = 64;

/// The actor of one queue.
pub struct QueueActor {
    epoch: Epoch,
    key: QueueKey,
    reader: Reader,
    clock: Clock,
    retire: Retire,
    stir: Port<Stir>,
    waiting: VecDeque<Ticket>,
    /// Jobs that woken waiters are claiming.
    taken: Arc<AtomicU32>,
    /// When the throttle opens, and the timer for it.
    opens: Option<(Timestamp, SpawnHandle)>,
    idle: bool,
    /// Those who have gone away are cleared out when this many wait.
    tidy_at: usize,
}

impl QueueActor {
    /// The actor of a queue where nobody waits yet.
    #[must_use]
    pub fn new(
        epoch: Epoch,
        key: QueueKey,
        reader: Reader,
        clock: Clock,
        retire: Retire,
        stir: Port<Stir>,
    ) -> Self {
        Self {
            epoch,
            key,
            reader,
            clock,
            retire,
            stir,
            waiting: VecDeque::new(),
            taken: Arc::default(),
            opens: None,
            idle: false,
            tidy_at: TIDY_FROM,
        }
    }

    /// Wakes as many as there are jobs that may be handed out now.
    fn wake(&mut self, ctx: &mut Context<Self>) {
        let Some(queue) = self.reader.queue(&self.key) else { return };
        let now = self.clock.now();
        match queue.admit(now) {
            Ok(_) => {}
            Err(Blocked::Throttled(at)) => return self.wake_at(at, now, ctx),
            // Dispatch stirs when that changes.
            Err(Blocked::Deleting | Blocked::Paused | Blocked::Concurrency(_)) => return,
        }
        let taken = u64::from(self.taken.load(Ordering::Acquire));
        let pending = queue.count(StateKind::Pending);
        let (starts, opens) = starts(&queue, now, pending);
        let mut jobs = starts.saturating_sub(taken);
        if let (true, Some(at)) = (starts < pending, opens) {
            self.wake_at(at, now, ctx);
        }
        // After a hang those who waited here wait at another actor, which wakes as many.
        while jobs > 0 && self.epoch.is_current() {
            let Some(ticket) = self.waiting.pop_front() else { return };
            if ticket.is_gone() {
                continue;
            }
            let count = u64::from(ticket.count()).min(jobs);
            let waking =
                Waking::new(u32::try_from(count).unwrap_or(u32::MAX), &self.taken, self.stir.clone());
            if ticket.wake(waking) {
                jobs -= count;
            }
        }
    }

    fn wake_at(&mut self, at: Timestamp, now: Timestamp, ctx: &mut Context<Self>) {
        if self.opens.is_some_and(|(earlier, _)| earlier <= at) || self.waiting.is_empty() {
            return;
        }
        if let Some((_, timer)) = self.opens.take() {
            ctx.cancel_future(timer);
        }
        let timer = ctx.run_later(Duration::from_millis(at.since(now).0), |queue, ctx| {
            queue.opens = None;
            queue.wake(ctx);
        });
        self.opens = Some((at, timer));
    }

    /// Forgets those who have gone away, and says when to do so again: when as many have come as stay.
    fn clear_gone(&mut self) {
        self.waiting.retain(|ticket| !ticket.is_gone());
        self.tidy_at = (self.waiting.len() * 2).max(TIDY_FROM);
    }

    fn tidy(&mut self) {
        self.clear_gone();
        if !self.waiting.is_empty() || self.taken.load(Ordering::Acquire) > 0 {
            self.idle = false;
        } else if self.idle && self.epoch.is_current() {
            let (retire, key) = (self.retire.clone(), self.key.clone());
            actix::spawn(async move { retire.retire(&key).await });
        } else {
            self.idle = true;
        }
    }
}

/// How many of `wanted` jobs may start now, and, if the throttle keeps the rest, when it opens again.
fn starts(queue: &Queue, now: Timestamp, wanted: u64) -> (u64, Option<Timestamp>) {
    let active = queue.count(StateKind::Active);
    let room = queue.concurrency.map_or(u64::MAX, |limit| u64::from(limit).saturating_sub(active));
    let wanted = wanted.min(room);
    let Some(throttle) = queue.throttle else { return (wanted, None) };
    let mut arrival = queue.arrival;
    // A throttle admits at most its count at once, so this ends soon however many are wanted.
    for started in 0..wanted {
        match throttle.admit(arrival, now) {
            Ok(next) => arrival = next,
            Err(opens) => return (started, Some(opens)),
        }
    }
    (wanted, None)
}

impl Actor for QueueActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(TIDY, |queue, _| queue.tidy());
    }
}

impl Handler<Park> for QueueActor {
    type Result = ();

    fn handle(&mut self, Park(ticket): Park, ctx: &mut Self::Context) {
        self.idle = false;
        if self.waiting.len() >= self.tidy_at {
            self.clear_gone();
        }
        self.waiting.push_back(ticket);
        self.wake(ctx);
    }
}

impl Handler<Stir> for QueueActor {
    type Result = ();

    fn handle(&mut self, _: Stir, ctx: &mut Self::Context) {
        self.wake(ctx);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jobbie_broker::Millis;
    use jobbie_broker::throttle::Throttle;

    /// Else every waiter is woken for the few jobs that a throttle lets through.
    #[test]
    fn a_throttle_wakes_no_more_than_it_admits() {
        let throttle = Throttle { count: 10, period: Millis(1000) };
        let queue = Queue { throttle: Some(throttle), ..Queue::default() };
        let now = Timestamp(1_000_000);
        let (started, opens) = starts(&queue, now, 1_000_000);
        assert_eq!((started, opens), (10, Some(Timestamp(1_000_100))));
        assert_eq!(starts(&queue, now, 3), (3, None));
        let narrow = Queue { concurrency: Some(4), ..queue };
        assert_eq!(starts(&narrow, now, 1_000_000), (4, None));
    }
}
