// SPDX-License-Identifier: Apache-2.0
//! A person removes a job with everything that belongs to it.

use super::Verdict;
use super::context::Context;
use crate::command::Delete;
use crate::reject::Reject;
use crate::reply::Reply;
use crate::state::StateKind;
use crate::tables::Tables;

impl<T: Tables> Context<'_, T> {
    pub fn delete(&mut self, command: &Delete) -> Verdict<Reply, T::Fault> {
        let open = match self.person_finds(&command.job)? {
            Ok(open) => open,
            Err(reject) => return Ok(Err(reject)),
        };
        if open.kind() == StateKind::Active {
            let allowed = "not active: cancel it first";
            return Ok(Err(Reject::wrong_state(&command.job, StateKind::Active, "delete", allowed)));
        }
        self.remove(open, true)?;
        Ok(Ok(Reply::Job(None)))
    }
}
