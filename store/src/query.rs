// SPDX-License-Identifier: Apache-2.0
//! Reads: what the API, the queue actors and the scheduler ask of the applied state.
//!
//! | asked for | answered from |
//! |---|---|
//! | queue rows: settings and counters | memory |
//! | one job, one remembered call | the changed rows, else a view of the database of the same moment |
//! | the first row of something: timers, upkeep, ages | the tables themselves, between two groups |
//! | listings, all leases of a worker, checks | a view, after what has changed is written |
//!
//! All but the first may block for the length of a disk read or, the last, of a write, so they belong on a
//! blocking thread, never on an actor's. Whoever has been answered finds what the answer says.

mod docs;
mod job;
mod jobs;
mod leases;
mod queues;
mod upkeep;

use std::sync::Arc;

use jobbie_broker::invariant::{self, Violation};
use jobbie_broker::tables::schema::{DueKey, Lane, MetaRow, Timer};
use jobbie_broker::{Job, JobNo, Json, LeaseToken, Name, Queue, Scope, StateKind, Timestamp};

use crate::blocking::may_block;
use crate::keyspaces::Fault;
use crate::snapshot::SnapshotDir;
use crate::state_machine::{Live, Shared};
use crate::tables::{FjallTables, Row, View};

/// A job with its bodies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobDetail {
    /// The row.
    pub job: Job,
    /// What the producer sent.
    pub payload: Json,
    /// What a worker saved on the way.
    pub checkpoint: Option<Json>,
    /// What the worker answered.
    pub result: Option<Json>,
}

/// Which jobs to list: all that match everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobFilter {
    /// The namespace; never crossed.
    pub namespace: Name,
    /// Only queues within; what is outside is neither listed nor counted, and no cursor stands on it.
    pub scope: Scope,
    /// Only this queue.
    pub queue: Option<Name>,
    /// Only this state.
    pub state: Option<StateKind>,
}

/// A position in a listing: stable under writes, opaque to callers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// Sort value of the last row given out: a time for finished jobs, else zero.
    pub at: Timestamp,
    /// Its number.
    pub job: JobNo,
}

/// One page of a listing, newest first. It may hold fewer jobs than asked for, even none, and still go on:
/// a call looks at a bounded number of rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The jobs.
    pub jobs: Vec<JobDetail>,
    /// Where to go on; `None` at the end.
    pub next: Option<Cursor>,
}

/// A queue by name, with its row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedQueue {
    /// Its name.
    pub name: Name,
    /// Its settings and counters.
    pub queue: Arc<Queue>,
}

/// A lease whose row says that it ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueLease {
    /// The job.
    pub job: JobNo,
    /// The token of its lease.
    pub token: LeaseToken,
    /// When it ends by its row; with `job` this is its place among the timers, see [`DueLease::key`].
    pub deadline: Timestamp,
    /// When it ends, `TermStarted` taken into account.
    pub ends_at: Timestamp,
    /// How long it lasts from a grant or a sign of life on.
    pub length: jobbie_broker::Millis,
}

impl DueLease {
    /// Its place among the timers: where the next call of [`Reader::leases_due`] goes on.
    #[must_use]
    pub const fn key(&self) -> DueKey {
        DueKey { lane: Lane::Leases, at: self.deadline, timer: Timer::Lease, job: self.job }
    }
}

/// Bytes on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskUse {
    /// Tables of the state.
    pub state_bytes: u64,
    /// Journals of the state.
    pub journal_bytes: u64,
    /// The newest snapshot.
    pub snapshot_bytes: u64,
    /// The log.
    pub log_bytes: u64,
}

/// Reads the applied state. Cheap to clone; all clones see the same.
#[derive(Clone)]
pub struct Reader {
    shared: Arc<Shared>,
}

impl Reader {
    pub(crate) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// The applied state of this moment. What is not in the database is written first.
    fn view(&self) -> Result<(View, Arc<Live>), Fault> {
        may_block("a read of the state");
        let live = self.shared.live();
        Ok((live.view()?, live))
    }

    /// What the changed rows say of something, and a view of the database of the same moment for the rest.
    fn look<R>(&self, ask: impl FnOnce(&FjallTables) -> Result<R, Fault>) -> Result<(R, View), Fault> {
        may_block("a read of the state");
        let live = self.shared.live();
        let tables = live.tables()?;
        Ok((ask(&tables)?, View::new(live.keyspaces.clone())))
    }

    /// Asks the tables between two groups: for what takes few reads, because apply waits meanwhile.
    fn ask<R>(&self, ask: impl FnOnce(&mut FjallTables) -> Result<R, Fault>) -> Result<R, Fault> {
        may_block("a read of the state");
        let live = self.shared.live();
        let mut tables = live.tables()?;
        ask(&mut tables)
    }

    /// About how many bytes of changed rows are in memory and not in the database yet; 0 once the state has
    /// failed.
    #[must_use]
    pub fn unwritten(&self) -> usize {
        self.ask(|tables| Ok(tables.memory())).unwrap_or(0)
    }

    /// Writes what is applied into the database, as an orderly end does.
    ///
    /// # Errors
    /// If the machine fails.
    pub fn write(&self) -> Result<(), Fault> {
        self.shared.live().write()
    }

    /// The counters of the whole broker; from memory.
    #[must_use]
    pub fn meta(&self) -> MetaRow {
        self.shared.meta()
    }

    /// The last applied index, 0 before the first; from memory.
    #[must_use]
    pub fn applied_index(&self) -> u64 {
        self.shared.applied().unwrap_or(0)
    }

    /// The directory of snapshots: where a received one is put together, and what a backup is taken from.
    #[must_use]
    pub fn snapshots(&self) -> &SnapshotDir {
        &self.shared.snapshots
    }

    /// Every row of a consistent view, in order: table, key bytes, row bytes. For checks and comparisons: all
    /// of it is in memory at once.
    ///
    /// # Errors
    /// If the machine fails.
    pub fn rows(&self) -> Result<Vec<Row>, Fault> {
        let (view, _live) = self.view()?;
        view.rows().collect()
    }

    /// Runs the broker's invariants over a consistent view.
    ///
    /// # Errors
    /// If the machine fails.
    pub fn check(&self) -> Result<Vec<Violation>, Fault> {
        let (mut view, _live) = self.view()?;
        invariant::check(&mut view)
    }

    /// Bytes on disk.
    #[must_use]
    pub fn disk(&self) -> DiskUse {
        may_block("a look at the data directory");
        let (state_bytes, journal_bytes) = self.shared.live().keyspaces.disk();
        let snapshot_bytes = self.shared.snapshots.newest().ok().flatten().map_or(0, |file| file.len());
        DiskUse {
            state_bytes,
            journal_bytes,
            snapshot_bytes,
            log_bytes: self.shared.log.stats().bytes_on_disk,
        }
    }
}
