// SPDX-License-Identifier: Apache-2.0
//! Finds children that hang. Idle children cost one atomic read per tick and no message.
//!
//! Two kinds of evidence, both judged after the child's hang limit:
//! - the arbiter is in the same turn of the child all the time: the handler blocks the thread;
//! - a message waits and the mailbox has not answered a ping: `ctx.wait` does not come to an end.
//!
//! It only reports. The supervisor fences the child and starts another; here the blocked arbiter is condemned
//! and everyone else on it is reported as evicted.
//!
//! - `W1` a child is never blamed while the code of another runs on its thread.
//! - `W2` a machine that stood still (suspend, SIGSTOP) blames nobody: marks older than a late tick are void.

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
    mark: Option<(Evidence, Instant)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Evidence {
    Turn(u64),
    Ping(u64),
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
        Self { name, epoch, seat, limit, pings, supervisor, mark: None }
    }

    /// Looks at the child once; returns evidence that is older than the limit.
    fn look(&mut self, id: u64, now: Instant) -> Option<Evidence> {
        let limit = self.limit?;
        let running = self.seat.pulse.running();
        let evidence = match (running, self.mark) {
            (Some((who, turn)), _) if who == id => Evidence::Turn(turn),
            (_, Some((Evidence::Ping(ping), _))) if !self.epoch.answered(ping) => Evidence::Ping(ping),
            _ if self.pings && self.epoch.waiting() > 0 => Evidence::Ping(self.epoch.ping()),
            _ => {
                self.mark = None;
                return None;
            }
        };
        match self.mark {
            Some((mark, since)) if mark == evidence => {
                let innocent = matches!(evidence, Evidence::Ping(_)) && running.is_some();
                (now.saturating_duration_since(since) >= limit && !innocent).then_some(evidence)
            }
            _ => {
                self.mark = Some((evidence, now));
                None
            }
        }
    }

    fn hung(&self, id: u64, evidence: Evidence) {
        let limit = self.limit.unwrap_or_default();
        let what = match evidence {
            Evidence::Turn(_) => "blocked its thread",
            Evidence::Ping(_) => "left its mailbox untouched",
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
            if let Some(evidence) = watched.look(*id, now) {
                watched.hung(*id, evidence);
                hung.push((*id, evidence));
            }
        }
        for (id, evidence) in hung {
            let removed = self.lives.borrow_mut().remove(&id);
            if let (Some(watched), Evidence::Turn(_)) = (removed, evidence) {
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
                self.lives.borrow_mut().values_mut().for_each(|watched| watched.mark = None);
            }
            last = now;
            self.check(now);
        }
    }
}
