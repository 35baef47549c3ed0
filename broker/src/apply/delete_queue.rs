// SPDX-License-Identifier: Apache-2.0
//! A person removes a queue with all its jobs. They are gone for everybody at once; the rows go in bounded
//! steps, the first of them right here, and with the last one the queue itself. Asking again does one more step.

use super::Verdict;
use super::context::Context;
use super::purge::{Bounds, STEP_AT_ONCE};
use crate::command::DeleteQueue;
use crate::event::QueueNews;
use crate::reject::Reject;
use crate::reply::Reply;
use crate::state::StateKind;
use crate::tables::Tables;

impl<T: Tables> Context<'_, T> {
    pub fn delete_queue(&mut self, command: &DeleteQueue) -> Verdict<Reply, T::Fault> {
        if let Err(reject) = self.may_touch(&command.queue) {
            return Ok(Err(reject));
        }
        let key = self.queue_key(&command.queue);
        let Some(queue) = self.queue(&key)? else { return Ok(Err(Reject::no_such_queue(&command.queue))) };
        let active = queue.count(StateKind::Active);
        if active > 0 {
            return Ok(Err(Reject::still_active(&command.queue, active)));
        }
        if !queue.deleting {
            let queue = self.queue_mut(&key)?;
            queue.deleting = true;
            queue.sweep = None;
            self.tell_queue(&key, QueueNews::Deleting);
        }
        self.sweep(&key, Bounds::NONE, STEP_AT_ONCE)?;
        Ok(Ok(Reply::Queue))
    }
}

#[cfg(test)]
mod tests;
