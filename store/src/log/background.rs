// SPDX-License-Identifier: Apache-2.0
//! The thread that syncs in relaxed mode, and the mark of what is synced.
//!
//! Relaxed promises to be at most 100 ms behind. The thread starts a sync 50 ms after the first write that
//! is not yet synced; the other half is for the sync itself.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::disk::SegmentFile;
use crate::fault_point::{FaultPoint, hit};

/// How long a write may wait for its sync to start: half of the 100 ms that relaxed mode promises.
const LAG: Duration = Duration::from_millis(50);

/// Up to where a segment is synced, and what is not.
#[derive(Default)]
pub(crate) struct Background {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    seq: u64,
    synced: u64,
    dirty: Option<Dirty>,
    stop: bool,
}

struct Dirty {
    file: Arc<dyn SegmentFile>,
    upto: u64,
    since: Instant,
}

impl Background {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Up to where segment `seq` is synced.
    pub(crate) fn synced(&self, seq: u64) -> u64 {
        let state = self.state();
        if state.seq == seq { state.synced } else { 0 }
    }

    /// The writer has synced the segment up to there.
    pub(crate) fn set_synced(&self, seq: u64, upto: u64) {
        let mut state = self.state();
        state.seq = seq;
        state.synced = upto;
        state.dirty = None;
    }

    /// The writer has written the current segment up to there, and leaves the sync to this thread.
    pub(crate) fn wrote(&self, file: &Arc<dyn SegmentFile>, upto: u64) {
        let mut state = self.state();
        match &mut state.dirty {
            Some(dirty) => dirty.upto = upto,
            None => {
                state.dirty = Some(Dirty { file: Arc::clone(file), upto, since: Instant::now() });
                drop(state);
                self.wake.notify_one();
            }
        }
    }

    pub(crate) fn stop(&self) {
        self.state().stop = true;
        self.wake.notify_one();
    }

    /// The thread: calls `done` after each sync, and ends with the first error.
    pub(crate) fn run(&self, done: impl Fn(Duration, std::io::Result<()>)) {
        let mut state = self.state();
        while !state.stop {
            let Some(dirty) = &state.dirty else {
                state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let wait = (dirty.since + LAG).saturating_duration_since(Instant::now());
            if !wait.is_zero() {
                state = self.wake.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0;
                continue;
            }
            let (file, upto, seq) = (Arc::clone(&dirty.file), dirty.upto, state.seq);
            state.dirty = None;
            drop(state);
            let started = Instant::now();
            let result = hit(FaultPoint::LogSync).and_then(|()| file.sync_data());
            let failed = result.is_err();
            done(started.elapsed(), result);
            if failed {
                return;
            }
            state = self.state();
            if state.seq == seq {
                state.synced = state.synced.max(upto);
            }
        }
    }
}
