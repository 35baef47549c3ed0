// SPDX-License-Identifier: Apache-2.0
//! What the scheduler asks before it proposes a step of upkeep.

use jobbie_broker::request::RequestKey;
use jobbie_broker::tables::Tables;
use jobbie_broker::tables::schema::{Finished, FinishedKey, ForgetKey, Forgets, RequestRowKey, Requests};
use jobbie_broker::{Name, QueueKey, StateKind, Timestamp};

use super::Reader;
use crate::keyspaces::Fault;

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
        // No row is earlier than `forgets_from`, and an earlier look has often been in vain.
        if meta.forgets_from > now {
            return Ok(false);
        }
        let from = ForgetKey { at: meta.forgets_from, number: 0 };
        let first = self.ask(|tables| tables.scan::<Forgets>(&[], Some(&from), 1))?;
        Ok(first.first().is_some_and(|(key, _)| key.at <= now))
    }

    /// True if a call with this key was answered and is remembered.
    ///
    /// # Errors
    /// If the machine fails.
    pub fn is_remembered(&self, namespace: &Name, by: &Name, request: &RequestKey) -> Result<bool, Fault> {
        let (namespace, by, key) = (namespace.clone(), by.clone(), request.key.clone());
        let row = RequestRowKey { namespace, by, route: request.route, key };
        Ok(self.row::<Requests>(&row)?.is_some())
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
        let terminal = StateKind::TERMINAL.into_iter().filter(|state| queue.count(*state) > 0);
        self.ask(|tables| {
            for state in terminal {
                let prefix = FinishedKey::state_prefix(key, state);
                let first = tables.scan::<Finished>(&prefix, None, 1)?;
                if first.first().is_some_and(|(key, ())| key.at < before) {
                    return Ok(true);
                }
            }
            Ok(false)
        })
    }
}
