// SPDX-License-Identifier: Apache-2.0
//! What must hold between any two entries, as code. Property tests, simulation and `jobbie doctor` run it.
//!
//! | name | what |
//! |---|---|
//! | J1 | a job is in exactly the index rows that [`crate::index::rows_of`] names, and no other index row exists |
//! | J2 | a job is active if and only if it has a row in `Leases`, which says what the lease says |
//! | J3 | a queue's counters equal its jobs; every job's queue has a row |
//! | J4 | a job's row makes sense in itself: number, token, bounds, nothing from the future |
//! | J5 | a unique key points to an existing job that has the key and is live or completed, and every live job holds its key |
//! | J6 | every stored body has its row of that length, and no row is without its job |
//! | J7 | a chosen id points to the job that has it, or is due to be forgotten; every job with a chosen id has its row |
//! | J8 | remembered calls and ids without a job have one row of `Forgets` each, and the other way round |
//! | J9 | only an active or finished job has a request to cancel; a queue that is being deleted has no active job |
//! | J10 | the version of a document is a number that has been given, and no other document has it |
//!
//! That an acknowledged job is never handed out again, and that a concurrency limit is kept, are statements
//! about two moments; the property tests make them.
//!
//! Tables are read in chunks. Only the counters by queue are held in memory, so a broker of any depth can be
//! checked; J8 therefore compares numbers of rows besides looking up each one.

mod jobs;
mod strays;

use std::collections::{BTreeMap, BTreeSet};

use crate::id::{Name, QueueKey};
use crate::tables::schema::{Docs, Meta, MetaRow, Queues};
use crate::tables::{Key, Pair, Table, Tables};

/// Something that must never be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The invariant's name, `J1` and so on.
    pub name: &'static str,
    /// What was found.
    pub text: String,
}

/// Violations that are told of; one broken index row in a million jobs is as bad as all, and fits a screen.
pub const MAX_VIOLATIONS: usize = 1000;
/// Rows read at a time.
const CHUNK: usize = 512;

/// Compares all tables with each other. Nothing is changed.
///
/// # Errors
/// Only if the machine fails.
pub fn check<T: Tables>(tables: &mut T) -> Result<Vec<Violation>, T::Fault> {
    let meta = tables.get::<Meta>(&())?.unwrap_or_default();
    let mut check = Check { tables, meta, found: Vec::new(), counts: BTreeMap::new() };
    check.jobs()?;
    check.counters()?;
    check.indexes()?;
    check.bodies()?;
    check.unique_keys()?;
    check.remembered()?;
    check.documents()?;
    Ok(check.found)
}

/// A check in progress.
struct Check<'t, T> {
    tables: &'t mut T,
    meta: MetaRow,
    found: Vec<Violation>,
    /// Jobs by queue and state, as counted from their rows.
    counts: BTreeMap<QueueKey, [u64; 9]>,
}

impl<T: Tables> Check<'_, T> {
    fn report(&mut self, name: &'static str, text: impl FnOnce() -> String) {
        if self.found.len() < MAX_VIOLATIONS {
            self.found.push(Violation { name, text: text() });
        }
    }

    fn expect(&mut self, holds: bool, name: &'static str, text: impl FnOnce() -> String) {
        if !holds {
            self.report(name, text);
        }
    }

    /// Looks at every row of a table.
    fn each<R: Table>(
        &mut self,
        mut look: impl FnMut(&mut Self, R::Key, R::Row) -> Result<(), T::Fault>,
    ) -> Result<u64, T::Fault> {
        let mut rows_seen = 0u64;
        let mut last: Option<R::Key> = None;
        loop {
            // The chunk begins with the last row seen, which keys of any type can name.
            let rows: Vec<Pair<R>> = self.tables.scan::<R>(&[], last.as_ref(), CHUNK)?;
            let end = rows.len() < CHUNK;
            let mut newest = None;
            for (key, row) in rows {
                if last.as_ref() == Some(&key) {
                    continue;
                }
                newest = Some(key.clone());
                rows_seen += 1;
                look(self, key, row)?;
            }
            if end || newest.is_none() {
                return Ok(rows_seen);
            }
            last = newest;
        }
    }

    /// J10: features are few, and so are their documents.
    fn documents(&mut self) -> Result<(), T::Fault> {
        let mut versions = BTreeSet::new();
        self.each::<Docs>(|check, key, doc| {
            let given = (1..=check.meta.last_job.0).contains(&doc.version);
            check.expect(given && versions.insert(doc.version), "J10", || {
                format!("document {} has version {}, which is not its own", pair(&key), doc.version)
            });
            Ok(())
        })?;
        Ok(())
    }

    /// J3 and J9: the queues against what was counted.
    fn counters(&mut self) -> Result<(), T::Fault> {
        let mut counts = std::mem::take(&mut self.counts);
        self.each::<Queues>(|check, key, queue| {
            let jobs = counts.remove(&key).unwrap_or_default();
            check.expect(queue.counts == jobs, "J3", || {
                format!("queue {} counts {:?}, its jobs are {jobs:?}", name(&key), queue.counts)
            });
            check.expect(!queue.deleting || jobs[crate::StateKind::Active as usize] == 0, "J9", || {
                format!("queue {} is being deleted and has active jobs", name(&key))
            });
            check.expect(queue.clear_below <= check.meta.last_job, "J4", || {
                format!("queue {} is cleared up to a number not given yet", name(&key))
            });
            check.expect(!queue.deleting || queue.total() > 0, "J3", || {
                format!("queue {} is being deleted and empty, but still there", name(&key))
            });
            Ok(())
        })?;
        for (key, jobs) in counts {
            self.report("J3", || format!("queue {} has no row, its jobs are {jobs:?}", name(&key)));
        }
        Ok(())
    }
}

fn name(queue: &QueueKey) -> String {
    format!("{}/{}", queue.namespace, queue.queue)
}

/// A key of two names, for people.
fn pair(key: &(Name, Name)) -> String {
    format!("{}/{}", key.0, key.1)
}

/// A key's bytes as hex, for rows that only a developer will look at.
fn hex(key: &impl Key) -> String {
    key.bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
