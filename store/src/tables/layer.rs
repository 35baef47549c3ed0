// SPDX-License-Identifier: Apache-2.0
//! Rows that were changed in memory and are written to the database together.
//!
//! What is written, overwritten and deleted within one layer cancels out: of a job that is enqueued, fetched
//! and acknowledged meanwhile the database sees one row and one index key, the last ones.
//!
//! L1: a row without `below` was inserted here, and no layer below, nor the database, has its key. When it is
//! deleted nothing is left of it; every other deleted row leaves a mark that hides what is below.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use fjall::Slice;
use jobbie_broker::body::Body;
use jobbie_broker::tables::Space;
use jobbie_broker::tables::schema::{Jobs, Meta, MetaRow, Queues};
use jobbie_broker::{Job, JobNo, Queue, codec};

use super::hot::TouchedQueues;
use super::rows;
use crate::fault_point::{FaultPoint, hit};
use crate::keyspaces::{Fault, Keyspaces, Members, Position};

/// What a row takes beside its key and its bytes: the entry in a tree's node.
const ENTRY: usize = 96;

/// A row of a layer.
#[derive(Clone, Debug)]
struct Entry<R> {
    /// `None` for a deleted one.
    row: Option<R>,
    /// False if the key is known not to be further below (L1).
    below: bool,
}

/// Changed rows by table. Jobs are kept as they are and encoded when they are written; other rows are bytes
/// under the key they have in their keyspace.
#[derive(Debug)]
pub struct Layer {
    jobs: BTreeMap<JobNo, Entry<Arc<Job>>>,
    spaces: [BTreeMap<Slice, Entry<Slice>>; Space::ALL.len()],
    queues: TouchedQueues,
    meta: Option<Option<MetaRow>>,
    members: Option<Members>,
    applied: Option<Position>,
    bytes: usize,
    log_bytes: usize,
}

/// A changed row: its key, and the row unless it was deleted.
pub(crate) type Changed = (Slice, Option<Slice>);

impl Layer {
    pub(crate) fn new() -> Self {
        Self {
            jobs: BTreeMap::new(),
            spaces: std::array::from_fn(|_| BTreeMap::new()),
            queues: Vec::new(),
            meta: None,
            members: None,
            applied: None,
            bytes: 0,
            log_bytes: 0,
        }
    }

    /// About how much memory it takes.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes of log that were applied to it.
    pub(crate) const fn log_bytes(&self) -> usize {
        self.log_bytes
    }

    /// How far the state has come with this layer; `None` for a layer without a finished group.
    pub(crate) const fn applied(&self) -> Option<Position> {
        self.applied
    }

    /// Notes how far the state has come, by so many more bytes of log.
    pub(crate) fn reach(&mut self, applied: Position, members: Option<&Members>, log_bytes: usize) {
        self.log_bytes += log_bytes;
        self.applied = Some(applied);
        if let Some(members) = members {
            self.members = Some(members.clone());
        }
    }

    /// Adds the rows that are kept apart while the layer grows: those that nearly every group changes.
    pub(crate) fn seal(&mut self, queues: TouchedQueues, meta: Option<Option<MetaRow>>) {
        self.queues = queues;
        self.meta = meta;
    }

    /// What was done to a job: nothing, or it was written, or deleted.
    pub(crate) fn job(&self, no: JobNo) -> Option<Option<&Arc<Job>>> {
        self.jobs.get(&no).map(|entry| entry.row.as_ref())
    }

    /// What was done to a key: nothing, or a row was written, or deleted.
    pub(crate) fn get(&self, space: Space, key: &[u8]) -> Option<Option<&Slice>> {
        self.spaces[space as usize - 1].get(key).map(|entry| entry.row.as_ref())
    }

    /// Writes a job. `is_new` promises that there is none of this number.
    pub(crate) fn put_job(&mut self, job: Arc<Job>, is_new: bool) {
        self.bytes += weight(&job);
        let entry = self.jobs.entry(job.no).or_insert(Entry { row: None, below: !is_new });
        if let Some(old) = entry.row.replace(job) {
            self.bytes = self.bytes.saturating_sub(weight(&old));
        }
    }

    /// Deletes a job.
    pub(crate) fn delete_job(&mut self, no: JobNo) {
        match self.jobs.get_mut(&no) {
            Some(entry) if entry.below => {
                let old = entry.row.take();
                self.bytes = self.bytes.saturating_sub(old.as_deref().map_or(0, weight));
            }
            Some(_) => {
                let old = self.jobs.remove(&no).and_then(|entry| entry.row);
                self.bytes = self.bytes.saturating_sub(old.as_deref().map_or(0, weight));
            }
            None => {
                self.bytes += ENTRY;
                self.jobs.insert(no, Entry { row: None, below: true });
            }
        }
    }

    /// Writes a row. `is_new` promises that there is none with this key.
    pub(crate) fn put(&mut self, space: Space, key: &[u8], row: Slice, is_new: bool) {
        let rows = &mut self.spaces[space as usize - 1];
        self.bytes += row.len();
        if let Some(entry) = rows.get_mut(key) {
            let old = entry.row.replace(row);
            self.bytes = self.bytes.saturating_sub(old.map_or(0, |old| old.len()));
        } else {
            self.bytes += ENTRY + key.len();
            rows.insert(Slice::from(key), Entry { row: Some(row), below: !is_new });
        }
    }

    /// Deletes a row.
    pub(crate) fn delete(&mut self, space: Space, key: &[u8]) {
        let rows = &mut self.spaces[space as usize - 1];
        match rows.get_mut(key) {
            Some(entry) if entry.below => {
                let old = entry.row.take();
                self.bytes = self.bytes.saturating_sub(old.map_or(0, |old| old.len()));
            }
            Some(_) => {
                let old = rows.remove(key).and_then(|entry| entry.row);
                self.bytes = self.bytes.saturating_sub(ENTRY + key.len() + old.map_or(0, |old| old.len()));
            }
            None => {
                self.bytes += ENTRY + key.len();
                rows.insert(Slice::from(key), Entry { row: None, below: true });
            }
        }
    }

    /// What was done between two keys, in order.
    pub(crate) fn range<'a>(
        &'a self,
        space: Space,
        (start, end): (&'a [u8], &'a [u8]),
    ) -> Box<dyn Iterator<Item = Changed> + 'a> {
        if space == Space::Jobs {
            // Only checks walk over jobs: apply reads them by number.
            let jobs = self.jobs.iter().map(|(no, entry)| {
                let row = entry.row.as_deref().map(|job| Slice::from(codec::encode(job)));
                (Slice::from(rows::key::<Jobs>(no)), row)
            });
            return Box::new(jobs.filter(move |(key, _)| start <= &**key && &**key < end));
        }
        let bounds = (Bound::Included(start), Bound::Excluded(end));
        let rows = self.spaces[space as usize - 1].range::<[u8], _>(bounds);
        Box::new(rows.map(|(key, entry)| (key.clone(), entry.row.clone())))
    }

    /// Writes all of it into the database: rows and how far they bring the state, or nothing.
    ///
    /// # Errors
    /// If fjall fails. It refuses everything after that, and after a restart the rows may be there or not.
    pub fn write(&self, keyspaces: &Keyspaces) -> Result<(), Fault> {
        let Some(applied) = self.applied else { return Ok(()) };
        let spaces = self.spaces.iter().map(BTreeMap::len).sum::<usize>();
        let mut batch = keyspaces.batch(self.jobs.len() + spaces + self.queues.len() + 6);
        let mut bytes = Vec::with_capacity(1024);
        let jobs = keyspaces.of(Space::Jobs);
        for (no, entry) in &self.jobs {
            let key = rows::key::<Jobs>(no);
            match entry.row.as_deref() {
                Some(job) => batch.insert(jobs, key, encoded(job, &mut bytes)),
                None => batch.remove(jobs, key),
            }
        }
        for space in Space::ALL {
            let keyspace = keyspaces.of(space);
            for (key, entry) in &self.spaces[space as usize - 1] {
                match &entry.row {
                    Some(row) => batch.insert(keyspace, key.clone(), row.clone()),
                    None => batch.remove(keyspace, key.clone()),
                }
            }
        }
        let small = keyspaces.of(Space::Queues);
        for (key, queue) in &self.queues {
            let key: Vec<u8> = rows::key::<Queues>(key);
            match queue.as_deref() {
                Some(queue) => batch.insert(small, key, encoded::<Queue>(queue, &mut bytes)),
                None => batch.remove(small, key),
            }
        }
        match &self.meta {
            Some(Some(meta)) => batch.insert(small, rows::key::<Meta>(&()), encoded(meta, &mut bytes)),
            Some(None) => batch.remove(small, rows::key::<Meta>(&())),
            None => {}
        }
        keyspaces.put_applied(&mut batch, applied);
        if let Some(members) = &self.members {
            keyspaces.put_members(&mut batch, members);
        }
        let failed = || Fault::io("write changed rows to", keyspaces.path());
        hit(FaultPoint::StateFlush).map_err(failed())?;
        batch.commit()?;
        hit(FaultPoint::StateFlushed).map_err(failed())
    }
}

fn encoded<R: serde::Serialize>(row: &R, bytes: &mut Vec<u8>) -> Slice {
    bytes.clear();
    codec::encode_into(row, bytes);
    Slice::from(bytes.as_slice())
}

/// About how many bytes a job takes in memory.
fn weight(job: &Job) -> usize {
    let inline = |body: &Body| if let Body::Inline(json) = body { json.len() } else { 0 };
    let bodies: usize = job.bodies().map(|(_, body)| inline(body)).sum();
    let errors = job.errors.iter().map(|e| e.error.len() + e.backtrace.as_ref().map_or(0, String::len));
    let tags = job.options.tags.iter().map(|(name, value)| name.len() + value.len() + ENTRY);
    let lines = size_of_val(job.timeline.as_slice());
    ENTRY + size_of::<Job>() + bodies + lines + errors.sum::<usize>() + tags.sum::<usize>()
}
