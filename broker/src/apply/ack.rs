// SPDX-License-Identifier: Apache-2.0
//! Acknowledging attempts: the job is done and never handed out again (J4).
//!
//! A request to cancel does not undo work that was done: the job still completes.

use super::claim::Claim;
use super::context::Context;
use crate::body::BodyKind;
use crate::command::{Ack, AckItem};
use crate::event::Change;
use crate::job::Ended;
use crate::reject::Reject;
use crate::reply::{Reply, Settled};
use crate::state::State;
use crate::tables::Tables;

use super::Verdict;

impl<T: Tables> Context<'_, T> {
    pub fn ack(&mut self, command: &Ack) -> Result<Reply, T::Fault> {
        let settled = command.items.iter().map(|item| self.ack_one(item)).collect::<Result<_, _>>()?;
        Ok(Reply::Settled(settled))
    }

    fn ack_one(&mut self, item: &AckItem) -> Verdict<Settled, T::Fault> {
        let (mut open, token) = match self.claim(&item.lease)? {
            Ok(Claim::Current(open, token)) => (open, token),
            Ok(Claim::Ended(Ended::Acked, _)) => return Ok(Ok(Settled::Acked)),
            Ok(Claim::Ended(_, kind)) => return Ok(Err(Reject::lease_lost(&item.lease.job, kind))),
            Err(reject) => return Ok(Err(reject)),
        };
        let job = &mut open.job;
        if let Some(result) = &item.result {
            job.result = Some(self.keep_body(job.no, BodyKind::Result, job.result.as_ref(), result)?);
        }
        self.keep_checkpoint(job, item.checkpoint.as_ref())?;
        job.last_lease = Some((token, Ended::Acked));
        let state = State::Completed { at: self.now };
        self.go_to(open, state, Change::Completed)?;
        Ok(Ok(Settled::Acked))
    }
}

#[cfg(test)]
mod tests;
