// SPDX-License-Identifier: Apache-2.0
//! What a command works with: the tables, the time, the rows it keeps at hand and the news it makes.
//!
//! Queue rows and the counters of the broker are read once and written once per Raft entry, however many
//! submissions touch them. Nothing outside sees the tables in between, and a fault in between stops the
//! node before anything of the entry is made durable.

use std::collections::BTreeMap;

use super::Entry;
use crate::event::{Event, QueueEvent, QueueNews};
use crate::id::{JobNo, JobRef, Name, QueueKey, mix};
use crate::job::Job;
use crate::queue::Queue;
use crate::reject::Reject;
use crate::scope::Scope;
use crate::state::StateKind;
use crate::tables::Tables;
use crate::tables::schema::{Ids, Jobs, Meta, MetaRow, Queues};
use crate::time::Timestamp;

use super::settle::Open;

/// One Raft entry being applied.
pub struct Context<'t, T> {
    pub tables: &'t mut T,
    /// The time of the entry, never before that of an earlier one.
    pub now: Timestamp,
    /// The principal of the present submission.
    pub by: Name,
    /// The namespace of the present submission.
    pub namespace: Name,
    /// The queues that its principal may touch.
    scope: Scope,
    /// The counters of the broker.
    pub meta: MetaRow,
    stored_meta: MetaRow,
    seed: u64,
    queues: BTreeMap<QueueKey, Slot>,
    events: Vec<Event>,
}

/// A queue's row at hand.
struct Slot {
    row: Option<Queue>,
    changed: bool,
}

impl<'t, T: Tables> Context<'t, T> {
    pub fn open(tables: &'t mut T, at: Timestamp, by: &Name, namespace: &Name) -> Result<Self, T::Fault> {
        let stored_meta = tables.get::<Meta>(&())?.unwrap_or_default();
        let now = at.max(stored_meta.last_at);
        Ok(Self {
            tables,
            now,
            by: by.clone(),
            namespace: namespace.clone(),
            scope: Scope::ALL,
            meta: MetaRow { last_at: now, ..stored_meta },
            stored_meta,
            seed: 0,
            queues: BTreeMap::new(),
            events: Vec::new(),
        })
    }

    /// Turns to the next submission.
    pub fn begin(&mut self, entry: &Entry<'_>) {
        self.seed = entry.seed;
        self.by.clone_from(entry.by);
        self.namespace.clone_from(entry.namespace);
        self.scope.clone_from(entry.scope);
    }

    /// Writes what is at hand.
    pub fn close(self) -> Result<(), T::Fault> {
        for (key, slot) in self.queues {
            match slot.row {
                _ if !slot.changed => {}
                Some(row) => self.tables.put::<Queues>(&key, &row)?,
                None => self.tables.delete::<Queues>(&key)?,
            }
        }
        if self.meta != self.stored_meta {
            self.tables.put::<Meta>(&(), &self.meta)?;
        }
        Ok(())
    }

    /// The seed's random number for a job. It depends on the job, not on the order of items, so that a batch
    /// does what its items would do one by one.
    pub fn random(&self, job: JobNo) -> u64 {
        mix(self.seed ^ mix(job.0))
    }

    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    pub fn tell(&mut self, event: Event) {
        self.events.push(event);
    }

    /// Whether the principal may touch a queue that it names.
    pub fn may_touch(&self, queue: &Name) -> Result<(), Reject> {
        if self.scope.allows(queue) { Ok(()) } else { Err(Reject::outside(queue)) }
    }

    /// True if the principal may touch every queue.
    pub const fn sees_everything(&self) -> bool {
        self.scope.is_all()
    }

    /// True if the principal may know of that job.
    pub fn sees(&self, job: &Job) -> bool {
        self.scope.allows(&job.queue)
    }

    /// A queue of the submission's namespace.
    pub fn queue_key(&self, queue: &Name) -> QueueKey {
        QueueKey::new(&self.namespace, queue)
    }

    fn slot(&mut self, key: &QueueKey) -> Result<&mut Slot, T::Fault> {
        if !self.queues.contains_key(key) {
            let row = self.tables.get::<Queues>(key)?;
            self.queues.insert(key.clone(), Slot { row, changed: false });
        }
        Ok(self.queues.get_mut(key).expect("it was put in above"))
    }

    /// A queue's row, to read.
    pub fn queue(&mut self, key: &QueueKey) -> Result<Option<&Queue>, T::Fault> {
        Ok(self.slot(key)?.row.as_ref())
    }

    /// A queue's row, to change; an unknown queue is created and announced.
    pub fn queue_mut(&mut self, key: &QueueKey) -> Result<&mut Queue, T::Fault> {
        if self.slot(key)?.row.is_none() {
            self.tell_queue(key, QueueNews::Created);
        }
        let created_at = self.now;
        let slot = self.slot(key)?;
        slot.changed = true;
        Ok(slot.row.get_or_insert_with(|| Queue { created_at, ..Queue::default() }))
    }

    /// Removes a queue's row.
    pub fn drop_queue(&mut self, key: &QueueKey) -> Result<(), T::Fault> {
        let slot = self.slot(key)?;
        *slot = Slot { row: None, changed: true };
        self.tell_queue(key, QueueNews::Deleted);
        Ok(())
    }

    pub fn tell_queue(&mut self, key: &QueueKey, news: QueueNews) {
        let (namespace, queue) = (key.namespace.clone(), key.queue.clone());
        self.tell(Event::Queue(QueueEvent { news, at: self.now, namespace, queue }));
    }

    /// Whether a queue accepts a new job from outside.
    pub fn accepts(&mut self, key: &QueueKey) -> Result<Result<(), Reject>, T::Fault> {
        Ok(match self.queue(key)? {
            Some(queue) if queue.deleting => Err(Reject::deleting(&key.queue)),
            Some(queue) if queue.draining_at.is_some() => Err(Reject::draining(&key.queue)),
            _ => Ok(()),
        })
    }

    /// A job by number, whatever its namespace.
    pub fn job(&mut self, no: JobNo) -> Result<Option<Open>, T::Fault> {
        Ok(self.tables.get::<Jobs>(&no)?.map(Open::new))
    }

    /// The job that a caller names, within the submission's namespace and the caller's queues: outside of them
    /// no job exists. It may be one that is cleared.
    pub fn find(&mut self, job: &JobRef) -> Result<Option<Open>, T::Fault> {
        Ok(self.find_anywhere(job)?.filter(|open| self.sees(&open.job)))
    }

    /// The job that a caller names, also outside of the caller's queues.
    pub fn find_anywhere(&mut self, job: &JobRef) -> Result<Option<Open>, T::Fault> {
        if let JobRef::Given(no, created_at) = job
            && let Some(open) = self.job(*no)?
            && open.job.created_at == *created_at
            && open.job.namespace == self.namespace
        {
            return Ok(Some(open));
        }
        // An id that looks like one of ours may still have been chosen by a caller.
        let chosen = match job {
            JobRef::Chosen(id) => id.clone(),
            JobRef::Given(..) => job.to_string().into(),
        };
        match self.tables.get::<Ids>(&(self.namespace.clone(), chosen))? {
            Some(row) => self.job(row.first.job.no),
            None => Ok(None),
        }
    }

    /// The job that a person names: a cleared job, or one that goes down with its queue, is gone already.
    pub fn person_finds(&mut self, job: &JobRef) -> Result<Result<Open, Reject>, T::Fault> {
        match self.find(job)? {
            Some(open) if !self.is_gone(&open.job)? => Ok(Ok(open)),
            _ => Ok(Err(Reject::no_such_job(job))),
        }
    }

    /// True if a job only still has rows: it was cleared, or its queue is being deleted. From the moment of
    /// that call on nobody may see it run, find it or be refused because of it.
    pub fn is_gone(&mut self, job: &Job) -> Result<bool, T::Fault> {
        let waiting =
            matches!(job.state.kind(), StateKind::Pending | StateKind::Scheduled | StateKind::Retrying);
        let queue = self.queue(&job.queue_key())?;
        Ok(queue.is_some_and(|queue| queue.deleting || (waiting && queue.has_cleared(job.entered))))
    }
}

#[cfg(test)]
mod tests;
