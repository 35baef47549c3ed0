// SPDX-License-Identifier: Apache-2.0
//! Writing a job: the only place where a job's row, its index rows, the counters, its unique key, its
//! timeline and the news about it change, all by the difference between before and after (J1–J5).
//!
//! ```text
//! Open::new(row) ──► the verb changes open.job ──► settle(open, Change)
//!                                             └──► remove(open)
//! ```

use std::sync::Arc;

use super::context::Context;
use crate::event::{Change, Event, JobEvent};
use crate::id::{LeaseToken, Name, QueueKey};
use crate::index::{IndexRows, Place, rows_of};
use crate::job::Job;
use crate::state::{State, StateKind, may_move};
use crate::tables::Tables;
use crate::tables::schema::{Due, Finished, Jobs, Leases, Ready, Waiting};
use crate::time::Timestamp;

/// A job in hand: what the verb makes of it, and what is in the tables.
pub struct Open {
    /// To be changed by the verb.
    pub job: Job,
    before: Option<Before>,
}

/// What the tables say of a job.
struct Before {
    kind: StateKind,
    queue: QueueKey,
    rows: IndexRows,
    attempt: u32,
    due_at: Option<Timestamp>,
    lease: Option<Held>,
}

/// The lease a job had.
struct Held {
    token: LeaseToken,
    worker: Name,
    hostname: Name,
    granted_at: Timestamp,
}

impl Open {
    /// A job as it is in the tables.
    pub fn new(job: Arc<Job>) -> Self {
        let job = Arc::unwrap_or_clone(job);
        let lease = job.state.lease().map(|lease| Held {
            token: lease.token,
            worker: lease.worker.clone(),
            hostname: lease.hostname.clone(),
            granted_at: lease.granted_at,
        });
        let before = Before {
            kind: job.state.kind(),
            queue: job.queue_key(),
            rows: rows_of(&job),
            attempt: job.attempt(),
            due_at: job.state.due_at(),
            lease,
        };
        Self { job, before: Some(before) }
    }

    /// A job that is not in the tables yet.
    pub fn create(job: Job) -> Self {
        Self { job, before: None }
    }

    /// The state it has in the tables.
    pub fn kind(&self) -> StateKind {
        self.before.as_ref().map_or(self.job.state.kind(), |before| before.kind)
    }
}

/// True for the states in which a job waits in its queue.
fn waits(kind: StateKind) -> bool {
    matches!(kind, StateKind::Pending | StateKind::Scheduled | StateKind::Retrying)
}

impl<T: Tables> Context<'_, T> {
    /// Writes a job that a verb has changed, and tells of it.
    pub fn settle(&mut self, open: Open, change: Change) -> Result<Arc<Job>, T::Fault> {
        let Open { mut job, before } = open;
        let (from, to) = (before.as_ref().map(|before| before.kind), job.state.kind());
        debug_assert!(
            from.is_none_or(|from| from == to || may_move(from, to)),
            "{from:?} → {to:?} by {change:?} is not in the table of transitions"
        );
        self.mark_waiting(&mut job, before.as_ref());
        let lease = before.as_ref().and_then(|before| before.lease.as_ref());
        if let Some(lease) = lease
            && to != StateKind::Active
        {
            job.last_worker = Some((lease.worker.clone(), lease.hostname.clone()));
        }
        // The end of an attempt is told with the number that attempt had.
        let attempt = match &before {
            Some(before) if before.kind == StateKind::Active => before.attempt,
            _ => job.attempt(),
        };
        self.count(&job, before.as_ref())?;
        let event = self.event(&job, before.as_ref(), change, attempt);
        match &event.worker {
            _ if change == Change::Progressed => {} // would push everything else out of the timeline
            Some(worker) if !worker.is_empty() && change != Change::CancelRequested => {
                job.note(self.now, change, attempt, worker);
            }
            _ => job.note(self.now, change, attempt, &self.by),
        }
        self.tell(Event::Job(event));
        if from.is_none_or(|from| from.is_terminal() != to.is_terminal()) {
            self.update_unique(&job)?;
        }
        let job = Arc::new(job);
        self.write(&job, before.as_ref())?;
        Ok(job)
    }

    /// Writes a job whose change is no news: a lease that goes on.
    pub fn write_quietly(&mut self, open: Open) -> Result<(), T::Fault> {
        debug_assert_eq!(open.kind(), open.job.state.kind(), "a change of state is news");
        self.write(&Arc::new(open.job), open.before.as_ref())
    }

    /// Removes a job with all its rows.
    pub fn remove(&mut self, open: Open, tell: bool) -> Result<(), T::Fault> {
        let Open { job, before } = open;
        let Some(before) = before else { return Ok(()) };
        self.erase_place(&before.rows.place)?;
        for timer in before.rows.timers.into_iter().flatten() {
            self.tables.delete::<Due>(&timer)?;
        }
        self.drop_bodies(&job)?;
        self.release_unique(&job)?;
        self.release_id(&job)?;
        self.tables.delete::<Jobs>(&job.no)?;
        let count = &mut self.queue_mut(&before.queue)?.counts[before.kind as usize];
        *count = count.saturating_sub(1);
        if tell {
            let event = self.event(&job, None, Change::Deleted, before.attempt);
            self.tell(Event::Job(JobEvent { from: Some(before.kind), ..event }));
        }
        Ok(())
    }

    /// Keeps [`Job::entered`] and [`Job::ready_at`].
    fn mark_waiting(&self, job: &mut Job, before: Option<&Before>) {
        let kind = job.state.kind();
        let stayed = before.is_some_and(|b| waits(b.kind) && b.queue.queue == job.queue);
        if waits(kind) && !stayed {
            job.entered = self.meta.last_job;
        }
        if kind == StateKind::Pending && before.is_none_or(|before| before.kind != StateKind::Pending) {
            // A scheduler that comes late does not hide how long the job has waited for it.
            let due_at = before.and_then(|before| before.due_at);
            job.ready_at = Some(due_at.map_or(self.now, |at| at.min(self.now)));
        }
    }

    fn count(&mut self, job: &Job, before: Option<&Before>) -> Result<(), T::Fault> {
        let to = job.state.kind();
        let same_queue = before.is_some_and(|before| before.queue.queue == job.queue);
        if let Some(before) = before {
            if same_queue && before.kind == to {
                return Ok(());
            }
            let count = &mut self.queue_mut(&before.queue)?.counts[before.kind as usize];
            *count = count.saturating_sub(1);
        }
        let queue = self.queue_mut(&job.queue_key())?;
        let count = &mut queue.counts[to as usize];
        *count = count.saturating_add(1);
        let totals = &mut queue.totals;
        match before {
            None => totals.enqueued = totals.enqueued.saturating_add(1),
            Some(before) if before.kind == to => {}
            Some(_) => match to {
                StateKind::Active => totals.fetched = totals.fetched.saturating_add(1),
                StateKind::Completed => totals.completed = totals.completed.saturating_add(1),
                StateKind::Dead => totals.dead = totals.dead.saturating_add(1),
                StateKind::Cancelled => totals.cancelled = totals.cancelled.saturating_add(1),
                _ => {}
            },
        }
        Ok(())
    }

    fn event(&self, job: &Job, before: Option<&Before>, change: Change, attempt: u32) -> JobEvent {
        let ended = before.and_then(|before| before.lease.as_ref());
        let (worker, token) = match (job.state.lease(), ended) {
            (Some(lease), _) => (Some(lease.worker.clone()), Some(lease.token)),
            (None, Some(ended)) => (Some(ended.worker.clone()), Some(ended.token)),
            (None, None) => (None, None),
        };
        let took = match (&job.state, ended) {
            (State::Active(_), None) => job.ready_at.map(|ready_at| self.now.since(ready_at)),
            (State::Active(_), Some(_)) | (_, None) => None,
            (_, Some(ended)) => Some(self.now.since(ended.granted_at)),
        };
        JobEvent {
            change,
            job: job.id(),
            at: self.now,
            namespace: job.namespace.clone(),
            queue: job.queue.clone(),
            from: before.map(|before| before.kind),
            state: job.state.kind(),
            attempt,
            worker,
            token,
            due_at: job.state.due_at(),
            reason: job.state.reason(),
            took_ms: took.map(|took| took.0),
        }
    }

    fn write(&mut self, job: &Arc<Job>, before: Option<&Before>) -> Result<(), T::Fault> {
        let after = rows_of(job);
        let old_timers = before.map_or([None, None], |before| before.rows.timers);
        match before {
            Some(before) if before.rows.place == after.place => {}
            Some(before) => {
                self.erase_place(&before.rows.place)?;
                self.write_place(&after.place)?;
            }
            None => self.write_place(&after.place)?,
        }
        for gone in old_timers.iter().flatten().filter(|old| !after.timers.contains(&Some(**old))) {
            self.tables.delete::<Due>(gone)?;
        }
        for new in after.timers.iter().flatten().filter(|new| !old_timers.contains(&Some(**new))) {
            self.tables.insert::<Due>(new, &())?;
        }
        match before {
            Some(_) => self.tables.put::<Jobs>(&job.no, job),
            None => self.tables.insert::<Jobs>(&job.no, job),
        }
    }

    fn erase_place(&mut self, place: &Place) -> Result<(), T::Fault> {
        match place {
            Place::Ready(key) => self.tables.delete::<Ready>(key),
            Place::Waiting(key) => self.tables.delete::<Waiting>(key),
            Place::Leased(key, _) => self.tables.delete::<Leases>(key),
            Place::Finished(key) => self.tables.delete::<Finished>(key),
        }
    }

    fn write_place(&mut self, place: &Place) -> Result<(), T::Fault> {
        match place {
            Place::Ready(key) => self.tables.insert::<Ready>(key, &()),
            Place::Waiting(key) => self.tables.insert::<Waiting>(key, &()),
            Place::Leased(key, row) => self.tables.insert::<Leases>(key, row),
            Place::Finished(key) => self.tables.insert::<Finished>(key, &()),
        }
    }
}
