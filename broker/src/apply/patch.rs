// SPDX-License-Identifier: Apache-2.0
//! A person changes a job that waits. A new due time makes it scheduled, or pending if that time has come.

use super::Verdict;
use super::context::Context;
use super::ready::Again;
use crate::body::BodyKind;
use crate::command::Patch;
use crate::event::Change;
use crate::job::MAX_PRIORITY;
use crate::reject::Reject;
use crate::reply::Reply;
use crate::state::StateKind;
use crate::tables::Tables;

impl<T: Tables> Context<'_, T> {
    pub fn patch(&mut self, command: &Patch) -> Verdict<Reply, T::Fault> {
        let mut open = match self.person_finds(&command.job)? {
            Ok(open) => open,
            Err(reject) => return Ok(Err(reject)),
        };
        if open.kind() == StateKind::Active || open.kind().is_terminal() {
            let allowed = "scheduled, pending or retrying";
            return Ok(Err(Reject::wrong_state(&command.job, open.kind(), "a change", allowed)));
        }
        let job = &mut open.job;
        if let Some(payload) = &command.payload {
            job.payload = self.keep_body(job.no, BodyKind::Payload, Some(&job.payload), payload)?;
        }
        if let Some(priority) = command.priority {
            job.options.priority = priority.min(MAX_PRIORITY);
        }
        if let Some(tags) = &command.tags {
            job.options.tags.clone_from(tags);
            job.options.tags.sort_unstable();
        }
        let state = match command.scheduled_at {
            Some(at) => self.waiting_state(job, Again::Scheduled(at)),
            None => job.state.clone(),
        };
        let job = self.go_to(open, state, Change::Updated)?;
        Ok(Ok(Reply::Job(Some(job))))
    }
}

#[cfg(test)]
mod tests;
