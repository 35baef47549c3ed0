// SPDX-License-Identifier: Apache-2.0
//! A person sends a job back to its queue now.
//!
//! | from | failures, crashes |
//! |---|---|
//! | scheduled, retrying | kept: only the waiting is cut short |
//! | dead, cancelled | from zero: the job gets its whole retry policy again, its errors stay for reading |
//!
//! An `expire_at` that has passed is lifted, or the job would be dead again at once. A unique key that the
//! job had given up is taken again; if another job holds it by now, the retry is refused.

use super::Verdict;
use super::context::Context;
use crate::command::Retry;
use crate::event::Change;
use crate::reject::Reject;
use crate::reply::Reply;
use crate::state::StateKind;
use crate::tables::Tables;

impl<T: Tables> Context<'_, T> {
    pub fn retry(&mut self, command: &Retry) -> Verdict<Reply, T::Fault> {
        let mut open = match self.person_finds(&command.job)? {
            Ok(open) => open,
            Err(reject) => return Ok(Err(reject)),
        };
        match open.kind() {
            StateKind::Scheduled | StateKind::Retrying => {}
            StateKind::Dead | StateKind::Cancelled => {
                if let Some(unique) = &open.job.options.unique
                    && let Some(holder) = self.unique_holder(&unique.key)?
                {
                    return Ok(Err(if self.sees(&holder.job) {
                        Reject::unique_held(&unique.key, &holder.job.id())
                    } else {
                        Reject::unique_held_elsewhere(&unique.key)
                    }));
                }
                open.job.failures = 0;
                open.job.crashes = 0;
                open.job.cancel_requested_at = None;
            }
            kind => {
                let allowed = "dead, cancelled, retrying or scheduled";
                return Ok(Err(Reject::wrong_state(&command.job, kind, "retry", allowed)));
            }
        }
        if open.job.is_expired(self.now) {
            open.job.expire_at = None;
        }
        let job = self.make_ready(open, Change::Retried)?;
        Ok(Ok(Reply::Job(Some(job))))
    }
}

#[cfg(test)]
mod tests;
