// SPDX-License-Identifier: Apache-2.0
//! What the writer shares with readers: the database of the moment, and what is answered from memory.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use jobbie_broker::tables::schema::MetaRow;
use jobbie_broker::{Queue, QueueKey};

use crate::keyspaces::Keyspaces;
use crate::log_storage::LogStore;
use crate::open::DirLock;
use crate::snapshot::SnapshotDir;
use crate::tables::{Committed, FjallTables, Hints};

/// A database in use. Whoever holds one may read it, even while a newer one takes its place.
pub(crate) struct Live {
    pub(crate) keyspaces: Keyspaces,
    pub(crate) hints: Arc<Hints>,
    // Last: fields are dropped in order, and a database must be closed before its files go.
    dir: StateDir,
}

/// The directory of a database; goes with its last user once a newer one is in use.
struct StateDir {
    path: PathBuf,
    replaced: AtomicBool,
}

impl Drop for StateDir {
    fn drop(&mut self) {
        if self.replaced.load(Ordering::Acquire)
            && let Err(e) = fs::remove_dir_all(&self.path)
        {
            // Only space is lost: the next start sweeps it.
            tracing::warn!(path = %self.path.display(), error = %e, "cannot remove a replaced state");
        }
    }
}

impl Live {
    pub(crate) fn new(keyspaces: Keyspaces, tables: &FjallTables) -> Self {
        let dir = StateDir { path: keyspaces.path().to_owned(), replaced: AtomicBool::new(false) };
        Self { keyspaces, hints: tables.hints().clone(), dir }
    }
}

/// Shared by the state machine and all readers.
pub(crate) struct Shared {
    live: RwLock<Arc<Live>>,
    queues: RwLock<BTreeMap<QueueKey, Arc<Queue>>>,
    meta: RwLock<MetaRow>,
    /// One more than the last applied index, so that 0 means nothing.
    applied: AtomicU64,
    pub(crate) snapshots: SnapshotDir,
    pub(crate) log: LogStore,
    _lock: DirLock,
}

impl Shared {
    pub(crate) fn new(
        live: Live,
        tables: &FjallTables,
        snapshots: SnapshotDir,
        log: LogStore,
        lock: DirLock,
    ) -> Self {
        Self {
            live: RwLock::new(Arc::new(live)),
            queues: RwLock::new(tables.queues().clone()),
            meta: RwLock::new(tables.meta()),
            applied: AtomicU64::new(0),
            snapshots,
            log,
            _lock: lock,
        }
    }

    pub(crate) fn live(&self) -> Arc<Live> {
        self.live.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn queues(&self) -> RwLockReadGuard<'_, BTreeMap<QueueKey, Arc<Queue>>> {
        self.queues.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn meta(&self) -> MetaRow {
        *self.meta.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn applied(&self) -> Option<u64> {
        self.applied.load(Ordering::Acquire).checked_sub(1)
    }

    /// Makes a commit visible.
    pub(crate) fn publish(&self, committed: Committed, index: u64) {
        if !committed.queues.is_empty() {
            let mut queues = self.queues.write().unwrap_or_else(PoisonError::into_inner);
            for (key, queue) in committed.queues {
                match queue {
                    Some(queue) => drop(queues.insert(key, queue)),
                    None => drop(queues.remove(&key)),
                }
            }
        }
        if let Some(meta) = committed.meta {
            *self.meta.write().unwrap_or_else(PoisonError::into_inner) = meta;
        }
        self.mark(Some(index));
    }

    /// Makes another database visible; the old one's files go with its last reader.
    pub(crate) fn replace(&self, live: Live, tables: &FjallTables, index: Option<u64>) {
        let old = std::mem::replace(
            &mut *self.live.write().unwrap_or_else(PoisonError::into_inner),
            Arc::new(live),
        );
        old.dir.replaced.store(true, Ordering::Release);
        self.queues.write().unwrap_or_else(PoisonError::into_inner).clone_from(tables.queues());
        *self.meta.write().unwrap_or_else(PoisonError::into_inner) = tables.meta();
        self.mark(index);
    }

    pub(crate) fn mark(&self, index: Option<u64>) {
        self.applied.store(index.map_or(0, |index| index.saturating_add(1)), Ordering::Release);
    }
}

/// Only for messages.
impl std::fmt::Debug for Live {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let path: &Path = &self.dir.path;
        f.debug_tuple("Live").field(&path).finish()
    }
}
