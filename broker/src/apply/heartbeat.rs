// SPDX-License-Identifier: Apache-2.0
//! Signs of life that carry something to keep: the lease lasts its full length from now.
//!
//! It never becomes shorter: the leader may have promised more in a `Renew` that came first.

use super::Verdict;
use super::claim::Claim;
use super::context::Context;
use super::settle::Open;
use crate::command::{Heartbeat, HeartbeatItem};
use crate::event::Change;
use crate::id::LeaseToken;
use crate::job::Progress;
use crate::reject::Reject;
use crate::reply::{Reply, Settled};
use crate::state::State;
use crate::tables::Tables;
use crate::time::Timestamp;

impl<T: Tables> Context<'_, T> {
    pub fn heartbeat(&mut self, command: &Heartbeat) -> Result<Reply, T::Fault> {
        let settled = command.items.iter().map(|item| self.beat_one(item)).collect::<Result<_, _>>()?;
        Ok(Reply::Settled(settled))
    }

    fn beat_one(&mut self, item: &HeartbeatItem) -> Verdict<Settled, T::Fault> {
        let mut open = match self.claim(&item.lease)? {
            Ok(Claim::Current(open, _)) => open,
            Ok(Claim::Ended(_, kind)) => return Ok(Err(Reject::lease_lost(&item.lease.job, kind))),
            Err(reject) => return Ok(Err(reject)),
        };
        self.keep_checkpoint(&mut open.job, item.checkpoint.as_ref())?;
        let cancel = open.job.cancel_requested_at.is_some();
        let State::Active(lease) = &mut open.job.state else {
            return Ok(Err(Reject::lease_lost(&item.lease.job, open.kind())));
        };
        lease.deadline = lease.deadline.max(self.now.after(lease.length));
        let alive = Settled::Alive { lease_expires_at: lease.deadline, length: lease.length, cancel };
        self.keep_alive(open, item.progress.as_ref())?;
        Ok(Ok(alive))
    }

    /// Extends a lease to its full length from when its worker was heard, if it is still that lease.
    pub fn extend(
        &mut self,
        mut open: Open,
        token: LeaseToken,
        heard_at: Timestamp,
        progress: Option<&Progress>,
    ) -> Result<bool, T::Fault> {
        let State::Active(lease) = &mut open.job.state else { return Ok(false) };
        if lease.token != token {
            return Ok(false);
        }
        let deadline = lease.deadline.max(heard_at.after(lease.length));
        if deadline == lease.deadline && progress.is_none() {
            return Ok(true);
        }
        lease.deadline = deadline;
        self.keep_alive(open, progress)?;
        Ok(true)
    }

    /// Writes a lease that goes on. That alone is no news, progress is.
    fn keep_alive(&mut self, mut open: Open, progress: Option<&Progress>) -> Result<(), T::Fault> {
        if let Some(progress) = progress {
            open.job.progress = Some(progress.clone());
            self.settle(open, Change::Progressed)?;
            return Ok(());
        }
        self.write_quietly(open)
    }
}

#[cfg(test)]
mod tests;
