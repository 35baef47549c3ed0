// SPDX-License-Identifier: Apache-2.0
//! What the writer shares with readers: the database of the moment, and what is answered from memory.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use jobbie_broker::tables::schema::MetaRow;
use jobbie_broker::{Document, Queue, QueueKey};
use tokio::sync::watch;

use crate::keyspaces::{Fault, Keyspaces, Position};
use crate::log_storage::LogStore;
use crate::open::DirLock;
use crate::snapshot::SnapshotDir;
use crate::tables::{Committed, DocKey, FjallTables, Hints, Turned, View};

/// A database in use, and the tables over it. Whoever holds one may read it, even while a newer one takes
/// its place.
pub(crate) struct Live {
    pub(crate) keyspaces: Keyspaces,
    pub(crate) hints: Arc<Hints>,
    tables: Mutex<FjallTables>,
    /// Held while a layer is written; always taken before `tables`.
    writing: Mutex<()>,
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
    pub(crate) fn new(keyspaces: Keyspaces, tables: FjallTables) -> Self {
        let dir = StateDir { path: keyspaces.path().to_owned(), replaced: AtomicBool::new(false) };
        let hints = tables.hints().clone();
        Self { keyspaces, hints, tables: Mutex::new(tables), writing: Mutex::default(), dir }
    }

    /// The tables between two groups.
    ///
    /// # Errors
    /// If a group has failed: its half is not shown to anybody (T1).
    pub(crate) fn tables(&self) -> Result<MutexGuard<'_, FjallTables>, Fault> {
        // A panic while holding them is a panic while applying.
        let tables = self.tables.lock().map_err(|_| Fault::Stopped)?;
        tables.check()?;
        Ok(tables)
    }

    /// Writes everything that is applied now into the database. Apply goes on meanwhile.
    ///
    /// # Errors
    /// If writing fails, now or before: then nothing is applied any more either.
    pub(crate) fn write(&self) -> Result<(), Fault> {
        let _one_at_a_time = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(Turned { full, done }) = self.tables()?.take_layer()? else { return Ok(()) };
        drop(done);
        let written = full.write(&self.keyspaces).and_then(|()| self.keyspaces.bound_memory());
        let mut tables = self.tables.lock().map_err(|_| Fault::Stopped)?;
        match written {
            Ok(()) => tables.set_written(),
            Err(_) => tables.fail(),
        }
        written
    }

    /// Writes what has changed if it is much.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub(crate) fn write_if_full(&self) -> Result<(), Fault> {
        if self.tables()?.is_full() { self.write() } else { Ok(()) }
    }

    /// Writes what has changed if nothing has since the last call: `seen` is how far the state had come then.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub(crate) fn write_if_quiet(&self, seen: &mut Option<Position>) -> Result<(), Fault> {
        let last = std::mem::replace(seen, self.tables()?.unwritten());
        if seen.is_some() && *seen == last { self.write() } else { Ok(()) }
    }

    /// A view of everything that is applied now.
    ///
    /// # Errors
    /// If what is not in the database yet cannot be written.
    pub(crate) fn view(&self) -> Result<View, Fault> {
        self.write()?;
        Ok(View::new(self.keyspaces.clone()))
    }
}

/// Shared by the state machine and all readers.
pub(crate) struct Shared {
    live: RwLock<Arc<Live>>,
    queues: RwLock<BTreeMap<QueueKey, Arc<Queue>>>,
    meta: RwLock<MetaRow>,
    docs: RwLock<BTreeMap<DocKey, Arc<Document>>>,
    docs_changed: watch::Sender<u64>,
    /// One more than the last applied index, so that 0 means nothing.
    applied: AtomicU64,
    pub(crate) snapshots: SnapshotDir,
    pub(crate) log: LogStore,
    _lock: DirLock,
}

impl Shared {
    pub(crate) fn new(
        keyspaces: Keyspaces,
        tables: FjallTables,
        snapshots: SnapshotDir,
        log: LogStore,
        lock: DirLock,
    ) -> Self {
        Self {
            queues: RwLock::new(tables.queues().clone()),
            meta: RwLock::new(tables.meta()),
            docs: RwLock::new(tables.docs().clone()),
            docs_changed: watch::Sender::new(0),
            live: RwLock::new(Arc::new(Live::new(keyspaces, tables))),
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

    pub(crate) fn docs(&self) -> RwLockReadGuard<'_, BTreeMap<DocKey, Arc<Document>>> {
        self.docs.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn docs_changed(&self) -> watch::Receiver<u64> {
        self.docs_changed.subscribe()
    }

    pub(crate) fn meta(&self) -> MetaRow {
        *self.meta.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn applied(&self) -> Option<u64> {
        self.applied.load(Ordering::Acquire).checked_sub(1)
    }

    /// Makes a group visible.
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
        if !committed.docs.is_empty() {
            let mut docs = self.docs.write().unwrap_or_else(PoisonError::into_inner);
            for (key, document) in committed.docs {
                match document {
                    Some(document) => drop(docs.insert(key, document)),
                    None => drop(docs.remove(&key)),
                }
            }
            drop(docs);
            self.docs_changed.send_modify(|changes| *changes = changes.wrapping_add(1));
        }
        if let Some(meta) = committed.meta {
            *self.meta.write().unwrap_or_else(PoisonError::into_inner) = meta;
        }
        self.mark(Some(index));
    }

    /// Makes another database visible; the old one's files go with its last reader.
    pub(crate) fn replace(&self, keyspaces: Keyspaces, tables: FjallTables, index: Option<u64>) -> Arc<Live> {
        let (queues, meta, docs) = (tables.queues().clone(), tables.meta(), tables.docs().clone());
        let live = Arc::new(Live::new(keyspaces, tables));
        let old =
            std::mem::replace(&mut *self.live.write().unwrap_or_else(PoisonError::into_inner), live.clone());
        old.dir.replaced.store(true, Ordering::Release);
        *self.queues.write().unwrap_or_else(PoisonError::into_inner) = queues;
        *self.meta.write().unwrap_or_else(PoisonError::into_inner) = meta;
        *self.docs.write().unwrap_or_else(PoisonError::into_inner) = docs;
        self.docs_changed.send_modify(|changes| *changes = changes.wrapping_add(1));
        self.mark(index);
        live
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
