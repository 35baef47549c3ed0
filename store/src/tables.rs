// SPDX-License-Identifier: Apache-2.0
//! The tables that `apply` reads and writes: rows in memory over fjall, written behind.
//!
//! ```text
//! get  ──► hot rows ──► layers ──► fjall          hot: queue rows and counters, decoded
//! put  ──► hot rows or layer, windows, gaps       layers: changed rows that are not in fjall yet, jobs decoded
//! end of a group ► visible to readers, nothing written
//! layer full, or a reader needs it ► one fjall batch with the mark of how far the state has come
//! ```
//!
//! There is one writer and one `FjallTables`. What is not written is in the log, and applied again after a
//! crash. A fault in any method leaves the group half applied: from then on nothing is written (T1), and the
//! process must end. A failed write is fatal too: fjall refuses everything after it, and the batch may be
//! there after a restart.

mod ahead;
mod docs;
mod gaps;
mod hints;
mod hot;
mod layer;
mod layers;
mod ready;
mod rows;
mod view;
mod window;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use fjall::Slice;
use jobbie_broker::codec;
use jobbie_broker::tables::schema::{Docs, Due, DueKey, Jobs, Lane, Meta, MetaRow, Queues, Ready, ReadyKey};
use jobbie_broker::tables::{Key, Pair, Space, Table, Tables};
use jobbie_broker::{Document, Job, JobNo, Queue, QueueKey, Timestamp};

use crate::keyspaces::{Fault, Keyspaces, Members, Position};
use ahead::Ahead;
use docs::DocRows;
pub use docs::{DocKey, TouchedDocs};
pub(crate) use hints::Hints;
use hot::Hot;
pub use hot::TouchedQueues;
pub use layer::Layer;
use layers::Layers;
pub use layers::Turned;
use ready::Within;
pub(crate) use rows::{bounds, pair, read_key};
pub use view::{Row, View};

/// Keys in a window. 4,096 are read in 0.7 ms and take 32 KiB per busy priority of a queue (measured).
pub const WINDOW: usize = 4096;

/// Bytes of changed rows after which they are written. Jobs that live shorter than it takes to change this
/// much are written once, in their last state; twice this much is in memory. One value of several that would
/// do: others were not compared.
const LAYER_BYTES: usize = 16 << 20;
/// Bytes of log after which changed rows are written, however few they are: what is applied again after a
/// crash. A second of work at 100,000 commands of 160 bytes.
const LAYER_LOG_BYTES: usize = 16 << 20;

/// The tables of `broker`, on fjall.
pub struct FjallTables {
    disk: Disk,
    hot: Hot,
    docs: DocRows,
    hints: Arc<Hints>,
    /// A group is being applied, or has failed (T1).
    in_group: bool,
    key: Vec<u8>,
    row: Vec<u8>,
}

/// The database with the changed rows over it.
struct Disk {
    keyspaces: Keyspaces,
    layers: Layers,
    ahead: Ahead,
}

/// What a group made visible.
#[derive(Debug)]
pub struct Committed {
    /// Queue rows that changed.
    pub queues: TouchedQueues,
    /// The counters, if they changed.
    pub meta: Option<MetaRow>,
    /// Documents that were written or removed.
    pub docs: TouchedDocs,
}

impl FjallTables {
    /// The tables of a state, with windows of at most `window` keys ([`WINDOW`], less in tests).
    ///
    /// # Errors
    /// If the queue rows or the counters cannot be read.
    pub fn load(keyspaces: Keyspaces, window: usize) -> Result<Self, Fault> {
        let view = View::new(keyspaces.clone());
        let (start, end) = bounds(Space::Queues, &[], None);
        let queues: Result<BTreeMap<_, _>, Fault> = view
            .range::<Queues>((&start, &end))
            .map(|found| pair::<Queues>(&found?).map(|(key, queue)| (key, Arc::new(queue))))
            .collect();
        let hot = Hot::new(queues?, view.row::<Meta>(&())?);
        let disk = Disk { keyspaces, layers: Layers::new(), ahead: Ahead::new() };
        let (start, end) = bounds(Space::Docs, &[], None);
        let docs: Result<BTreeMap<_, _>, Fault> = view
            .range::<Docs>((&start, &end))
            .map(|found| pair::<Docs>(&found?).map(|(key, document)| (key, Arc::new(document))))
            .collect();
        let (hints, docs) = (Arc::new(Hints::new(window)), DocRows::new(docs?));
        Ok(Self { disk, hot, docs, hints, in_group: false, key: Vec::new(), row: Vec::new() })
    }

    /// All queue rows.
    #[must_use]
    pub fn queues(&self) -> &BTreeMap<QueueKey, Arc<Queue>> {
        self.hot.queues()
    }

    /// All documents.
    #[must_use]
    pub fn docs(&self) -> &BTreeMap<DocKey, Arc<Document>> {
        self.docs.rows()
    }

    /// The counters.
    #[must_use]
    pub fn meta(&self) -> MetaRow {
        self.hot.meta().unwrap_or_default()
    }

    pub(crate) const fn hints(&self) -> &Arc<Hints> {
        &self.hints
    }

    /// Begins a group. Unless it is ended, nothing is ever written again.
    pub const fn begin_group(&mut self) {
        self.in_group = true;
    }

    /// Ends a group of entries that took `log_bytes` of log and bring the state to `applied`.
    pub fn end_group(&mut self, applied: Position, members: Option<&Members>, log_bytes: usize) -> Committed {
        self.in_group = false;
        let (queues, meta) = self.hot.end_group();
        self.disk.layers.growing.reach(applied, members, log_bytes);
        Committed { queues, meta: meta.map(Option::unwrap_or_default), docs: self.docs.keep() }
    }

    /// # Errors
    /// If a group has failed.
    pub(crate) const fn check(&self) -> Result<(), Fault> {
        if self.in_group { Err(Fault::Stopped) } else { Ok(()) }
    }

    /// Nothing is written or answered any more.
    pub(crate) const fn fail(&mut self) {
        self.in_group = true;
    }

    /// True if so much has changed that it should be written.
    pub(crate) fn is_full(&self) -> bool {
        let growing = &self.disk.layers.growing;
        growing.bytes() >= LAYER_BYTES || growing.log_bytes() >= LAYER_LOG_BYTES
    }

    /// True if as much again has changed while a layer is being written: apply must wait for it.
    pub(crate) fn is_behind(&self) -> bool {
        let growing = &self.disk.layers.growing;
        growing.bytes() >= 2 * LAYER_BYTES || growing.log_bytes() >= 2 * LAYER_LOG_BYTES
    }

    /// How far the state has come, if not all of it is in the database.
    pub(crate) fn unwritten(&self) -> Option<Position> {
        self.disk.layers.growing.applied()
    }

    /// What has changed since the last layer, to be written by the caller, who then says so with
    /// [`Self::set_written`]; `None` if nothing has. The last layer must be written.
    ///
    /// # Errors
    /// If a group has failed (T1).
    pub fn take_layer(&mut self) -> Result<Option<Turned>, Fault> {
        self.check()?;
        if self.unwritten().is_none() {
            return Ok(None);
        }
        let (queues, meta) = self.hot.end_layer();
        self.disk.layers.growing.seal(queues, meta);
        Ok(Some(self.disk.layers.turn()))
    }

    /// About how many bytes of changed rows are in memory and not in the database.
    #[must_use]
    pub const fn memory(&self) -> usize {
        self.disk.layers.growing.bytes()
    }

    /// Notes that a layer is in the database.
    pub const fn set_written(&mut self) {
        self.disk.layers.set_written();
    }

    /// Writes what is not in the database yet. For one who has the tables alone.
    ///
    /// # Errors
    /// If a group has failed, or fjall does.
    pub fn write(&mut self) -> Result<(), Fault> {
        if let Some(layer) = self.take_layer()? {
            layer.full.write(&self.disk.keyspaces)?;
            self.set_written();
        }
        Ok(())
    }

    /// What was done to a row since it was in the database last.
    pub(crate) fn changed<T: Table>(&self, key: &T::Key) -> Result<Option<Option<T::Row>>, Fault> {
        if T::SPACE == Space::Jobs {
            let job = self.disk.layers.job(*rows::same(key));
            return Ok(job.map(|job| rows::moved::<Option<Arc<Job>>, _>(job.cloned())));
        }
        let key = rows::key::<T>(key);
        let changed = self.disk.layers.get(T::SPACE, &key);
        changed.map(|row| row.map(|row| rows::row::<T>(&key, row)).transpose()).transpose()
    }

    fn set<T: Table>(&mut self, key: &T::Key, row: &T::Row, is_new: bool) {
        match T::SPACE {
            Space::Queues => return self.hot.set_queue(rows::same(key), Some(Queue::clone(rows::same(row)))),
            Space::Meta => return self.hot.set_meta(Some(*rows::same(row))),
            Space::Jobs => {
                let job: &Arc<Job> = rows::same(row);
                self.disk.ahead.forget(job.no);
                return self.disk.layers.growing.put_job(job.clone(), is_new);
            }
            _ => {}
        }
        rows::write_key::<T>(key, &mut self.key);
        self.row.clear();
        codec::encode_into(row, &mut self.row);
        self.disk.layers.growing.put(T::SPACE, &self.key, Slice::from(self.row.as_slice()), is_new);
        self.note::<T>(key, true);
        if T::SPACE == Space::Docs {
            self.docs.set(rows::same(key), Some(rows::same(row)));
        }
    }

    /// Tells windows and gaps of a key that `write` has just written.
    fn note<T: Table>(&self, key: &T::Key, there: bool) {
        match T::SPACE {
            Space::Ready => {
                let key: &ReadyKey = rows::same(key);
                let ready = &mut self.hints.windows().ready;
                if there { ready.put(key) } else { ready.delete(key) }
            }
            Space::Due => {
                let key: &DueKey = rows::same(key);
                let mut windows = self.hints.windows();
                let window = windows.due(key.lane);
                if there { window.put(*key) } else { window.delete(*key) }
            }
            _ => {}
        }
        self.hints.gaps(T::SPACE, |gaps| if there { gaps.put(&self.key) } else { gaps.delete(&self.key) });
    }

    /// The first timer of a lane.
    pub(crate) fn peek_due(&mut self, lane: Lane) -> Result<Option<DueKey>, Fault> {
        let mut windows = self.hints.windows();
        windows.due(lane).first(|after, limit| {
            let from = after.map(|key| {
                let mut from = key.bytes();
                from.push(0);
                from
            });
            let (start, end) = bounds(Space::Due, &[lane as u8], from.as_deref());
            self.disk.keys::<Due>((&start, &end), limit)
        })
    }
}

impl Disk {
    fn job(&mut self, no: JobNo) -> Result<Option<Arc<Job>>, Fault> {
        if let Some(job) = self.layers.job(no) {
            return Ok(job.cloned());
        }
        let key = rows::key::<Jobs>(&no);
        let row = match self.ahead.take(no) {
            Some(row) => Some(row),
            None => self.read_job(no, &key)?,
        };
        row.map(|row| rows::row::<Jobs>(&key, &row)).transpose()
    }

    /// Reads a job from the database, and those behind it if it looks as if they were next.
    fn read_job(&mut self, no: JobNo, key: &[u8]) -> Result<Option<Slice>, Fault> {
        let jobs = self.keyspaces.of(Space::Jobs);
        let wanted = self.ahead.wanted(no);
        if wanted == 1 {
            self.ahead.keep(VecDeque::new(), 1, no);
            return Ok(jobs.get(key)?);
        }
        let (_, end) = bounds(Space::Jobs, &[], None);
        let (mut found, mut read, mut last) = (None, 0, no);
        let mut behind = VecDeque::with_capacity(wanted);
        for guard in jobs.range(key..end.as_slice()).take(wanted) {
            let (key, row) = guard.into_inner()?;
            last = read_key::<Jobs>(&key)?;
            read += 1;
            if last == no {
                found = Some(row);
            } else if self.layers.job(last).is_none() {
                behind.push_back((last, row));
            }
        }
        self.ahead.keep(behind, read, last);
        Ok(found)
    }

    fn keys<T: Table>(&self, bounds: (&[u8], &[u8]), limit: usize) -> Result<Vec<T::Key>, Fault> {
        let found = self.layers.scan(&self.keyspaces, T::SPACE, bounds, limit)?;
        found.iter().map(|(key, _)| read_key::<T>(key)).collect()
    }
}

impl Tables for FjallTables {
    type Fault = Fault;

    fn get<T: Table>(&mut self, key: &T::Key) -> Result<Option<T::Row>, Fault> {
        match T::SPACE {
            Space::Queues => return Ok(rows::moved::<Option<Queue>, _>(self.hot.queue(rows::same(key)))),
            Space::Meta => return Ok(rows::moved::<Option<MetaRow>, _>(self.hot.meta())),
            Space::Jobs => {
                return Ok(rows::moved::<Option<Arc<Job>>, _>(self.disk.job(*rows::same(key))?));
            }
            _ => {}
        }
        rows::write_key::<T>(key, &mut self.key);
        if let Some(changed) = self.disk.layers.get(T::SPACE, &self.key) {
            return changed.map(|row| rows::row::<T>(&self.key, row)).transpose();
        }
        let row = self.disk.keyspaces.of(T::SPACE).get(&self.key)?;
        row.map(|row| rows::row::<T>(&self.key, &row)).transpose()
    }

    fn put<T: Table>(&mut self, key: &T::Key, row: &T::Row) -> Result<(), Fault> {
        self.set::<T>(key, row, false);
        Ok(())
    }

    fn insert<T: Table>(&mut self, key: &T::Key, row: &T::Row) -> Result<(), Fault> {
        self.set::<T>(key, row, true);
        Ok(())
    }

    fn delete<T: Table>(&mut self, key: &T::Key) -> Result<(), Fault> {
        match T::SPACE {
            Space::Queues => {
                let key: &QueueKey = rows::same(key);
                self.hot.set_queue(key, None);
                self.hints.windows().ready.cool(key);
            }
            Space::Meta => self.hot.set_meta(None),
            Space::Jobs => {
                self.disk.ahead.forget(*rows::same(key));
                self.disk.layers.growing.delete_job(*rows::same(key));
            }
            _ => {
                rows::write_key::<T>(key, &mut self.key);
                self.disk.layers.growing.delete(T::SPACE, &self.key);
                self.note::<T>(key, false);
                if T::SPACE == Space::Docs {
                    self.docs.set(rows::same(key), None);
                }
            }
        }
        Ok(())
    }

    fn scan<T: Table>(
        &mut self,
        prefix: &[u8],
        from: Option<&T::Key>,
        limit: usize,
    ) -> Result<Vec<Pair<T>>, Fault> {
        match T::SPACE {
            Space::Queues => {
                let found = self.hot.scan(prefix, from.map(rows::same), limit);
                return Ok(rows::moved::<Vec<Pair<Queues>>, _>(found));
            }
            Space::Meta => {
                let found: Vec<Pair<Meta>> =
                    self.hot.meta().map(|meta| ((), meta)).into_iter().take(limit).collect();
                return Ok(if prefix.is_empty() { rows::moved(found) } else { Vec::new() });
            }
            _ => {}
        }
        let from = from.map(Key::bytes);
        let (asked, end) = bounds(T::SPACE, prefix, from.as_deref());
        let mut start = asked.clone();
        self.hints.skip(T::SPACE, &mut start);
        let found = self.disk.layers.scan(&self.disk.keyspaces, T::SPACE, (&start, &end), limit)?;
        if limit > 0 {
            let first: &[u8] = found.first().map_or(&end, |(key, _)| key);
            self.hints.gaps(T::SPACE, |gaps| gaps.add(&asked, first));
        }
        found.iter().map(pair::<T>).collect()
    }

    fn first_ready(&mut self, queue: &QueueKey) -> Result<Option<ReadyKey>, Fault> {
        let disk = &self.disk;
        self.hints.windows().ready.first(queue, |queue: &QueueKey, rank, job, within, limit| {
            let prefix = match within {
                Within::Rank => ReadyKey::band_prefix(queue, rank),
                Within::Queue => ReadyKey::queue_prefix(queue),
            };
            let from = ReadyKey { queue: queue.clone(), rank, job }.bytes();
            let (start, end) = bounds(Space::Ready, &prefix, Some(&from));
            disk.keys::<Ready>((&start, &end), limit)
        })
    }

    fn first_due(&mut self, lane: Lane, until: Timestamp) -> Result<Option<DueKey>, Fault> {
        Ok(self.peek_due(lane)?.filter(|key| key.at <= until))
    }
}
