// SPDX-License-Identifier: Apache-2.0
//! A person puts a job into another queue. It keeps its state, its number and so its place by age.

use std::sync::Arc;

use super::Verdict;
use super::context::Context;
use crate::command::Move;
use crate::event::Change;
use crate::reject::Reject;
use crate::reply::Reply;
use crate::state::StateKind;
use crate::tables::Tables;

impl<T: Tables> Context<'_, T> {
    pub fn move_job(&mut self, command: &Move) -> Verdict<Reply, T::Fault> {
        if let Err(reject) = self.may_touch(&command.queue) {
            return Ok(Err(reject));
        }
        let mut open = match self.person_finds(&command.job)? {
            Ok(open) => open,
            Err(reject) => return Ok(Err(reject)),
        };
        if open.kind() == StateKind::Active {
            return Ok(Err(Reject::wrong_state(&command.job, StateKind::Active, "move", "not active")));
        }
        if open.job.queue == command.queue {
            return Ok(Ok(Reply::Job(Some(Arc::new(open.job)))));
        }
        if let Err(reject) = self.accepts(&self.queue_key(&command.queue))? {
            return Ok(Err(reject));
        }
        open.job.queue = command.queue.clone();
        let job = self.settle(open, Change::Moved)?;
        Ok(Ok(Reply::Job(Some(job))))
    }
}

#[cfg(test)]
mod tests;
