// SPDX-License-Identifier: Apache-2.0
//! Who waits at one queue, in the order they came, and which jobs are spoken for.
//!
//! ```text
//! available = pending (applied) + coming (enqueues in the log, not applied) − claiming (claims on their way)
//! ```
//!
//! Three things look at it, each under the lock: a fetch that comes (claim at once, or wait), an enqueue on its
//! way into the log (the hand-off: claims of those who wait ride in the same entry), and the queue's actor when
//! something else has made a job available.
//!
//! - `Q1` nobody waits while a job is available: whoever waits has seen none under the lock; `pending` grows
//!   before the event that makes the actor look, `coming` grows under the lock, and whoever lets `claiming` fall
//!   makes the actor look.
//! - `Q2` what is available is claimed by as many as there are jobs. It is a hint: a claim that finds nothing
//!   waits again, and only apply decides.
//!
//! The line outlives the actor. One that was closed is never opened again.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jobbie_broker::queue::Blocked;
use jobbie_broker::{Queue, QueueKey, StateKind, Timestamp};
use jobbie_store::Reader;

use super::messages::Stir;
use super::waiter::{Proposed, Ticket, Waiter};
use crate::clock::Clock;
use crate::supervise::Port;

/// Fewer tickets than this are not worth a look between two tidyings.
const TIDY_FROM: usize = 64;

/// The line of one queue.
pub(crate) struct Line {
    key: QueueKey,
    reader: Reader,
    clock: Clock,
    stir: Port<Stir>,
    state: Mutex<State>,
    /// Whether there are tickets, for those who only want to know that.
    occupied: AtomicBool,
}

#[derive(Default)]
struct State {
    tickets: VecDeque<Ticket>,
    /// Jobs that claims on their way may take.
    claiming: u64,
    /// Jobs of enqueues on their way.
    coming: u64,
    closed: bool,
    /// Those who have gone away are cleared out when this many wait.
    tidy_at: usize,
}

/// What a fetch that comes may do.
pub(crate) enum Chance {
    /// Claim: there is something.
    Claim(Claiming),
    /// Wait.
    Wait,
    /// The line is closed: ask for another one.
    Closed,
}

/// Jobs that a claim on its way may take; when it is decided the queue looks again.
pub(crate) struct Claiming {
    line: Arc<Line>,
    count: u64,
}

/// Jobs of an enqueue on its way.
pub(crate) struct Coming {
    line: Arc<Line>,
    count: u64,
}

/// Claims to be put into the log.
pub(crate) type Claims = Vec<Proposed>;

impl Line {
    #[must_use]
    pub fn new(key: QueueKey, reader: Reader, clock: Clock, stir: Port<Stir>) -> Arc<Self> {
        let state = Mutex::new(State { tidy_at: TIDY_FROM, ..State::default() });
        Arc::new(Self { key, reader, clock, stir, state, occupied: AtomicBool::new(false) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The queue it belongs to.
    #[must_use]
    pub const fn key(&self) -> &QueueKey {
        &self.key
    }

    /// Whether somebody waits, or did a moment ago.
    #[must_use]
    pub fn is_occupied(&self) -> bool {
        self.occupied.load(Ordering::Acquire)
    }

    /// Jobs that nobody has spoken for and that may start now; and, if the throttle keeps more, when it opens.
    fn available(&self, state: &State) -> (u64, Option<Timestamp>) {
        let row = self.reader.queue(&self.key);
        let (startable, opens) = startable(row.as_deref(), state.coming, self.clock.now());
        (startable.saturating_sub(state.claiming), opens)
    }

    /// A claim of up to `count` jobs if there is a chance.
    #[must_use]
    pub fn try_claim(self: &Arc<Self>, count: u32) -> Option<Claiming> {
        let mut state = self.state();
        let (available, _) = self.available(&state);
        (available > 0).then(|| self.claiming(&mut state, u64::from(count).min(available)))
    }

    /// Lets somebody wait who asks for up to `count` jobs, unless they may claim at once.
    #[must_use]
    pub fn park(self: &Arc<Self>, waiter: &Waiter, count: u32) -> Chance {
        let mut state = self.state();
        if state.closed {
            return Chance::Closed;
        }
        let (available, opens) = self.available(&state);
        if available > 0 {
            return Chance::Claim(self.claiming(&mut state, u64::from(count).min(available)));
        }
        if state.tickets.len() >= state.tidy_at {
            clear_gone(&mut state);
        }
        state.tickets.push_back(waiter.ticket());
        self.occupied.store(true, Ordering::Release);
        drop(state);
        if opens.is_some() {
            // The actor has the timer. Full or dead it looks anyway: at the next message, or when it starts.
            let _ = self.stir.tell(Stir);
        }
        Chance::Wait
    }

    fn claiming(self: &Arc<Self>, state: &mut State, count: u64) -> Claiming {
        state.claiming += count;
        Claiming { line: self.clone(), count }
    }

    /// The claims of those who wait for `jobs` that are about to be enqueued, to go into the same entry behind
    /// them; and a mark that counts the jobs as coming until the entry is decided.
    ///
    /// A queue that hands out nothing now, or that has limits, hands out when its jobs are applied: only apply
    /// knows its counters exactly.
    #[must_use]
    pub fn hand_off(self: &Arc<Self>, jobs: u64, most: usize) -> (Claims, Coming) {
        let mut claims = Claims::new();
        let mut state = self.state();
        if !state.tickets.is_empty() && may_hand_off(self.reader.queue(&self.key).as_deref()) {
            self.serve(&mut state, jobs, most, &mut claims);
        }
        state.coming += jobs;
        (claims, Coming { line: self.clone(), count: jobs })
    }

    /// The claims of those who wait for what is available now; and when the throttle opens, if it keeps more
    /// from somebody who waits.
    #[must_use]
    pub fn wake(self: &Arc<Self>) -> (Claims, Option<Timestamp>) {
        let mut claims = Claims::new();
        let mut state = self.state();
        if state.tickets.is_empty() {
            return (claims, None);
        }
        let (available, opens) = self.available(&state);
        self.serve(&mut state, available, usize::MAX, &mut claims);
        (claims, opens.filter(|_| !state.tickets.is_empty()))
    }

    /// Takes those who wait, in the order they came, until they may claim `jobs`.
    fn serve(self: &Arc<Self>, state: &mut State, mut jobs: u64, most: usize, claims: &mut Claims) {
        while jobs > 0 && claims.len() < most {
            let Some(ticket) = state.tickets.pop_front() else { break };
            if let Some(parked) = ticket.take() {
                let count = u64::from(parked.count()).min(jobs);
                jobs -= count;
                claims.push(parked.into_proposal(Some(self.claiming(state, count))));
            }
        }
        self.occupied.store(!state.tickets.is_empty(), Ordering::Release);
    }

    /// Makes the actor look if somebody waits and there is a job that may be for them.
    pub fn stir(&self) {
        let has_job = || self.reader.queue(&self.key).is_some_and(|row| row.count(StateKind::Pending) > 0);
        if self.is_occupied() && has_job() {
            // A full mailbox holds a message that makes the actor look; a dead actor looks when it starts.
            let _ = self.stir.tell(Stir);
        }
    }

    /// Forgets those who have gone away; true if nothing is left that needs the line.
    pub fn tidy(&self) -> bool {
        let mut state = self.state();
        clear_gone(&mut state);
        self.occupied.store(!state.tickets.is_empty(), Ordering::Release);
        state.is_unused()
    }

    /// Closes the line if nothing needs it; whoever comes later asks for another one.
    #[must_use]
    pub fn close(&self) -> bool {
        let mut state = self.state();
        state.closed |= state.is_unused();
        state.closed
    }
}

impl State {
    fn is_unused(&self) -> bool {
        self.tickets.is_empty() && self.claiming == 0 && self.coming == 0
    }
}

/// Forgets those who have gone away, and says when to do so again: when as many have come as stay.
fn clear_gone(state: &mut State) {
    state.tickets.retain(|ticket| !ticket.is_gone());
    state.tidy_at = (state.tickets.len() * 2).max(TIDY_FROM);
}

/// How many jobs of a queue may start, those included that are coming; and when the throttle opens, if it keeps
/// some. A queue without a row is one that the first enqueue is about to make.
pub(super) fn startable(row: Option<&Queue>, coming: u64, now: Timestamp) -> (u64, Option<Timestamp>) {
    let Some(queue) = row else { return (coming, None) };
    let wanted = queue.count(StateKind::Pending).saturating_add(coming);
    match queue.admit(now) {
        Ok(_) => starts(queue, now, wanted),
        Err(Blocked::Throttled(opens)) => (0, Some(opens).filter(|_| wanted > 0)),
        // An event tells when that changes.
        Err(Blocked::Deleting | Blocked::Paused | Blocked::Concurrency(_)) => (0, None),
    }
}

pub(super) fn may_hand_off(row: Option<&Queue>) -> bool {
    row.is_none_or(|queue| {
        !queue.deleting
            && queue.paused_at.is_none()
            && queue.concurrency.is_none()
            && queue.throttle.is_none()
    })
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

impl Drop for Claiming {
    fn drop(&mut self) {
        self.line.state().claiming -= self.count;
        self.line.stir();
    }
}

impl Drop for Coming {
    fn drop(&mut self) {
        // What has come is pending by now, and its events say so.
        self.line.state().coming -= self.count;
    }
}
