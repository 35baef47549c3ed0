// SPDX-License-Identifier: Apache-2.0
//! What all supervisors of a tree share. Lives on the supervision thread, apart from the counters.

use std::{
    cell::Cell,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use tokio::time::Instant;

use super::{
    family::{Families, Loads},
    watchdog::Watchdog,
};

/// Counters that are read from other threads.
#[derive(Debug, Clone, Default)]
pub(super) struct Counters {
    /// Lives that have not ended yet.
    pub(super) alive: Arc<AtomicUsize>,
    /// Lives that crashed.
    pub(super) crashes: Arc<AtomicU64>,
    /// How busy the threads are.
    pub(super) loads: Loads,
}

#[derive(Clone)]
pub(super) struct Shared {
    pub(super) families: Families,
    pub(super) watchdog: Watchdog,
    pub(super) counters: Counters,
    started: Instant,
    ids: Rc<Cell<u64>>,
}

impl Shared {
    pub(super) fn new(counters: Counters) -> Self {
        let families = Families::new(counters.loads.clone());
        let watchdog = Watchdog::new(families.clone());
        Self { families, watchdog, counters, started: Instant::now(), ids: Rc::default() }
    }

    /// Ids start at 1: 0 means "nobody" to the arbiters.
    pub(super) fn next_id(&self) -> u64 {
        self.ids.set(self.ids.get() + 1);
        self.ids.get()
    }

    pub(super) fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    pub(super) fn count_crash(&self) {
        self.counters.crashes.fetch_add(1, SeqCst);
    }
}
