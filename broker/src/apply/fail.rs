// SPDX-License-Identifier: Apache-2.0
//! Failing attempts: by the worker's word, or because they ran longer than their `timeout`.
//!
//! | what | failures | then |
//! |---|---|---|
//! | fail | +1 | backoff, or `retry_after`; dead after `max_retries` retries or with `retry: false` |
//! | timeout | +1 | the same, dead with its own reason |
//! | rate limited | – | `retry_after`, or the policy's base delay |
//!
//! A job whose cancelling was asked for is cancelled instead, an expired one dead.

use super::Verdict;
use super::claim::Claim;
use super::context::Context;
use super::ready::Again;
use super::settle::Open;
use crate::command::{Fail, FailItem};
use crate::event::Change;
use crate::id::LeaseToken;
use crate::job::{Ended, Job};
use crate::reject::Reject;
use crate::reply::{FailedAs, Reply, Settled};
use crate::state::{Reason, State};
use crate::tables::Tables;
use crate::time::Millis;

impl<T: Tables> Context<'_, T> {
    pub fn fail(&mut self, command: &Fail) -> Result<Reply, T::Fault> {
        let settled = command.items.iter().map(|item| self.fail_one(item)).collect::<Result<_, _>>()?;
        Ok(Reply::Settled(settled))
    }

    fn fail_one(&mut self, item: &FailItem) -> Verdict<Settled, T::Fault> {
        let (mut open, token) = match self.claim(&item.lease)? {
            Ok(Claim::Current(open, token)) => (open, token),
            Ok(Claim::Ended(Ended::Failed(told), _)) => return Ok(Ok(Settled::Failed(told))),
            Ok(Claim::Ended(_, kind)) => return Ok(Err(Reject::lease_lost(&item.lease.job, kind))),
            Err(reject) => return Ok(Err(reject)),
        };
        self.keep_checkpoint(&mut open.job, item.checkpoint.as_ref())?;
        open.job.record_error(item.error.clone(), item.backtrace.clone(), self.now);
        let told = if item.rate_limited {
            self.slow_down(open, token, item)?
        } else {
            let after = item.retry_after;
            self.spend_attempt(open, Some(token), Spent { retry: item.retry, after, reason: Reason::Failed })?
        };
        Ok(Ok(Settled::Failed(told)))
    }

    /// The other side is too busy: the attempt does not count.
    fn slow_down(
        &mut self,
        mut open: Open,
        token: LeaseToken,
        item: &FailItem,
    ) -> Result<FailedAs, T::Fault> {
        let job = &mut open.job;
        let at = self.now.after(item.retry_after.unwrap_or(job.options.retry.base));
        let next = if item.retry { Ok(Again::Retrying(at)) } else { Err(Reason::Failed) };
        let state = self.state_after_attempt(job, next);
        let told = failed_as(job, &state);
        job.last_lease = Some((token, Ended::Failed(told)));
        self.go_to(open, state, Change::RateLimited)?;
        Ok(told)
    }

    /// Counts a failed attempt whose error has been recorded. A worker's call is answered the same again
    /// when it is repeated with its token.
    pub fn spend_attempt(
        &mut self,
        mut open: Open,
        token: Option<LeaseToken>,
        spent: Spent,
    ) -> Result<FailedAs, T::Fault> {
        let totals = &mut self.queue_mut(&open.job.queue_key())?.totals;
        totals.failed = totals.failed.saturating_add(1);
        let job = &mut open.job;
        job.failures = job.failures.saturating_add(1);
        let policy = job.options.retry;
        let next = if spent.retry && job.failures <= policy.max_retries {
            let random = self.random(job.no);
            let delay = spent.after.unwrap_or_else(|| policy.jittered(job.failures, random));
            Ok(Again::Retrying(self.now.after(delay)))
        } else {
            Err(spent.reason)
        };
        let state = self.state_after_attempt(job, next);
        let told = failed_as(job, &state);
        if let Some(token) = token {
            job.last_lease = Some((token, Ended::Failed(told)));
        }
        let change = if spent.reason == Reason::Timeout { Change::TimedOut } else { Change::Failed };
        self.go_to(open, state, change)?;
        Ok(told)
    }
}

/// How an attempt was spent.
pub struct Spent {
    /// False: no further attempt, whatever the policy says.
    pub retry: bool,
    /// Try again after exactly that long instead of the backoff.
    pub after: Option<Millis>,
    /// Why the job is dead if this was the last attempt.
    pub reason: Reason,
}

fn failed_as(job: &Job, state: &State) -> FailedAs {
    let next_attempt_at = match state {
        State::Retrying { at } => Some(*at),
        _ => None,
    };
    let attempts = job.options.retry.max_retries.saturating_add(1).saturating_sub(job.failures);
    let attempts_remaining = if state.kind().is_terminal() { 0 } else { attempts };
    FailedAs { state: state.kind(), next_attempt_at, attempts_remaining }
}

#[cfg(test)]
mod tests;
