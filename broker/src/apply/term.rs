// SPDX-License-Identifier: Apache-2.0
//! A new leader, or a restarted scheduler, begins its watch.
//!
//! What the one before extended only in its memory is given back in full: `Lease::ends_at` takes the later
//! of a lease's deadline and this moment plus the lease's length. No lease is touched.

use super::context::Context;
use crate::reply::{Reply, Swept};
use crate::tables::Tables;

impl<T: Tables> Context<'_, T> {
    pub fn term_started(&mut self) -> Reply {
        self.meta.term_started_at = self.now;
        Reply::Swept(Swept::default())
    }
}
