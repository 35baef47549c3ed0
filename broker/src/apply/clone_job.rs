// SPDX-License-Identifier: Apache-2.0
//! A person enqueues a copy of a job, whatever became of the original.
//!
//! The copy is a new job with the same queue, payload and options, due at once, with as much time to expire
//! as the original had. It has no id of the caller's choice and no unique key: those name the original. What
//! attempts left behind (checkpoint, errors, counts) is not copied. The queue must accept new jobs.

use super::Verdict;
use super::context::Context;
use crate::body::BodyKind;
use crate::command::CloneJob;
use crate::job::{Due, JobSpec, Options};
use crate::reply::Reply;
use crate::tables::Tables;

impl<T: Tables> Context<'_, T> {
    pub fn clone_job(&mut self, command: &CloneJob) -> Verdict<Reply, T::Fault> {
        let original = match self.person_finds(&command.job)? {
            Ok(open) => open.job,
            Err(reject) => return Ok(Err(reject)),
        };
        if let Err(reject) = self.accepts(&original.queue_key())? {
            return Ok(Err(reject));
        }
        let payload = self.read_body(original.no, BodyKind::Payload, &original.payload)?;
        let job = self.create(&JobSpec {
            queue: original.queue,
            payload,
            id: None,
            due: Due::Now,
            expire_after: original.expire_at.map(|at| at.since(original.created_at)),
            options: Options { unique: None, ..original.options },
        })?;
        Ok(Ok(Reply::Job(Some(job))))
    }
}

#[cfg(test)]
mod tests;
