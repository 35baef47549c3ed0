// SPDX-License-Identifier: Apache-2.0
//! Finds children that hang. Idle children cost one atomic read per tick and no message.
//!
//! Two kinds of evidence, both judged after the child's hang limit:
//! - the arbiter is in the same turn of the child all the time: the handler blocks the thread
//!   (and has not begun with another message in that turn);
//! - a message waits and the mailbox has not answered a ping: `ctx.wait` does not come to an end.
//!
//! It only reports. The supervisor fences the child and starts another; here the blocked arbiter is condemned
//! and everyone else on it is reported as evicted.
//!
//! - `W1` a child is not blamed for an unanswered ping while another blocks the thread.
//! - `W2` a machine that stood still (suspend, SIGSTOP) blames nobody: a late tick forgives what was seen before.

use std::{cell::RefCell, collections::BTreeMap, convert::Infallible, rc::Rc, time::Duration};

use tokio::{sync::mpsc, time::Instant};

use super::{
    epoch::Epoch,
    event::Event,
    family::{Families, Seat},
};

/// How often children are looked at. A hang is found at most two ticks after its limit.
pub(super) const TICK: Duration = Duration::from_millis(500);
/// A tick this late means that the process as a whole did not run.
const LATE: Duration = Duration::from_secs(2);

/// One life that is watched.
pub(super) struct Watched {
    pub(super) name: String,
    pub(super) epoch: Epoch,
    pub(super) seat: Seat,
    pub(super) limit: Option<Duration>,
    /// Whether the child has a mailbox that answers pings.
    pub(super) pings: bool,
    pub(super) supervisor: mpsc::UnboundedSender<Event>,
    /// The turn and the message it was seen in, and since when.
    in_turn: Option<((u64, u64), Instant)>,
    /// The ping it owes an answer to, and since when.
    owes: Option<(u64, Instant)>,
    /// Where the thread was at the last look.
    turn: u64,
}

/// Evidence older than the hang limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    BlocksThread,
    LeavesMailbox,
}

impl Watched {
    pub(super) fn new(
        name: String,
        epoch: Epoch,
        seat: Seat,
        limit: Option<Duration>,
        pings: bool,
        supervisor: mpsc::UnboundedSender<Event>,
    ) -> Self {
        Self { name, epoch, seat, limit, pings, supervisor, in_turn: None, owes: None, turn: 0 }
    }

    /// Looks at the child once.
    fn look(&mut self, id: u64, now: Instant) -> Option<Verdict> {
        let limit = self.limit?;
        let overdue = |since: Instant| now.saturating_duration_since(since) >= limit;
        let running = self.seat.pulse.running();
        let last_turn = std::mem::replace(&mut self.turn, self.seat.pulse.turn());

        let here = running.filter(|(who, _)| *who == id).map(|(_, turn)| (turn, self.epoch.taken()));
        self.in_turn = here.map(|here| match self.in_turn {
            Some((seen, since)) if seen == here => (here, since),
            _ => (here, now),
        });
        if self.in_turn.is_some_and(|(_, since)| overdue(since)) {
            return Some(Verdict::BlocksThread);
        }

        self.owes = self.owes.filter(|(ping, _)| !self.epoch.answered(*ping));
        if self.owes.is_none() && self.pings && self.epoch.waiting() > 0 {
            self.owes = Some((self.epoch.ping(), now));
        }
        let blocked = running.is_some_and(|(_, turn)| turn == last_turn);
        let overdue = self.owes.is_some_and(|(_, since)| overdue(since));
        (overdue && !blocked).then_some(Verdict::LeavesMailbox)
    }

    fn forgive(&mut self) {
        self.in_turn = None;
        self.owes = None;
    }

    fn hung(&self, id: u64, verdict: Verdict) {
        let limit = self.limit.unwrap_or_default();
        let what = match verdict {
            Verdict::BlocksThread => "blocked its thread",
            Verdict::LeavesMailbox => "left its mailbox untouched",
        };
        let error = format!("hung: {what} for {limit:?}");
        // Fails only if the supervisor is gone, and its children with it.
        let _ = self.supervisor.send(Event::Hung { id, epoch: self.epoch.number(), error });
    }
}

/// All lives on arbiters. Lives on the supervision thread.
#[derive(Clone, Default)]
pub(super) struct Watchdog {
    lives: Rc<RefCell<BTreeMap<u64, Watched>>>,
    families: Families,
}

impl Watchdog {
    pub(super) fn new(families: Families) -> Self {
        Self { lives: Rc::default(), families }
    }

    pub(super) fn watch(&self, id: u64, watched: Watched) {
        self.lives.borrow_mut().insert(id, watched);
    }

    pub(super) fn unwatch(&self, id: u64) {
        self.lives.borrow_mut().remove(&id);
    }

    /// One look at everybody.
    pub(super) fn check(&self, now: Instant) {
        let mut hung = Vec::new();
        for (id, watched) in &mut *self.lives.borrow_mut() {
            if let Some(verdict) = watched.look(*id, now) {
                watched.hung(*id, verdict);
                hung.push((*id, verdict));
            }
        }
        for (id, verdict) in hung {
            let removed = self.lives.borrow_mut().remove(&id);
            if let (Some(watched), Verdict::BlocksThread) = (removed, verdict) {
                self.condemn(id, &watched.name, &watched.seat);
            }
        }
    }

    /// Takes a blocked thread out of use and evicts everybody but the culprit.
    pub(super) fn condemn(&self, culprit: u64, name: &str, seat: &Seat) {
        tracing::error!(child = name, "arbiter thread is blocked and replaced");
        self.families.condemn(seat);
        self.lives.borrow_mut().retain(|id, watched| {
            let evicted = *id != culprit && watched.seat.same_thread(seat);
            if evicted {
                let error = format!("evicted: {name} blocked the thread");
                let event = Event::Evicted { id: *id, epoch: watched.epoch.number(), error };
                let _ = watched.supervisor.send(event);
            }
            !evicted
        });
    }

    /// Looks every [`TICK`], for ever.
    pub(super) async fn run(&self) -> Infallible {
        let mut last = Instant::now();
        loop {
            tokio::time::sleep(TICK).await;
            let now = Instant::now();
            if now.saturating_duration_since(last) > LATE {
                self.lives.borrow_mut().values_mut().for_each(Watched::forgive);
            }
            last = now;
            self.check(now);
        }
    }
}
