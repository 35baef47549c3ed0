// SPDX-License-Identifier: Apache-2.0
//! Unique keys and chosen ids: who holds them, and when they become free (J5, J7).
//!
//! A live job holds its unique key. A completed one holds it until the period since its enqueue ends; dead,
//! cancelled or removed frees it in the same commit. A chosen id is taken as long as its job exists and for
//! 24 hours since the enqueue at least.

use super::Verdict;
use super::context::Context;
use super::settle::Open;
use crate::id::Name;
use crate::job::Job;
use crate::reject::Reject;
use crate::request::{Forget, REMEMBERED};
use crate::state::{Reason, State, StateKind};
use crate::tables::Tables;
use crate::tables::schema::{Ids, UniqueKeys};
use crate::unique::Holder;

impl<T: Tables> Context<'_, T> {
    /// The job that holds a unique key at this moment.
    ///
    /// A job that is gone, or that has expired without anyone having noticed, holds nothing: it gets here
    /// what it has coming, so nobody is refused because of a job that will never run.
    pub fn unique_holder(&mut self, key: &Name) -> Result<Option<Open>, T::Fault> {
        let Some(holder) = self.tables.get::<UniqueKeys>(&(self.namespace.clone(), key.clone()))? else {
            return Ok(None);
        };
        if !holder.holds(self.now) {
            return Ok(None);
        }
        let Some(open) = self.job(holder.job)? else {
            debug_assert!(false, "J5: the holder of a unique key exists");
            return Ok(None);
        };
        if self.is_gone(&open.job)? {
            self.remove(open, true)?;
            return Ok(None);
        }
        if self.expired_unnoticed(&open) {
            self.die(open, Reason::Expired)?;
            return Ok(None);
        }
        Ok(Some(open))
    }

    fn expired_unnoticed(&self, open: &Open) -> bool {
        !matches!(open.kind(), StateKind::Active | StateKind::Completed) && open.job.is_expired(self.now)
    }

    /// Whether an answer may name the job that holds a unique key: not if it is outside of the caller's queues.
    /// Writes nothing.
    pub fn may_name_holder(&mut self, key: &Name) -> Verdict<(), T::Fault> {
        if self.sees_everything() {
            return Ok(Ok(()));
        }
        let row = self.tables.get::<UniqueKeys>(&(self.namespace.clone(), key.clone()))?;
        let holder = match row.filter(|row| row.holds(self.now)) {
            Some(row) => self.job(row.job)?,
            None => None,
        };
        let Some(holder) = holder else { return Ok(Ok(())) };
        let free = self.is_gone(&holder.job)? || self.expired_unnoticed(&holder);
        let allowed = free || self.sees(&holder.job);
        Ok(if allowed { Ok(()) } else { Err(Reject::unique_held_elsewhere(key)) })
    }

    /// Settles the key of a job that is new, has just finished, or goes on after it had finished. In the last
    /// case the verb has made sure that the key is free.
    pub fn update_unique(&mut self, job: &Job) -> Result<(), T::Fault> {
        let Some(unique) = &job.options.unique else { return Ok(()) };
        let key = (job.namespace.clone(), unique.key.clone());
        let holder = match job.state {
            State::Completed { .. } => {
                let until = job.created_at.after(unique.period);
                (until > self.now).then_some(Holder { job: job.no, until: Some(until) })
            }
            State::Dead { .. } | State::Cancelled { .. } => None,
            _ => Some(Holder { job: job.no, until: None }),
        };
        match holder {
            Some(holder) => self.tables.put::<UniqueKeys>(&key, &holder),
            None => self.tables.delete::<UniqueKeys>(&key),
        }
    }

    /// Frees the key of a job that is being removed, if it is still this job's.
    pub fn release_unique(&mut self, job: &Job) -> Result<(), T::Fault> {
        let Some(unique) = &job.options.unique else { return Ok(()) };
        let key = (job.namespace.clone(), unique.key.clone());
        let ours = match job.state.kind() {
            StateKind::Dead | StateKind::Cancelled => false,
            // Its period may have ended and somebody else may have taken the key since.
            StateKind::Completed => self.tables.get::<UniqueKeys>(&key)?.is_some_and(|row| row.job == job.no),
            _ => true,
        };
        if ours { self.tables.delete::<UniqueKeys>(&key) } else { Ok(()) }
    }

    /// Lets go of the id that was chosen for a job that is being removed: at once, or when 24 hours have
    /// passed since the enqueue.
    pub fn release_id(&mut self, job: &Job) -> Result<(), T::Fault> {
        let Some(id) = &job.chosen_id else { return Ok(()) };
        let until = job.created_at.after(REMEMBERED);
        if until > self.now {
            return self.forget_at(until, &Forget::Id(job.namespace.clone(), id.clone()));
        }
        self.tables.delete::<Ids>(&(job.namespace.clone(), id.clone()))
    }
}
