// SPDX-License-Identifier: Apache-2.0
//! A person removes the waiting jobs of a queue.
//!
//! The mark is a job number of its own, so it lies between all jobs that wait now and all that will: a job
//! that is retried, moved in or given back later has a later [`crate::Job::entered`] and is not swept away,
//! however old it is. Marked jobs are gone for everybody at once; their rows, and with them the counts,
//! go in bounded steps, the first of them right here.

use super::Verdict;
use super::context::Context;
use super::purge::{Bounds, STEP_AT_ONCE};
use crate::command::ClearQueue;
use crate::event::QueueNews;
use crate::id::JobNo;
use crate::reject::Reject;
use crate::reply::Reply;
use crate::tables::Tables;

impl<T: Tables> Context<'_, T> {
    pub fn clear_queue(&mut self, command: &ClearQueue) -> Verdict<Reply, T::Fault> {
        if let Err(reject) = self.may_touch(&command.queue) {
            return Ok(Err(reject));
        }
        let key = self.queue_key(&command.queue);
        match self.queue(&key)? {
            None => return Ok(Err(Reject::no_such_queue(&command.queue))),
            Some(queue) if queue.deleting => return Ok(Err(Reject::deleting(&command.queue))),
            Some(_) => {}
        }
        self.meta.last_job = JobNo(self.meta.last_job.0.saturating_add(1));
        let mark = self.meta.last_job;
        let queue = self.queue_mut(&key)?;
        queue.clear_below = mark;
        queue.clearing = true;
        queue.sweep = None;
        self.tell_queue(&key, QueueNews::Cleared);
        self.sweep(&key, Bounds::NONE, STEP_AT_ONCE)?;
        Ok(Ok(Reply::Queue))
    }
}

#[cfg(test)]
mod tests;
