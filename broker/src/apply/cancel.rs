// SPDX-License-Identifier: Apache-2.0
//! A person calls a job off.
//!
//! A waiting job is cancelled at once and its unique key is free. An active one is only marked: its worker is
//! told, and the job ends when the worker answers or the lease ends. Cancelling twice is no mistake.

use std::sync::Arc;

use super::Verdict;
use super::context::Context;
use crate::command::Cancel;
use crate::event::Change;
use crate::reject::Reject;
use crate::reply::Reply;
use crate::state::{Reason, State, StateKind};
use crate::tables::Tables;

impl<T: Tables> Context<'_, T> {
    pub fn cancel(&mut self, command: &Cancel) -> Verdict<Reply, T::Fault> {
        let mut open = match self.person_finds(&command.job)? {
            Ok(open) => open,
            Err(reject) => return Ok(Err(reject)),
        };
        let job = match open.kind() {
            StateKind::Cancelled => Arc::new(open.job),
            StateKind::Active if open.job.cancel_requested_at.is_some() => Arc::new(open.job),
            StateKind::Active => {
                open.job.cancel_requested_at = Some(self.now);
                self.settle(open, Change::CancelRequested)?
            }
            kind if kind.is_terminal() => {
                let reject = Reject::wrong_state(&command.job, kind, "cancel", "not finished");
                return Ok(Err(reject));
            }
            _ => {
                let state = State::Cancelled { at: self.now, reason: Reason::Cancelled };
                self.go_to(open, state, Change::Cancelled)?
            }
        };
        Ok(Ok(Reply::Job(Some(job))))
    }
}

#[cfg(test)]
mod tests;
