// SPDX-License-Identifier: Apache-2.0
//! Timers that are due: scheduled and retrying jobs become ready, jobs that did not start in time are dead,
//! attempts that ran too long have failed, finished jobs with a retention of their own go. Earliest first, a bounded number per entry.

use super::context::Context;
use super::fail::Spent;
use super::purge::MAX_STEP;
use super::settle::Open;
use crate::command::Promote;
use crate::event::Change;
use crate::reply::{Reply, Swept};
use crate::state::{Reason, StateKind};
use crate::tables::Tables;
use crate::tables::schema::{Due, DueKey, Lane, Timer};

impl<T: Tables> Context<'_, T> {
    pub fn promote(&mut self, command: Promote) -> Result<Reply, T::Fault> {
        let limit = command.limit.min(MAX_STEP);
        let mut done = 0;
        let mut due = self.tables.first_due(Lane::Timers, self.now)?;
        while let Some(key) = due
            && done < limit
        {
            match self.job(key.job)? {
                Some(open) => self.ring(key, open)?,
                None => {
                    debug_assert!(false, "J1: the job of a timer exists");
                    self.tables.delete::<Due>(&key)?;
                }
            }
            done += 1;
            due = self.tables.first_due(Lane::Timers, self.now)?;
        }
        Ok(Reply::Swept(Swept { done, more: due.is_some() }))
    }

    /// Does what a timer is for. Each way ends with the timer's row gone, or the loop above would not end.
    fn ring(&mut self, key: DueKey, open: Open) -> Result<(), T::Fault> {
        if self.is_gone(&open.job)? {
            return self.remove_due(open, true);
        }
        match (key.timer, open.kind()) {
            (Timer::Ready, StateKind::Scheduled | StateKind::Retrying) => {
                self.make_ready(open, Change::Promoted)?;
            }
            (Timer::Expire, StateKind::Scheduled | StateKind::Retrying | StateKind::Pending) => {
                self.die(open, Reason::Expired)?;
            }
            (Timer::Timeout, StateKind::Active) => self.time_out(open)?,
            // That it has had its time is no news.
            (Timer::Removal, StateKind::Completed | StateKind::Dead | StateKind::Cancelled) => {
                self.remove_due(open, false)?;
            }
            (timer, kind) => {
                debug_assert!(false, "J1: {kind:?} jobs have no {timer:?} timer in this lane");
                self.tables.delete::<Due>(&key)?;
            }
        }
        Ok(())
    }

    /// Removes a job, and with the last one the queue that is being deleted: `Purge` finds nothing more there.
    fn remove_due(&mut self, open: Open, tell: bool) -> Result<(), T::Fault> {
        let key = open.job.queue_key();
        self.remove(open, tell)?;
        if self.queue(&key)?.is_some_and(|queue| queue.deleting && queue.total() == 0) {
            self.drop_queue(&key)?;
        }
        Ok(())
    }

    fn time_out(&mut self, mut open: Open) -> Result<(), T::Fault> {
        let limit = open.job.options.timeout.unwrap_or_default();
        open.job.record_error(format!("timed out after {limit}"), None, self.now);
        self.spend_attempt(open, None, Spent { retry: true, after: None, reason: Reason::Timeout })?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
