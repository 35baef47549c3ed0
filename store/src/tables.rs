// SPDX-License-Identifier: Apache-2.0
//! The tables that `apply` reads and writes, on fjall.
//!
//! ```text
//! get  ──► hot rows ──► overlay ──► fjall          hot: queue rows and counters, decoded
//! put  ──► hot rows or overlay, windows, gaps      overlay: the group's rows, not yet committed
//! commit ► one fjall batch with the mark of how far the state has come
//! ```
//!
//! There is one writer and one `FjallTables`. A fault in any method leaves the group half applied: it must
//! be [discarded](FjallTables::discard) or, as the state machine does, the process must end. A failed commit
//! is always fatal: fjall refuses everything after it, and the batch may be there after a restart.

mod gaps;
mod hints;
mod hot;
mod overlay;
mod ready;
mod rows;
mod view;
mod window;

use std::collections::BTreeMap;
use std::sync::Arc;

use fjall::Slice;
use jobbie_broker::codec;
use jobbie_broker::tables::schema::{Due, DueKey, Lane, Meta, MetaRow, Queues, Ready, ReadyKey};
use jobbie_broker::tables::{Key, Pair, Space, Table, Tables};
use jobbie_broker::{Queue, QueueKey, Timestamp};

use crate::keyspaces::{Fault, Keyspaces, Members, Position};
pub(crate) use hints::Hints;
use hot::Hot;
pub use hot::TouchedQueues;
use overlay::Overlay;
use ready::Within;
pub(crate) use rows::{bounds, pair, read_key};
pub use view::{Row, View};

/// Keys in a window. 4,096 are read in 0.7 ms and take 32 KiB per busy priority of a queue (measured).
pub const WINDOW: usize = 4096;

/// The tables of `broker`, on fjall.
pub struct FjallTables {
    disk: Disk,
    hot: Hot,
    hints: Arc<Hints>,
    key: Vec<u8>,
    row: Vec<u8>,
}

/// Committed rows with the group's over them.
struct Disk {
    keyspaces: Keyspaces,
    overlay: Overlay,
}

/// What a commit made visible.
#[derive(Debug)]
pub struct Committed {
    /// Queue rows that changed.
    pub queues: TouchedQueues,
    /// The counters, if they changed.
    pub meta: Option<MetaRow>,
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
        let disk = Disk { keyspaces, overlay: Overlay::new() };
        Ok(Self { disk, hot, hints: Arc::new(Hints::new(window)), key: Vec::new(), row: Vec::new() })
    }

    /// All queue rows, the group's changes included.
    #[must_use]
    pub fn queues(&self) -> &BTreeMap<QueueKey, Arc<Queue>> {
        self.hot.queues()
    }

    /// The counters, the group's changes included.
    #[must_use]
    pub fn meta(&self) -> MetaRow {
        self.hot.meta().unwrap_or_default()
    }

    pub(crate) const fn hints(&self) -> &Arc<Hints> {
        &self.hints
    }

    /// Commits the group: all of it and how far it brings the state, or nothing.
    ///
    /// # Errors
    /// If fjall fails. Nothing may be applied after that.
    pub fn commit(&mut self, applied: Position, members: Option<&Members>) -> Result<Committed, Fault> {
        let (queues, meta) = self.hot.touched();
        for (key, queue) in &queues {
            self.write::<Queues>(key, queue.as_deref());
        }
        if let Some(meta) = &meta {
            self.write::<Meta>(&(), meta.as_ref());
        }
        let mut batch = self.disk.keyspaces.batch(self.disk.overlay.len() + 5);
        self.disk.overlay.drain_into(&self.disk.keyspaces, &mut batch);
        self.disk.keyspaces.put_applied(&mut batch, applied);
        if let Some(members) = members {
            self.disk.keyspaces.put_members(&mut batch, members);
        }
        batch.commit()?;
        self.hot.keep();
        self.disk.keyspaces.bound_memory()?;
        for lane in [Lane::Timers, Lane::Leases] {
            self.peek_due(lane)?;
        }
        Ok(Committed { queues, meta: meta.map(Option::unwrap_or_default) })
    }

    /// Forgets the group, and with it all windows and gaps: what is next is found on disk again.
    pub fn discard(&mut self) {
        self.disk.overlay.clear();
        self.hot.discard();
        self.hints.clear();
    }

    fn write<T: Table>(&mut self, key: &T::Key, row: Option<&T::Row>) {
        rows::write_key::<T>(key, &mut self.key);
        let row = row.map(|row| {
            self.row.clear();
            codec::encode_into(row, &mut self.row);
            Slice::from(self.row.as_slice())
        });
        self.disk.overlay.set(T::SPACE, &self.key, row);
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

    /// The first timer of a lane. Called after every commit too, so that readers are never sent to a place
    /// far before the first timer: each deleted key is passed once here, and not at all there.
    fn peek_due(&mut self, lane: Lane) -> Result<Option<DueKey>, Fault> {
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
    fn keys<T: Table>(&self, bounds: (&[u8], &[u8]), limit: usize) -> Result<Vec<T::Key>, Fault> {
        let found = self.overlay.scan(&self.keyspaces, T::SPACE, bounds, limit)?;
        found.iter().map(|(key, _)| read_key::<T>(key)).collect()
    }
}

impl Tables for FjallTables {
    type Fault = Fault;

    fn get<T: Table>(&mut self, key: &T::Key) -> Result<Option<T::Row>, Fault> {
        match T::SPACE {
            Space::Queues => return Ok(rows::moved::<Option<Queue>, _>(self.hot.queue(rows::same(key)))),
            Space::Meta => return Ok(rows::moved::<Option<MetaRow>, _>(self.hot.meta())),
            _ => {}
        }
        rows::write_key::<T>(key, &mut self.key);
        if let Some(written) = self.disk.overlay.get(T::SPACE, &self.key) {
            return written.map(|row| rows::row::<T>(&self.key, row)).transpose();
        }
        let row = self.disk.keyspaces.of(T::SPACE).get(&self.key)?;
        row.map(|row| rows::row::<T>(&self.key, &row)).transpose()
    }

    fn put<T: Table>(&mut self, key: &T::Key, row: &T::Row) -> Result<(), Fault> {
        match T::SPACE {
            Space::Queues => self.hot.set_queue(rows::same(key), Some(Queue::clone(rows::same(row)))),
            Space::Meta => self.hot.set_meta(Some(*rows::same(row))),
            _ => {
                self.write::<T>(key, Some(row));
                self.note::<T>(key, true);
            }
        }
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
            _ => {
                self.write::<T>(key, None);
                self.note::<T>(key, false);
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
        let found = self.disk.overlay.scan(&self.disk.keyspaces, T::SPACE, (&start, &end), limit)?;
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
