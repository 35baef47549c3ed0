// SPDX-License-Identifier: Apache-2.0
//! Calls that carry a key: the first answer is kept, and forgotten when its time comes (J8).
//!
//! Every remembered call has exactly one row of `Forgets`, and so has every chosen id that does not belong
//! to an existing job any more. Rows of `Forgets` are removed strictly from the front.

use super::context::Context;
use crate::reject::Reject;
use crate::request::{Answer, Forget, REMEMBERED_MAX, Remembered, RequestKey};
use crate::tables::Tables;
use crate::tables::schema::{ForgetKey, Forgets, Ids, RequestRowKey, Requests};
use crate::time::{Millis, Timestamp};

impl<T: Tables> Context<'_, T> {
    fn request_row(&self, key: &RequestKey) -> RequestRowKey {
        RequestRowKey {
            namespace: self.namespace.clone(),
            by: self.by.clone(),
            route: key.route,
            key: key.key.clone(),
        }
    }

    /// The first answer to a call that has been made before; refused if it was another call.
    pub fn remembered(
        &mut self,
        key: &RequestKey,
        fingerprint: &[u8; 16],
    ) -> Result<Option<Result<Answer, Reject>>, T::Fault> {
        let row = self.tables.get::<Requests>(&self.request_row(key))?;
        Ok(row.map(|row| {
            if row.fingerprint == *fingerprint {
                Ok(row.answer)
            } else {
                Err(Reject::key_reused("request key", &key.key))
            }
        }))
    }

    /// Keeps the first answer to a call for a while.
    pub fn remember(
        &mut self,
        key: &RequestKey,
        fingerprint: [u8; 16],
        answer: Answer,
        span: Millis,
    ) -> Result<(), T::Fault> {
        self.tables.put::<Requests>(&self.request_row(key), &Remembered { fingerprint, answer })?;
        let forget = Forget::Request(self.namespace.clone(), self.by.clone(), key.clone());
        self.forget_at(self.now.after(span), &forget)
    }

    /// Has something forgotten at a time, or earlier when there is too much to remember.
    pub fn forget_at(&mut self, at: Timestamp, forget: &Forget) -> Result<(), T::Fault> {
        self.meta.last_forget = self.meta.last_forget.saturating_add(1);
        let key = ForgetKey { at: at.max(self.meta.forgets_from), number: self.meta.last_forget };
        self.tables.put::<Forgets>(&key, forget)?;
        self.meta.forgets = self.meta.forgets.saturating_add(1);
        if self.meta.forgets > REMEMBERED_MAX
            && let Some((key, forget)) = self.forgets(1)?.pop()
        {
            self.forget(key, forget)?;
        }
        Ok(())
    }

    /// The first rows of `Forgets`.
    pub fn forgets(&mut self, limit: usize) -> Result<Vec<(ForgetKey, Forget)>, T::Fault> {
        let from = ForgetKey { at: self.meta.forgets_from, number: 0 };
        self.tables.scan::<Forgets>(&[], Some(&from), limit)
    }

    /// Forgets what the first row of `Forgets` says.
    pub fn forget(&mut self, key: ForgetKey, forget: Forget) -> Result<(), T::Fault> {
        match forget {
            Forget::Request(namespace, by, RequestKey { route, key }) => {
                self.tables.delete::<Requests>(&RequestRowKey { namespace, by, route, key })?;
            }
            Forget::Id(namespace, id) => self.tables.delete::<Ids>(&(namespace, id))?,
        }
        self.tables.delete::<Forgets>(&key)?;
        self.meta.forgets = self.meta.forgets.saturating_sub(1);
        self.meta.forgets_from = key.at;
        Ok(())
    }
}
