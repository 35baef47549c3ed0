// SPDX-License-Identifier: Apache-2.0
//! The log: entries, votes and commits in one append-only stream of records, cut into segments.
//!
//! ```text
//! log/
//! ├── 0000000001-00000000000000000000.log    64 MiB, sealed: durable to its end
//! ├── 0000000002-00000000000000271828.log    64 MiB, sealed
//! ├── 0000000003-00000000000000543210.log    current: ← records … │ zeros
//! └── prepared-3.tmp                         the next one, zero-filled by a helper thread
//!
//! caller ──► queue ──► writer thread: one write, one fdatasync, all callbacks
//! ```
//!
//! It is the only truth of a node and knows nothing of Raft beyond terms, indexes and an opaque vote. What it
//! promises:
//!
//! - **L1** A callback with `Ok` comes after the record is on stable storage (`Durability::Fsync`), or
//!   written and at most 100 ms from it (`Relaxed`; votes and purges are synced in both).
//! - **L2** Opening finds every record of L1, in order, or refuses and says where the damage is. It never
//!   leaves out a record in the middle.
//! - **L3** What a crash left unfinished at the end is dropped, and zeroed before anything else is written.
//! - **L4** Nothing that was truncated comes back.
//! - **L5** After the first failed write or sync every call fails. Nothing is retried.
//!
//! How:
//!
//! - **Nothing on disk is ever changed.** A truncation is a record like any other, so after a crash in the
//!   middle of one it has either happened or not; overwriting entries in place, over several files, has
//!   states in between. Dead entries cost their space until their segment is purged. It also lets readers
//!   read without a lock, and makes a place that was never written known to be zero (`torn`).
//! - **Each segment starts with a head** that restates vote, commit, purge and bounds, so unlinking older
//!   segments loses nothing, and opening compares it with what the segment before amounts to: lost records
//!   of any kind at the end of a sealed segment, or a lost segment, are found.
//! - Files and records: `segment`, `record`. Opening: `recover`. What damage means: `torn`.
//!
//! What it cannot find: zeros instead of the last write, if nothing was written after it and the process was
//! killed; this is what a crash in the middle of that write looks like. An orderly end leaves a record that
//! excludes it.

mod background;
mod cache;
pub mod disk;
mod files;
mod index;
mod options;
mod queue;
mod read;
pub mod record;
mod recover;
mod segment;
mod summary;
mod torn;
mod writer;

use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use bytes::Bytes;
use tokio::sync::watch;

use self::background::Background;
use self::disk::{Disk, StdDisk};
use self::files::Files;
use self::index::{Index, Sampler};
pub use self::options::{LogError, LogObserver, LogOptions, LogStats};
pub use self::queue::Callback;
use self::queue::{Action, Queue};
pub use self::record::{Item, Kind, Mark, Record};
use self::record::{MAX_BODY, MAX_INDEX};
use self::recover::Recovered;
use self::segment::Head;
use self::summary::Summary;
use self::writer::{Batch, Places, Writer};
use crate::Durability;

/// A log of items. Clones share it; it is shut down with the last of them.
pub struct Log<I: Item> {
    inner: Arc<Inner<I>>,
}

impl<I: Item> Clone for Log<I> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

struct Inner<I: Item> {
    queue: Arc<Queue<I>>,
    places: Arc<Places>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    torn_bytes: u64,
}

impl<I: Item> Log<I> {
    /// Opens or makes the log in `dir`, and checks all of it.
    ///
    /// # Errors
    /// If the log is corrupt, or the file system fails.
    pub fn open(
        dir: &Path,
        options: LogOptions,
        observer: Option<Arc<dyn LogObserver>>,
    ) -> Result<Self, LogError> {
        Self::open_on(Arc::new(StdDisk), dir, options, observer)
    }

    /// The same on another disk; the seam for tests.
    ///
    /// # Errors
    /// If the log is corrupt, or the disk fails.
    pub fn open_on(
        disk: Arc<dyn Disk>,
        dir: &Path,
        options: LogOptions,
        observer: Option<Arc<dyn LogObserver>>,
    ) -> Result<Self, LogError> {
        let failed = |e| LogError::io(dir, e);
        if !(4 << 10..=1 << 30).contains(&options.segment_bytes) {
            return Err(LogError::SegmentBytes(options.segment_bytes));
        }
        disk.create_dir(dir).map_err(failed)?;
        let Recovered { summary, mut index, sampler, torn_bytes } = match recover::recover(&*disk, dir)? {
            Some(recovered) => recovered,
            None => {
                let mut index = Index::default();
                let head = Head::new(1, Summary::default());
                index.add_segment(writer::begin(&*disk, dir, &head, None).map_err(failed)?);
                Recovered { summary: Summary::default(), index, sampler: Sampler::default(), torn_bytes: 0 }
            }
        };
        let (files, helper) =
            Files::start(Arc::clone(&disk), dir.to_path_buf(), options.segment_bytes).map_err(failed)?;
        // Segments that a crash kept from being unlinked.
        files.unlink(index.purge(summary.purged).into_iter().map(|s| s.path).collect());
        let segment = index.current().clone();
        let places = Arc::new(Places {
            index: Mutex::new(index),
            written: AtomicU64::new(0),
            syncs: AtomicU64::new(0),
            background: Background::default(),
        });
        places.background.set_synced(segment.seq, segment.end);
        let queue = Arc::new(Queue::new(summary.clone(), options.cache_bytes));
        let writer = Writer {
            queue: Arc::clone(&queue),
            places: Arc::clone(&places),
            disk,
            dir: dir.to_path_buf(),
            files,
            segment_bytes: options.segment_bytes,
            durability: options.durability,
            observer: observer.clone(),
            summary,
            sampler,
            synced: segment.end,
            segment,
            buffer: Vec::new(),
            batch: Batch::default(),
        };
        let spawn =
            |name: &str, body: Box<dyn FnOnce() + Send>| thread::Builder::new().name(name.into()).spawn(body);
        let mut threads = vec![spawn("log-writer", Box::new(move || writer.run())).map_err(failed)?, helper];
        if options.durability == Durability::Relaxed {
            let (places, queue) = (Arc::clone(&places), Arc::clone(&queue));
            threads.push(
                spawn("log-sync", Box::new(move || sync_behind(&places, &queue, observer)))
                    .map_err(failed)?,
            );
        }
        Ok(Self { inner: Arc::new(Inner { queue, places, threads: Mutex::new(threads), torn_bytes }) })
    }

    /// Appends entries. They can be read when this returns; `done` is called when they are durable, on the
    /// writer thread, so it must be short.
    ///
    /// # Errors
    /// If the log is closed, or the entries do not follow the last one; then `done` is not called and
    /// nothing is appended.
    pub fn append(&self, items: Vec<I>, done: Callback) -> io::Result<()> {
        let records: Vec<Record> = items.iter().map(Item::to_record).collect();
        let mut view = self.inner.queue.view();
        view.ensure_open()?;
        let mut summary = view.summary.clone();
        for record in &records {
            if !record.kind.is_entry() || record.body.len() > MAX_BODY || record.index > MAX_INDEX {
                return Err(invalid(format!("entry {} is too large or none", record.index)));
            }
            summary.append(record.mark()).map_err(invalid)?;
        }
        view.summary = summary;
        let ticket = view.next_ticket();
        for (item, record) in items.into_iter().zip(&records) {
            view.cache.push(record.index, item, record.body.len(), ticket);
        }
        view.cache.shrink(self.inner.places.written.load(Ordering::Acquire));
        view.push(Action::Append(records), done);
        self.inner.queue.release(view);
        Ok(())
    }

    /// Replaces the vote. It is synced in every mode before `done` is called.
    ///
    /// # Errors
    /// If the log is closed; then `done` is not called.
    pub fn save_vote(&self, vote: Bytes, done: Callback) -> io::Result<()> {
        let mut view = self.inner.queue.view();
        view.ensure_open()?;
        if vote.len() > MAX_VOTE {
            return Err(invalid(format!("a vote of {} bytes", vote.len())));
        }
        view.summary.vote = Some(vote.clone());
        view.push(Action::Vote(vote), done);
        self.inner.queue.release(view);
        Ok(())
    }

    /// Notes the last committed entry. It goes along with the next write, or is written alone within
    /// 100 ms, and never causes a sync.
    ///
    /// # Errors
    /// If the log is closed.
    pub fn save_committed(&self, committed: Option<Mark>) -> io::Result<()> {
        let mut view = self.inner.queue.view();
        view.ensure_open()?;
        if view.summary.committed != committed && view.set_committed(committed) {
            self.inner.queue.release(view);
        }
        Ok(())
    }

    /// Drops all entries after `after`, or all.
    ///
    /// # Errors
    /// If the log is closed or entries to be dropped are purged; then `done` is not called.
    pub fn truncate_after(&self, after: Option<Mark>, done: Callback) -> io::Result<()> {
        let mut view = self.inner.queue.view();
        view.ensure_open()?;
        let Some(truncation) = view.summary.truncation(after).map_err(invalid)? else {
            view.push(Action::Sync, done);
            self.inner.queue.release(view);
            return Ok(());
        };
        view.summary.truncate(truncation);
        let next = view.summary.next();
        view.cache.truncate(next);
        view.push(Action::Truncate(truncation), done);
        self.inner.queue.release(view);
        Ok(())
    }

    /// Drops all entries up to `upto`, which may be beyond the last one: the log then goes on behind it.
    /// Segments that are no longer needed are unlinked, later.
    ///
    /// # Errors
    /// If the log is closed; then `done` is not called.
    pub fn purge(&self, upto: Mark, done: Callback) -> io::Result<()> {
        let mut view = self.inner.queue.view();
        view.ensure_open()?;
        if upto.index >= MAX_INDEX {
            return Err(invalid(format!("an index of {}", upto.index)));
        }
        if view.summary.purge(upto) {
            let first = view.summary.first;
            view.cache.purge(first);
            view.push(Action::Purge(upto), done);
        } else {
            view.push(Action::Sync, done);
        }
        self.inner.queue.release(view);
        Ok(())
    }

    /// Calls back once everything that was called before is on stable storage, in every mode.
    ///
    /// # Errors
    /// If the log is closed; then `done` is not called.
    pub fn sync(&self, done: Callback) -> io::Result<()> {
        let mut view = self.inner.queue.view();
        view.ensure_open()?;
        view.push(Action::Sync, done);
        self.inner.queue.release(view);
        Ok(())
    }

    /// The living entries among `wanted`, in order, as of now; at most about `budget` bytes of them, but one
    /// if there is one. May read from disk.
    ///
    /// # Errors
    /// `InvalidData` if an entry on disk is damaged; else what the file system says.
    pub fn read(&self, wanted: Range<u64>, budget: usize) -> io::Result<Vec<I>> {
        let mut budget = budget;
        let view = self.inner.queue.view();
        let live = view.summary.live();
        let wanted = wanted.start.max(live.start)..wanted.end.min(live.end);
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let split = view.cache.first().unwrap_or(wanted.end).clamp(wanted.start, wanted.end);
        let mut out = Vec::new();
        if split == wanted.start {
            view.cache.read(wanted, &mut budget, &mut out);
            return Ok(out);
        }
        // The end is taken from memory now and not after the read: the log may be truncated meanwhile. A
        // reader with a budget comes back for it.
        let mut tail = Vec::new();
        if budget == usize::MAX {
            view.cache.read(split..wanted.end, &mut budget, &mut tail);
            budget = usize::MAX;
        }
        let index = self.inner.places.index.lock().unwrap_or_else(PoisonError::into_inner);
        let stretches = index.locate(wanted.start..split);
        drop(index);
        drop(view);
        read::read(&stretches, &mut budget, &mut out)?;
        let read = out.len() as u64;
        if read < split - wanted.start && budget > 0 {
            let text = format!("entries from {} on are not where the index has them", wanted.start + read);
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        out.append(&mut tail);
        Ok(out)
    }

    /// Whether [`Log::read`] of this range would need the disk.
    #[must_use]
    pub fn is_cached(&self, wanted: &Range<u64>) -> bool {
        let view = self.inner.queue.view();
        let live = view.summary.live();
        let wanted = wanted.start.max(live.start)..wanted.end.min(live.end);
        wanted.is_empty() || view.cache.first().is_some_and(|first| first <= wanted.start)
    }

    /// The vote.
    #[must_use]
    pub fn vote(&self) -> Option<Bytes> {
        self.inner.queue.view().summary.vote.clone()
    }

    /// The last committed entry that was noted.
    #[must_use]
    pub fn committed(&self) -> Option<Mark> {
        self.inner.queue.view().summary.committed
    }

    /// The last purged entry, and the last entry.
    #[must_use]
    pub fn bounds(&self) -> (Option<Mark>, Option<Mark>) {
        let view = self.inner.queue.view();
        (view.summary.purged, view.summary.last)
    }

    /// Why the log has failed, if it has.
    #[must_use]
    pub fn failed(&self) -> Option<String> {
        self.inner.queue.failed()
    }

    /// Tells when the log fails.
    #[must_use]
    pub fn failure(&self) -> watch::Receiver<Option<String>> {
        self.inner.queue.failure()
    }

    /// What the log takes up.
    #[must_use]
    pub fn stats(&self) -> LogStats {
        let view = self.inner.queue.view();
        let live = view.summary.live();
        let mut stats = LogStats {
            first_index: (!live.is_empty()).then_some(live.start),
            last_index: view.summary.last.map(|m| m.index),
            purged_index: view.summary.purged.map(|m| m.index),
            has_vote: view.summary.vote.is_some(),
            cache_bytes: view.cache.bytes(),
            syncs: self.inner.places.syncs.load(Ordering::Relaxed),
            torn_bytes: self.inner.torn_bytes,
            ..LogStats::default()
        };
        drop(view);
        let index = self.inner.places.index.lock().unwrap_or_else(PoisonError::into_inner);
        for segment in index.segments() {
            stats.segments += 1;
            stats.bytes_on_disk += segment.size;
            stats.bytes_used += segment.end;
        }
        stats
    }

    /// Writes and syncs what waits, and ends the threads. Later calls fail.
    pub fn shutdown(&self) {
        self.inner.shutdown();
    }
}

/// A vote is a term, a node and a flag; the head of a segment has room for more.
const MAX_VOTE: usize = 1024;

impl<I: Item> Inner<I> {
    fn shutdown(&self) {
        self.queue.close();
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        let current = thread::current().id();
        let is_own = threads.iter().any(|t| t.thread().id() == current);
        for (at, thread) in threads.into_iter().enumerate() {
            // The last clone may go with a callback; the writer cannot wait for itself, nor for the helper,
            // which waits for the writer.
            if !is_own && thread.join().is_err() {
                tracing::error!("a thread of the log panicked");
            }
            if at == 0 {
                self.places.background.stop();
            }
        }
    }
}

impl<I: Item> Drop for Inner<I> {
    fn drop(&mut self) {
        self.shutdown();
    }
}

fn sync_behind<I: Item>(places: &Places, queue: &Queue<I>, observer: Option<Arc<dyn LogObserver>>) {
    places.background.run(|took, result| match result {
        Ok(()) => {
            places.syncs.fetch_add(1, Ordering::Relaxed);
            if let Some(observer) = &observer {
                observer.synced(took, 0, 0);
            }
        }
        Err(error) => {
            tracing::error!(%error, "the log has failed");
            queue.fail(&format!("the log cannot be synced: {error}"));
        }
    });
}

fn invalid(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what)
}
