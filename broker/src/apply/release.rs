// SPDX-License-Identifier: Apache-2.0
//! Giving jobs back: no attempt is spent, the job waits as before, or for the delay asked for.

use super::Verdict;
use super::claim::Claim;
use super::context::Context;
use super::ready::Again;
use crate::command::{Release, ReleaseItem};
use crate::event::Change;
use crate::job::Ended;
use crate::reject::Reject;
use crate::reply::{Reply, Settled};
use crate::tables::Tables;

impl<T: Tables> Context<'_, T> {
    pub fn release(&mut self, command: &Release) -> Result<Reply, T::Fault> {
        let settled = command.items.iter().map(|item| self.release_one(item)).collect::<Result<_, _>>()?;
        Ok(Reply::Settled(settled))
    }

    fn release_one(&mut self, item: &ReleaseItem) -> Verdict<Settled, T::Fault> {
        let (mut open, token) = match self.claim(&item.lease)? {
            Ok(Claim::Current(open, token)) => (open, token),
            Ok(Claim::Ended(Ended::Released, _)) => return Ok(Ok(Settled::Released)),
            Ok(Claim::Ended(_, kind)) => return Ok(Err(Reject::lease_lost(&item.lease.job, kind))),
            Err(reject) => return Ok(Err(reject)),
        };
        let again = item.delay.map_or(Again::Now, |delay| Again::Scheduled(self.now.after(delay)));
        let state = self.state_after_attempt(&open.job, Ok(again));
        open.job.last_lease = Some((token, Ended::Released));
        self.go_to(open, state, Change::Released)?;
        Ok(Ok(Settled::Released))
    }
}

#[cfg(test)]
mod tests;
