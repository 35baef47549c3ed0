// SPDX-License-Identifier: Apache-2.0
//! Forgetting remembered calls and ids whose time has passed, a bounded number per entry.

use super::context::Context;
use super::purge::MAX_STEP;
use crate::command::ForgetRequests;
use crate::reply::{Reply, Swept};
use crate::tables::Tables;

impl<T: Tables> Context<'_, T> {
    pub fn forget_requests(&mut self, command: ForgetRequests) -> Result<Reply, T::Fault> {
        let limit = command.limit.min(MAX_STEP);
        // One more than may go, to know whether there are more.
        let rows = self.forgets(usize::try_from(limit).unwrap_or(usize::MAX).saturating_add(1))?;
        let (mut swept, now) = (Swept::default(), self.now);
        for (key, row) in rows.into_iter().take_while(|(key, _)| key.at <= now) {
            if swept.done == limit {
                swept.more = true;
                break;
            }
            self.forget(key, row)?;
            swept.done += 1;
        }
        Ok(Reply::Swept(swept))
    }
}
