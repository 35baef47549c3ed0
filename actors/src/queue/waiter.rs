// SPDX-License-Identifier: Apache-2.0
//! Somebody who waits for a job, at one queue or several.
//!
//! - `W1` a waiter is woken at most once.
//! - `W2` a ticket that is dropped unwoken (its actor died or was retired) sends the waiter back to look by
//!   itself: no waiter is forgotten.
//! - `W3` while a woken waiter claims, what it may claim counts as taken, so one job wakes one waiter.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

use super::messages::Stir;
use crate::supervise::Port;

type Bell = Arc<Mutex<Option<oneshot::Sender<Waking>>>>;

/// Somebody who waits. Gives a [`Ticket`] to each queue.
pub struct Waiter {
    count: u32,
    bell: Bell,
}

/// A waiter's place in one queue.
pub struct Ticket {
    count: u32,
    bell: Bell,
}

/// Held by a woken waiter until its claim is decided; then the queue looks again.
pub struct Waking {
    count: u32,
    taken: Arc<AtomicU32>,
    stir: Port<Stir>,
}

impl Waiter {
    /// A waiter for up to `count` jobs, and where it hears of them.
    #[must_use]
    pub fn new(count: u32) -> (Self, oneshot::Receiver<Waking>) {
        let (sender, receiver) = oneshot::channel();
        (Self { count: count.max(1), bell: Arc::new(Mutex::new(Some(sender))) }, receiver)
    }

    /// A place in one more queue.
    #[must_use]
    pub fn ticket(&self) -> Ticket {
        Ticket { count: self.count, bell: self.bell.clone() }
    }
}

impl Ticket {
    /// How many jobs it would take.
    #[must_use]
    pub const fn count(&self) -> u32 {
        self.count
    }

    fn take(&self) -> Option<oneshot::Sender<Waking>> {
        self.bell.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Wakes the waiter; false if it has been woken or has gone away.
    #[must_use]
    pub fn wake(self, waking: Waking) -> bool {
        self.take().is_some_and(|sender| sender.send(waking).is_ok())
    }

    /// True if there is nobody to wake any more.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        let bell = self.bell.lock().unwrap_or_else(PoisonError::into_inner);
        bell.as_ref().is_none_or(oneshot::Sender::is_closed)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        // The sender goes unused, which the waiter sees as "look by yourself".
        drop(self.take());
    }
}

impl Waking {
    /// Counts `count` jobs as taken until it is dropped.
    #[must_use]
    pub fn new(count: u32, taken: &Arc<AtomicU32>, stir: Port<Stir>) -> Self {
        taken.fetch_add(count, Ordering::AcqRel);
        Self { count, taken: taken.clone(), stir }
    }
}

impl Drop for Waking {
    fn drop(&mut self) {
        self.taken.fetch_sub(self.count, Ordering::AcqRel);
        // If the mailbox is full the actor will look anyway; if the actor is gone nobody has to.
        let _ = self.stir.tell(Stir);
    }
}
