// SPDX-License-Identifier: Apache-2.0
//! One life of a child, from start to end, and the fence around it.
//!
//! A child gets a new [`Epoch`] each time it is started. A hung child cannot be killed (its thread never comes
//! back to us), so it is fenced instead: its epoch is closed, nobody listens to it any more, and it has to ask
//! [`Epoch::is_current`] before any effect outside of itself.
//!
//! - `E1` phases only move forward: open → ended, or open → fenced.
//! - `E2` a message is begun only while the epoch is open; see [`Epoch::begin`].

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{
            AtomicBool, AtomicU8, AtomicU64, AtomicUsize,
            Ordering::{Relaxed, SeqCst},
        },
    },
};

use actix::ActorContext;
use futures_util::task::AtomicWaker;
use tokio::sync::Notify;

const OPEN: u8 = 0;
const ENDED: u8 = 1;
const FENCED: u8 = 2;

/// One life of one child. Cheap to clone; all clones are the same life.
#[derive(Clone)]
pub struct Epoch(Arc<Life>);

struct Life {
    number: u64,
    phase: AtomicU8,
    closed: Notify,
    failure: Mutex<Option<String>>,
    /// Messages admitted and not yet handled.
    waiting: AtomicUsize,
    /// Messages taken out of the mailbox so far.
    taken: AtomicU64,
    /// Last ping sent by the watchdog, last one answered by the child.
    ping: AtomicU64,
    pong: AtomicU64,
    mailbox: AtomicWaker,
}

impl Epoch {
    pub(super) fn new(number: u64) -> Self {
        Self(Arc::new(Life {
            number,
            phase: AtomicU8::new(OPEN),
            closed: Notify::new(),
            failure: Mutex::new(None),
            waiting: AtomicUsize::new(0),
            taken: AtomicU64::new(0),
            ping: AtomicU64::new(0),
            pong: AtomicU64::new(0),
            mailbox: AtomicWaker::new(),
        }))
    }

    /// An epoch that belongs to no supervised child and never closes, for tests that build an actor by hand.
    pub fn detached() -> Self {
        Self::new(0)
    }

    /// 1 for the first life of a child, one more for each restart.
    pub fn number(&self) -> u64 {
        self.0.number
    }

    pub(super) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// False as soon as this life is over or fenced. Ask before each effect outside of the actor.
    pub fn is_current(&self) -> bool {
        self.0.phase.load(SeqCst) == OPEN
    }

    /// Resolves when this life is over or fenced.
    pub async fn closed(&self) {
        let notified = self.0.closed.notified();
        tokio::pin!(notified);
        // Registered before the check, so a close in between is not missed.
        notified.as_mut().enable();
        if self.is_current() {
            notified.await;
        }
    }

    /// Ends the actor as failed (not crashed) with a reason for the tree view: records it and stops `ctx`.
    pub fn fail(&self, ctx: &mut impl ActorContext, reason: impl fmt::Display) {
        *self.0.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason.to_string());
        ctx.stop();
    }

    pub(super) fn take_failure(&self) -> Option<String> {
        self.0.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(super) fn end(&self) {
        self.close(ENDED);
    }

    pub(super) fn fence(&self) {
        self.close(FENCED);
    }

    fn close(&self, phase: u8) {
        if self.0.phase.compare_exchange(OPEN, phase, SeqCst, SeqCst).is_ok() {
            self.0.closed.notify_waiters();
        }
    }

    pub(super) fn is_fenced(&self) -> bool {
        self.0.phase.load(SeqCst) == FENCED
    }

    /// Marks a message as begun; false if it must not be handled any more. The mark is set before the phase is
    /// read and the asker reads them the other way round, so "not begun" seen after the close stays true.
    pub(super) fn begin(&self, begun: &AtomicBool) -> bool {
        begun.store(true, SeqCst);
        self.is_current()
    }

    /// Takes one of `capacity` places; `None` when all are taken.
    pub(super) fn admit(&self, capacity: usize) -> Option<Place> {
        self.0
            .waiting
            .fetch_update(SeqCst, SeqCst, |waiting| (waiting < capacity).then_some(waiting + 1))
            .ok()
            .map(|_| Place(self.clone()))
    }

    /// Messages admitted and not yet handled.
    pub(super) fn waiting(&self) -> usize {
        self.0.waiting.load(SeqCst)
    }

    pub(super) fn count_taken(&self) {
        self.0.taken.fetch_add(1, Relaxed);
    }

    /// Messages taken out of the mailbox so far: grows as long as the child makes progress.
    pub(super) fn taken(&self) -> u64 {
        self.0.taken.load(Relaxed)
    }

    pub(super) fn ping(&self) -> u64 {
        let ping = self.0.ping.fetch_add(1, SeqCst) + 1;
        self.0.mailbox.wake();
        ping
    }

    pub(super) fn answered(&self, ping: u64) -> bool {
        self.0.pong.load(SeqCst) >= ping
    }

    /// Called by the mailbox each time it gets its turn.
    pub(super) fn pong(&self, waker: &std::task::Waker) {
        self.0.mailbox.register(waker);
        self.0.pong.store(self.0.ping.load(SeqCst), SeqCst);
    }
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Epoch({}, current: {})", self.number(), self.is_current())
    }
}

/// A place in a mailbox, free again when dropped.
pub(super) struct Place(Epoch);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.0.waiting.fetch_sub(1, SeqCst);
    }
}
