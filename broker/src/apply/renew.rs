// SPDX-License-Identifier: Apache-2.0
//! Signs of life that the leader has collected. Leases that have ended meanwhile are passed over.
//!
//! The leader speaks for all namespaces here: it names jobs by number.

use super::context::Context;
use crate::command::Renew;
use crate::reply::{Reply, Swept};
use crate::tables::Tables;

impl<T: Tables> Context<'_, T> {
    pub fn renew(&mut self, command: &Renew) -> Result<Reply, T::Fault> {
        let mut done = 0u32;
        for item in &command.items {
            if let Some(open) = self.job(item.job)?
                && self.extend(open, item.token, item.heard_at, item.progress.as_ref())?
            {
                done = done.saturating_add(1);
            }
        }
        Ok(Reply::Swept(Swept { done, more: false }))
    }
}
