// SPDX-License-Identifier: Apache-2.0
//! Keeps a reserve of disk space for work that is under way: below it new jobs are refused, everything else
//! passes.
//!
//! ```text
//! free  ────────╲                    ╱──────────
//! reserve + 1/8  ╲                  ╱ ← accepts again
//! reserve ────────╲─ refuses ──────╱
//! ```
//!
//! It caches the free space of the last look. It wakes up four times a second and looks on a thread that may
//! block. When it dies, the last verdict stands until its next life looks, which is at once.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use jobbie_store::DiskSpace;
use prometheus_client::metrics::counter::Counter;

use crate::ports::PortError;
use crate::supervise::{ChildSpec, task};

/// Between two looks: at 1 GB/s, faster than jobs are ever written, the default reserve of 256 MiB is not used
/// up in between.
const LOOK: Duration = Duration::from_millis(250);

/// The verdict, shared by all who ask.
#[derive(Debug)]
pub struct DiskGuard {
    dir: PathBuf,
    reserve: u64,
    free: AtomicU64,
    total: AtomicU64,
    full: AtomicBool,
    refused: Counter,
}

/// The disk as the guard saw it last, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskRoom {
    /// What may still be written.
    pub free: u64,
    /// The whole file system.
    pub total: u64,
    /// What is kept for finishing what is there; 0 if nothing is.
    pub reserve: u64,
    /// True while new jobs are refused.
    pub full: bool,
}

impl DiskGuard {
    /// A guard of the file system that a directory lies on, which it looks at once; a reserve of 0 never
    /// refuses anything. What it refuses is counted.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>, reserve: u64, refused: Counter) -> Self {
        let guard = Self {
            dir: dir.into(),
            reserve,
            // Until the first look nothing is known, which is no reason to refuse.
            free: AtomicU64::new(u64::MAX),
            total: AtomicU64::new(u64::MAX),
            full: AtomicBool::new(false),
            refused,
        };
        guard.look();
        guard
    }

    /// What was seen last.
    #[must_use]
    pub fn room(&self) -> DiskRoom {
        DiskRoom {
            free: self.free.load(Ordering::Relaxed),
            total: self.total.load(Ordering::Relaxed),
            reserve: self.reserve,
            full: self.full.load(Ordering::Relaxed),
        }
    }

    /// Lets a call pass that adds jobs.
    ///
    /// # Errors
    /// [`PortError::StorageFull`] while the reserve is not free.
    pub(crate) fn admit(&self) -> Result<(), PortError> {
        if !self.full.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.refused.inc();
        Err(PortError::StorageFull { free: self.free.load(Ordering::Relaxed), reserve: self.reserve })
    }

    /// Looks at the file system. Blocks for a system call.
    pub(crate) fn look(&self) {
        match DiskSpace::of(&self.dir) {
            Ok(space) => self.note(space),
            // The directory is in use, so this passes or ends the process elsewhere.
            Err(error) => tracing::warn!(%error, "the free space of the disk is not known"),
        }
    }

    /// Takes note of what there is.
    fn note(&self, space: DiskSpace) {
        self.free.store(space.free, Ordering::Relaxed);
        self.total.store(space.total, Ordering::Relaxed);
        let was = self.full.load(Ordering::Relaxed);
        let enough = if was { self.reserve.saturating_add(self.reserve / 8) } else { self.reserve };
        let full = space.free < enough;
        self.full.store(full, Ordering::Relaxed);
        let (free, reserve) = (space.free, self.reserve);
        match (was, full) {
            (false, true) => tracing::error!(
                free,
                reserve,
                "the disk is nearly full: new jobs are refused until there is more room; ack, fail and delete pass"
            ),
            (true, false) => tracing::info!(free, reserve, "the disk has room again: new jobs are accepted"),
            _ => {}
        }
    }

    /// The child that looks.
    pub(crate) fn child(self: &Arc<Self>) -> ChildSpec {
        let guard = self.clone();
        task("disk-guard", move |start| {
            let guard = guard.clone();
            async move {
                start.ready();
                let mut stopping = std::pin::pin!(start.stopping());
                loop {
                    let looking = guard.clone();
                    tokio::task::spawn_blocking(move || looking.look()).await.map_err(|e| e.to_string())?;
                    tokio::select! {
                        () = tokio::time::sleep(LOOK) => {}
                        () = &mut stopping => return Ok::<(), String>(()),
                    }
                }
            }
        })
        .family("jobs")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(reserve: u64) -> DiskGuard {
        DiskGuard::new(std::env::temp_dir(), reserve, Counter::default())
    }

    fn full_after(guard: &DiskGuard, free: u64) -> bool {
        guard.note(DiskSpace { free, total: 10_000 });
        guard.admit().is_err()
    }

    #[test]
    fn below_the_reserve_it_refuses_and_an_eighth_above_it_accepts_again() {
        let guard = guard(800);
        assert!(!full_after(&guard, 800));
        assert!(full_after(&guard, 799));
        assert!(full_after(&guard, 899), "else it changes its mind with every file that comes and goes");
        assert!(!full_after(&guard, 900));
        assert!(!full_after(&guard, 800));
        assert_eq!(guard.refused.get(), 2);
    }

    #[test]
    fn what_it_says_names_both_numbers() {
        let guard = guard(300 << 20);
        guard.note(DiskSpace { free: 12 << 20, total: 1 << 30 });
        let text = guard.admit().unwrap_err().to_string();
        assert!(text.contains("12 MiB") && text.contains("300 MiB"), "{text}");
        let room = guard.room();
        assert_eq!((room.free, room.total, room.reserve, room.full), (12 << 20, 1 << 30, 300 << 20, true));
    }

    #[test]
    fn without_a_reserve_nothing_is_refused() {
        assert!(!full_after(&guard(0), 0));
    }
}
