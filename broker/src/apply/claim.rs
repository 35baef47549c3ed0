// SPDX-License-Identifier: Apache-2.0
//! A worker's claim: whether a call speaks for the current lease of a job.
//!
//! With a token, the token decides. Without one, the call is accepted only if the job is active and, if the
//! caller names a worker, leased to that one. The last token and its outcome stay with the job, so that a
//! repeated call gets the answer it got. Anything else is `LEASE_LOST` and changes nothing.

use super::Verdict;
use super::context::Context;
use super::settle::Open;
use crate::command::LeaseRef;
use crate::id::LeaseToken;
use crate::job::Ended;
use crate::reject::Reject;
use crate::state::StateKind;
use crate::tables::Tables;

/// A claim that has some standing.
#[allow(clippy::large_enum_variant, reason = "the large one is the usual one, and used up at once")]
pub enum Claim {
    /// It is the current lease, with its token.
    Current(Open, LeaseToken),
    /// The lease has ended by an earlier call, like this; the job is in that state now.
    Ended(Ended, StateKind),
}

impl<T: Tables> Context<'_, T> {
    /// Looks at a worker's claim.
    pub fn claim(&mut self, lease: &LeaseRef) -> Verdict<Claim, T::Fault> {
        let Some(open) = self.find(&lease.job)? else { return Ok(Err(Reject::no_such_job(&lease.job))) };
        let current = open.job.state.lease();
        let holds = current.is_some_and(|current| current.answers_to(lease));
        Ok(match (current.map(|current| current.token), lease.token, &open.job.last_lease) {
            (Some(token), _, _) if holds => Ok(Claim::Current(open, token)),
            (_, Some(token), Some((last, ended))) if token == *last => {
                Ok(Claim::Ended(ended.clone(), open.kind()))
            }
            _ => Err(Reject::lease_lost(&lease.job, open.kind())),
        })
    }
}
