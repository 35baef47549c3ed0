// SPDX-License-Identifier: Apache-2.0
//! What the scheduler asks before it proposes a step of upkeep.

use jobbie_broker::request::RequestKey;
use jobbie_broker::tables::schema::{Finished, FinishedKey, ForgetKey, Forgets, RequestRowKey, Requests};
use jobbie_broker::tables::{Key, Space};
use jobbie_broker::{Name, QueueKey, StateKind, Timestamp};

use super::Reader;
use crate::keyspaces::Fault;
use crate::tables::{bounds, read_key};

impl Reader {
    /// True if there is something to forget by `now`.
    ///
    /// # Errors
    /// If the machine fails.
    pub fn forget_due(&self, now: Timestamp) -> Result<bool, Fault> {
        let meta = self.meta();
        if meta.forgets == 0 {
            return Ok(false);
        }
        let (view, _live) = self.view();
        let from = ForgetKey { at: meta.forgets_from, number: 0 };
        let (start, end) = bounds(Space::Forgets, &[], Some(&from.bytes()));
        match view.range::<Forgets>((&start, &end)).next() {
            Some(found) => Ok(read_key::<Forgets>(&found?.0)?.at <= now),
            None => Ok(false),
        }
    }

    /// True if a call with this key was answered and is remembered.
    ///
    /// # Errors
    /// If the machine fails.
    pub fn is_remembered(&self, namespace: &Name, by: &Name, request: &RequestKey) -> Result<bool, Fault> {
        let (namespace, by, key) = (namespace.clone(), by.clone(), request.key.clone());
        let row = RequestRowKey { namespace, by, route: request.route, key };
        let (view, _live) = self.view();
        Ok(view.row::<Requests>(&row)?.is_some())
    }

    /// True if a purge of the queue has something to do: it is being cleared or deleted, a round is under
    /// way, or a job finished before `before`. A completed job that still answers for its unique key counts
    /// although a purge leaves it.
    ///
    /// # Errors
    /// If the machine fails.
    pub fn finished_before(&self, key: &QueueKey, before: Timestamp) -> Result<bool, Fault> {
        let Some(queue) = self.queue(key) else { return Ok(false) };
        if queue.wants_purge() || queue.sweep.is_some() {
            return Ok(true);
        }
        let (view, live) = self.view();
        for state in StateKind::TERMINAL.into_iter().filter(|state| queue.count(*state) > 0) {
            let (mut start, end) = bounds(Space::Finished, &FinishedKey::state_prefix(key, state), None);
            // The view first, the hint second (H1).
            live.hints.skip(Space::Finished, &mut start);
            if let Some(found) = view.range::<Finished>((&start, &end)).next()
                && read_key::<Finished>(&found?.0)?.at < before
            {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
