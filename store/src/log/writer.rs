// SPDX-License-Identifier: Apache-2.0
//! The writer thread: takes everything that waits, writes it once, syncs once, then calls everybody back.
//!
//! ```text
//! queue ─► encode ─► write ─► sync ─► publish places and tickets ─► callbacks
//!            │ full?
//!            └► write, sync, next segment: head, sync, rename, sync directory ─► go on encoding
//! ```
//!
//! There is no linger timer: what comes while a sync runs is the next batch. The first error is the last:
//! after a failed write or sync nothing is known about what the disk holds, so nothing is tried again.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::LogObserver;
use super::background::Background;
use super::disk::Disk;
use super::files::{Files, Prepared};
use super::index::{Index, Point, Sampler};
use super::queue::{Action, Op, Queue, Work};
use super::record::{Kind, Mark, Record};
use super::segment::{Head, Segment, unfinished};
use super::summary::{Summary, mark_record, vote_record};
use crate::Durability;
use crate::fault_point::{FaultPoint, hit};

/// A segment that is not zero-filled is left for one that is as soon as that is ready, and the next one is
/// asked for only when this much of the current one is used, so that a log that stays small, as in most
/// tests, never pays for 64 MiB of zeros. At 200 MB/s the rest of a segment lasts longer than the filling.
const PREPARE_AFTER: u64 = 1 << 20;
/// A buffer that grew beyond this in one batch is given back.
const KEEP_BUFFER: usize = 4 << 20;

/// What the writer and readers share.
pub(crate) struct Places {
    pub index: Mutex<Index>,
    /// Calls up to this ticket can be read from disk.
    pub written: AtomicU64,
    pub syncs: AtomicU64,
    pub background: Background,
}

/// A change of the index, in the order of the records.
enum Edit {
    Point(Point),
    Truncate(u64),
}

pub(crate) struct Writer<I> {
    pub queue: Arc<Queue<I>>,
    pub places: Arc<Places>,
    pub disk: Arc<dyn Disk>,
    pub dir: PathBuf,
    pub files: Files,
    pub segment_bytes: u64,
    pub durability: Durability,
    pub observer: Option<Arc<dyn LogObserver>>,
    /// The fold over what is written.
    pub summary: Summary,
    pub sampler: Sampler,
    /// The current segment; `end` is where the buffer will go.
    pub segment: Segment,
    /// Up to where the current segment is synced.
    pub synced: u64,
    pub buffer: Vec<u8>,
    pub batch: Batch,
}

/// What one round of the writer amounts to.
#[derive(Default)]
pub(crate) struct Batch {
    edits: Vec<Edit>,
    records: usize,
    bytes: usize,
    /// Whether a callback waits for the sync.
    sync: bool,
    purged: bool,
}

impl<I> Writer<I> {
    pub(crate) fn run(mut self) {
        let mut lull = false;
        let mut spare = Vec::new();
        loop {
            let mut work = self.queue.next(lull, std::mem::take(&mut spare));
            if self.queue.failed().is_some() {
                self.give_up(work.ops);
                return;
            }
            lull = !work.ops.is_empty();
            if let Err(error) = self.perform(&mut work) {
                self.queue.fail(&format!("the log cannot be written: {error}"));
                tracing::error!(%error, file = %self.segment.path.display(), "the log has failed");
                self.give_up(work.ops);
                return;
            }
            for op in work.ops.drain(..) {
                (op.done)(Ok(()));
            }
            if work.closing {
                self.give_up(Vec::new());
                return;
            }
            spare = work.ops;
        }
    }

    /// Answers what waits; nothing more can come, because the queue is closed.
    fn give_up(&self, ops: Vec<Op>) {
        let reason = self.queue.failed().unwrap_or_else(|| "the log is shut down".into());
        for op in ops.into_iter().chain(self.queue.drain()) {
            (op.done)(Err(io::Error::other(reason.clone())));
        }
    }

    fn perform(&mut self, work: &mut Work) -> io::Result<()> {
        self.batch = Batch::default();
        if self.durability == Durability::Relaxed {
            self.synced = self.synced.max(self.places.background.synced(self.segment.seq));
        }
        if self.segment.size < self.segment_bytes && self.files.is_ready() {
            self.roll()?;
        }
        let fsync = self.durability == Durability::Fsync;
        for op in &mut work.ops {
            match &mut op.action {
                Action::Append(records) => {
                    for record in std::mem::take(records) {
                        self.put(&record)?;
                    }
                    self.batch.sync |= fsync;
                }
                Action::Vote(vote) => {
                    hit(FaultPoint::LogVote)?;
                    self.put(&vote_record(vote.clone()))?;
                    self.batch.sync = true;
                }
                Action::Truncate(truncation) => {
                    hit(FaultPoint::LogTruncate)?;
                    self.put(&mark_record(Kind::Truncate, truncation.kept))?;
                    self.batch.sync |= fsync;
                }
                Action::Purge(upto) => {
                    hit(FaultPoint::LogPurge)?;
                    self.put(&mark_record(Kind::Purge, Some(*upto)))?;
                    self.batch.sync = true;
                    self.batch.purged = true;
                }
                Action::Sync => self.batch.sync = true,
            }
        }
        if let Some(committed) = work.committed {
            self.put(&mark_record(Kind::Committed, committed))?;
        }
        self.flush()?;
        if self.batch.sync || work.closing {
            self.sync()?;
        }
        if work.closing {
            // One more record, to say that all before it was synced: after an orderly end every damage is
            // recognised as such.
            let committed: Option<Mark> = self.summary.committed;
            self.put(&mark_record(Kind::Committed, committed))?;
            self.flush()?;
            self.sync()?;
        }
        self.publish(work.ticket);
        if self.segment.end >= PREPARE_AFTER.min(self.segment_bytes / 4) {
            self.files.prepare();
        }
        Ok(())
    }

    /// Encodes a record into the buffer, in the next segment if this one is full.
    fn put(&mut self, record: &Record) -> io::Result<()> {
        let size = record.size();
        let mut offset = self.segment.end + self.buffer.len() as u64;
        if offset + size > self.segment_bytes && offset > self.segment.start {
            self.roll()?;
            offset = self.segment.end;
        }
        let synced = u32::try_from(self.synced).map_err(io::Error::other)?;
        record.encode_into(&mut self.buffer, self.segment.salt, offset, synced);
        self.summary.replay(record).map_err(io::Error::other)?;
        if record.kind == Kind::Truncate {
            self.sampler.truncate();
            self.batch.edits.push(Edit::Truncate(self.summary.next()));
        } else if record.kind.is_entry()
            && let Some(point) = self.sampler.see(record.index, self.segment.seq, offset)
        {
            self.batch.edits.push(Edit::Point(point));
        }
        self.batch.records += 1;
        Ok(())
    }

    /// Writes the buffer.
    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        hit(FaultPoint::LogWrite)?;
        self.segment.file.write_all_at(&self.buffer, self.segment.end)?;
        self.batch.bytes += self.buffer.len();
        self.segment.end += self.buffer.len() as u64;
        self.segment.size = self.segment.size.max(self.segment.end);
        self.buffer.clear();
        self.buffer.shrink_to(KEEP_BUFFER);
        if self.durability == Durability::Relaxed {
            self.places.background.wrote(&self.segment.file, self.segment.end);
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        if self.synced == self.segment.end {
            return Ok(());
        }
        let started = Instant::now();
        hit(FaultPoint::LogSync)?;
        self.segment.file.sync_data()?;
        self.set_synced(started.elapsed());
        hit(FaultPoint::LogSynced)
    }

    fn set_synced(&mut self, took: Duration) {
        self.synced = self.segment.end;
        self.places.background.set_synced(self.segment.seq, self.synced);
        self.places.syncs.fetch_add(1, Ordering::Relaxed);
        if let Some(observer) = &self.observer {
            let records = std::mem::take(&mut self.batch.records);
            observer.synced(took, records, std::mem::take(&mut self.batch.bytes));
        }
    }

    /// Makes the index say what is on disk.
    fn publish(&mut self, ticket: u64) {
        let mut index = self.places.index.lock().unwrap_or_else(PoisonError::into_inner);
        apply(&mut index, &mut self.batch.edits, &self.segment);
        let gone = if self.batch.purged { index.purge(self.summary.purged) } else { Vec::new() };
        drop(index);
        self.places.written.store(ticket, Ordering::Release);
        self.files.unlink(gone.into_iter().map(|segment| segment.path).collect());
    }

    /// Ends this segment, durably, and begins the next.
    fn roll(&mut self) -> io::Result<()> {
        self.flush()?;
        self.sync()?;
        hit(FaultPoint::LogRoll)?;
        let head = Head::new(self.segment.seq + 1, self.summary.clone());
        let segment = begin(&*self.disk, &self.dir, &head, self.files.take())?;
        let mut index = self.places.index.lock().unwrap_or_else(PoisonError::into_inner);
        apply(&mut index, &mut self.batch.edits, &self.segment);
        index.add_segment(segment.clone());
        drop(index);
        self.segment = segment;
        self.synced = self.segment.end;
        self.places.background.set_synced(self.segment.seq, self.synced);
        Ok(())
    }
}

impl<I> Drop for Writer<I> {
    /// A panic, for instance of a callback, must not leave callers waiting for ever.
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.queue.fail("the writer of the log panicked");
            self.give_up(Vec::new());
        }
    }
}

fn apply(index: &mut Index, edits: &mut Vec<Edit>, segment: &Segment) {
    for edit in edits.drain(..) {
        match edit {
            Edit::Point(point) => index.add_point(point),
            Edit::Truncate(next) => index.truncate(next),
        }
    }
    let current = index.current();
    current.end = segment.end;
    current.size = segment.size;
}

/// Makes a segment out of a prepared file, or a new one: the head is durable before the name is.
pub(crate) fn begin(
    disk: &dyn Disk,
    dir: &std::path::Path,
    head: &Head,
    prepared: Option<Prepared>,
) -> io::Result<Segment> {
    let (from, file, size) = match prepared {
        Some(prepared) => (prepared.path, prepared.file, prepared.size),
        None => {
            let path = unfinished(dir, &format!("growing-{}", head.seq));
            let file = disk.create(&path)?;
            (path, file, 0)
        }
    };
    let bytes = head.encode();
    file.write_all_at(&bytes, 0)?;
    hit(FaultPoint::LogHeadSync)?;
    file.sync_data()?;
    let path = dir.join(head.file_name());
    hit(FaultPoint::LogRename)?;
    disk.rename(&from, &path)?;
    hit(FaultPoint::LogDirSync)?;
    disk.sync_dir(dir)?;
    let end = bytes.len() as u64;
    Ok(Segment {
        seq: head.seq,
        base: head.summary.next(),
        salt: head.salt,
        path,
        file,
        start: end,
        end,
        size: size.max(end),
    })
}
