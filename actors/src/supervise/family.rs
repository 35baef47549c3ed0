// SPDX-License-Identifier: Apache-2.0
//! The arbiter threads: one per family, replaced when a child blocks it.
//!
//! Children of one family share a thread. A child that blocks it takes the siblings out too, so a blocked
//! arbiter is *condemned*: the family gets a fresh one, everyone on the old one is restarted there, and the old
//! thread ends by itself if the blocking call ever returns.
//!
//! - `F1` [`Pulse::running`] names the child whose code runs on the thread right now, if any. That is how the
//!   culprit is told from its victims.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    io,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

use actix_rt::{Arbiter, ArbiterHandle};
use tokio::sync::oneshot;

/// How long the end of an arbiter thread is waited for at shutdown. Its children have ended by then, so this is
/// only the drop of an empty runtime; a thread that takes longer is left behind.
const JOIN_LIMIT: Duration = Duration::from_secs(1);

/// What runs on an arbiter thread right now.
///
/// `turn` is odd during a turn and even between two, so that a reader who catches the thread in between sees
/// that `running` does not belong to it.
#[derive(Debug, Default)]
pub(super) struct Pulse {
    running: AtomicU64,
    turn: AtomicU64,
}

impl Pulse {
    /// Runs one turn of the child `id`. Must not unwind and does not nest.
    pub(super) fn during<T>(&self, id: u64, turn: impl FnOnce() -> T) -> T {
        self.running.store(id, SeqCst);
        self.turn.fetch_add(1, SeqCst);
        let result = turn();
        self.turn.fetch_add(1, SeqCst);
        result
    }

    /// Changes as long as the thread gets on.
    pub(super) fn turn(&self) -> u64 {
        self.turn.load(SeqCst)
    }

    /// The child on the thread and the number of its turn; `None` when the thread is in nobody's code.
    pub(super) fn running(&self) -> Option<(u64, u64)> {
        let turn = self.turn();
        let running = self.running.load(SeqCst);
        (turn % 2 == 1 && turn == self.turn()).then_some((running, turn))
    }
}

/// One arbiter thread as children see it.
#[derive(Debug, Clone)]
pub(super) struct Seat {
    pub(super) handle: ArbiterHandle,
    pub(super) pulse: Arc<Pulse>,
}

impl Seat {
    pub(super) fn same_thread(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.pulse, &other.pulse)
    }
}

/// All arbiters of a tree. Lives on the supervision thread.
#[derive(Clone, Default)]
pub(super) struct Families(Rc<RefCell<BTreeMap<&'static str, (Arbiter, Seat)>>>);

impl Families {
    /// The seat of a family; its thread is started at the first use.
    ///
    /// # Errors
    /// The operating system refuses a thread.
    pub(super) fn seat(&self, family: &'static str) -> io::Result<Seat> {
        if let Some((_, seat)) = self.0.borrow().get(family) {
            return Ok(seat.clone());
        }
        let arbiter = Arbiter::try_new()?;
        let seat = Seat { handle: arbiter.handle(), pulse: Arc::default() };
        self.0.borrow_mut().insert(family, (arbiter, seat.clone()));
        Ok(seat)
    }

    /// Takes a blocked thread out of use. It stops when, and if, the call that blocks it returns.
    pub(super) fn condemn(&self, seat: &Seat) {
        seat.handle.stop();
        self.0.borrow_mut().retain(|_, (_, other)| !other.same_thread(seat));
    }

    /// Ends all threads that are in use and waits for them.
    pub(super) async fn stop(&self) {
        let arbiters = std::mem::take(&mut *self.0.borrow_mut());
        for (family, (arbiter, _)) in arbiters {
            arbiter.stop();
            let (joined, wait) = oneshot::channel();
            // Joining blocks, so it needs a thread; tokio's blocking pool would make our own end wait for it.
            thread::spawn(move || joined.send(arbiter.join().is_ok()));
            if !matches!(tokio::time::timeout(JOIN_LIMIT, wait).await, Ok(Ok(true))) {
                tracing::warn!(family, "arbiter thread did not end in time");
            }
        }
    }
}
