// SPDX-License-Identifier: Apache-2.0
//! The arbiter threads: one per family, replaced when a child blocks it.
//!
//! Children of one family share a thread. A child that blocks it takes the siblings out too, so a blocked
//! arbiter is *condemned*: the family gets a fresh one, everyone on the old one is restarted there, and the old
//! thread ends by itself if the blocking call ever returns.
//!
//! A thread of a family must not block: it is marked as such when it starts, and turns that take long all the same
//! are counted, see [`Load`].
//!
//! - `F1` [`Pulse::running`] names the child whose code runs on the thread right now, if any. That is how the
//!   culprit is told from its victims.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    io,
    rc::Rc,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{
            AtomicU64,
            Ordering::{Relaxed, SeqCst},
        },
    },
    thread,
    time::{Duration, Instant},
};

use actix_rt::{Arbiter, ArbiterHandle};
use tokio::sync::oneshot;

/// How long the end of an arbiter thread is waited for at shutdown. Its children have ended by then, so this is
/// only the drop of an empty runtime; a thread that takes longer is left behind.
const JOIN_LIMIT: Duration = Duration::from_secs(1);

/// A turn of an actor takes microseconds. One that takes this long is felt by all who share its thread.
const STALL: Duration = Duration::from_millis(100);

/// How often turns of a family took too long; survives the replacement of its thread.
#[derive(Debug, Default)]
pub(super) struct Load {
    stalls: AtomicU64,
    nanos: AtomicU64,
}

/// Turns that kept the thread of a family busy for 100 ms or longer, since the tree was started. A turn counts
/// when it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stalled {
    /// How many.
    pub turns: u64,
    /// How long they took together.
    pub time: Duration,
}

impl Load {
    fn took(&self, time: Duration) {
        if time >= STALL {
            self.stalls.fetch_add(1, Relaxed);
            self.nanos.fetch_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), Relaxed);
        }
    }
}

/// The loads of all families that ever had a thread.
#[derive(Debug, Clone, Default)]
pub(super) struct Loads(Arc<Mutex<BTreeMap<&'static str, Arc<Load>>>>);

impl Loads {
    fn of(&self, family: &'static str) -> Arc<Load> {
        let mut loads = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(loads.entry(family).or_default())
    }

    pub(super) fn stalls(&self) -> Vec<(&'static str, Stalled)> {
        let loads = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let stalled = |load: &Load| Stalled {
            turns: load.stalls.load(Relaxed),
            time: Duration::from_nanos(load.nanos.load(Relaxed)),
        };
        loads.iter().map(|(family, load)| (*family, stalled(load))).collect()
    }
}

/// What runs on an arbiter thread right now.
///
/// `turn` is odd during a turn and even between two, so that a reader who catches the thread in between sees
/// that `running` does not belong to it.
#[derive(Debug, Default)]
pub(super) struct Pulse {
    running: AtomicU64,
    turn: AtomicU64,
    load: Arc<Load>,
}

impl Pulse {
    /// Runs one turn of the child `id`. Must not unwind and does not nest.
    pub(super) fn during<T>(&self, id: u64, turn: impl FnOnce() -> T) -> T {
        self.running.store(id, SeqCst);
        self.turn.fetch_add(1, SeqCst);
        let began = Instant::now();
        let result = turn();
        self.load.took(began.elapsed());
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
    /// Keeps the thread in a turn of the child `id` for a while, as a handler that blocks would.
    pub(super) fn block(&self, id: u64, span: Duration) {
        let pulse = Arc::clone(&self.pulse);
        // Fails only if the thread has ended, and then nobody is on it.
        self.handle.spawn_fn(move || {
            pulse.during(id, || {
                jobbie_store::blocking::may_block("a hang that was asked for");
                thread::sleep(span);
            });
        });
    }

    pub(super) fn same_thread(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.pulse, &other.pulse)
    }
}

/// All arbiters of a tree. Lives on the supervision thread.
#[derive(Clone, Default)]
pub(super) struct Families {
    arbiters: Rc<RefCell<BTreeMap<&'static str, (Arbiter, Seat)>>>,
    loads: Loads,
}

impl Families {
    pub(super) fn new(loads: Loads) -> Self {
        Self { arbiters: Rc::default(), loads }
    }

    /// The seat of a family; its thread is started at the first use.
    ///
    /// # Errors
    /// The operating system refuses a thread.
    pub(super) fn seat(&self, family: &'static str) -> io::Result<Seat> {
        if let Some((_, seat)) = self.arbiters.borrow().get(family) {
            return Ok(seat.clone());
        }
        let arbiter = Arbiter::try_new()?;
        arbiter.handle().spawn_fn(move || jobbie_store::blocking::forbid(family));
        let pulse = Pulse { load: self.loads.of(family), ..Pulse::default() };
        let seat = Seat { handle: arbiter.handle(), pulse: Arc::new(pulse) };
        self.arbiters.borrow_mut().insert(family, (arbiter, seat.clone()));
        Ok(seat)
    }

    /// Takes a blocked thread out of use. It stops when, and if, the call that blocks it returns.
    pub(super) fn condemn(&self, seat: &Seat) {
        seat.handle.stop();
        self.arbiters.borrow_mut().retain(|_, (_, other)| !other.same_thread(seat));
    }

    /// Ends all threads that are in use and waits for them.
    pub(super) async fn stop(&self) {
        let arbiters = std::mem::take(&mut *self.arbiters.borrow_mut());
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
