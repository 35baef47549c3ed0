// SPDX-License-Identifier: Apache-2.0
//! What the one writer knows about the fronts of tables, shared with readers of the disk.
//!
//! The writer keeps it for the state *with* what is not committed yet. A reader must take its view of the
//! database first and the hint second: then every key of the view that lies before the hint has been
//! deleted since or is about to be (H1), so skipping it only makes the answer a little newer.

use std::sync::{Mutex, MutexGuard, PoisonError};

use jobbie_broker::tables::Space;
use jobbie_broker::tables::schema::{DueKey, Lane};

use super::gaps::Gaps;
use super::ready::ReadyWindows;
use super::window::{Edge, Window};

/// Windows and gaps, each behind its own lock; none is held while the disk is read by anybody but the writer.
#[derive(Debug)]
pub(crate) struct Hints {
    windows: Mutex<Windows>,
    gaps: Mutex<Gaps>,
}

/// The windows.
#[derive(Debug)]
pub(crate) struct Windows {
    pub(crate) ready: ReadyWindows,
    due: [Window<DueKey>; 2],
}

/// The table that upkeep scans from the front again and again: each round of a purge looks for what has
/// finished first. The others have their own cursors, in the rows of queues and counters.
const SCANNED: Space = Space::Finished;

impl Hints {
    pub(crate) fn new(most: usize) -> Self {
        let windows =
            Windows { ready: ReadyWindows::new(most), due: [Window::unknown(most), Window::unknown(most)] };
        Self { windows: Mutex::new(windows), gaps: Mutex::default() }
    }

    /// The windows. A panic while holding them is a panic while applying, which ends the process.
    pub(crate) fn windows(&self) -> MutexGuard<'_, Windows> {
        self.windows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something with the gaps of a table, if any are kept for it.
    pub(crate) fn gaps(&self, space: Space, act: impl FnOnce(&mut Gaps)) {
        if space == SCANNED {
            act(&mut self.gaps.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }

    /// Where the first row at or behind `key` can be.
    pub(crate) fn skip(&self, space: Space, key: &mut Vec<u8>) {
        self.gaps(space, |gaps| {
            if let Some(end) = gaps.end_of(key) {
                *key = end.to_vec();
            }
        });
    }
}

impl Windows {
    /// The window of a lane of timers.
    pub(crate) fn due(&mut self, lane: Lane) -> &mut Window<DueKey> {
        &mut self.due[lane as usize - 1]
    }

    /// A key that no timer of the lane is below; `None` if nothing is known.
    pub(crate) fn due_front(&self, lane: Lane) -> Option<DueKey> {
        match self.due[lane as usize - 1].front() {
            Ok(key) | Err(Edge::After(key)) => Some(key),
            Err(Edge::Start | Edge::End) => None,
        }
    }
}
