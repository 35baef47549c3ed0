// SPDX-License-Identifier: Apache-2.0
//! The rows that nearly every command touches, decoded: all queue rows and the row of counters.
//!
//! They are encoded once per group, when it is committed. Their number is that of the queues.

use std::collections::BTreeMap;
use std::sync::Arc;

use jobbie_broker::tables::Key;
use jobbie_broker::tables::schema::MetaRow;
use jobbie_broker::{Queue, QueueKey};

/// Queue rows that a group has touched: `None` for one that is gone.
pub type TouchedQueues = Vec<(QueueKey, Option<Arc<Queue>>)>;

/// The decoded rows, and what they were before the group that is being applied.
#[derive(Debug, Default)]
pub(crate) struct Hot {
    queues: BTreeMap<QueueKey, Arc<Queue>>,
    before: BTreeMap<QueueKey, Option<Arc<Queue>>>,
    meta: Option<MetaRow>,
    meta_before: Option<Option<MetaRow>>,
}

impl Hot {
    pub(crate) fn new(queues: BTreeMap<QueueKey, Arc<Queue>>, meta: Option<MetaRow>) -> Self {
        Self { queues, meta, ..Self::default() }
    }

    pub(crate) fn queue(&self, key: &QueueKey) -> Option<Queue> {
        self.queues.get(key).map(|queue| Queue::clone(queue))
    }

    pub(crate) fn set_queue(&mut self, key: &QueueKey, queue: Option<Queue>) {
        let old = match queue {
            Some(queue) => self.queues.insert(key.clone(), Arc::new(queue)),
            None => self.queues.remove(key),
        };
        self.before.entry(key.clone()).or_insert(old);
    }

    /// Queues whose key bytes begin with `prefix` and are not below `from`, in order.
    pub(crate) fn scan(
        &self,
        prefix: &[u8],
        from: Option<&QueueKey>,
        limit: usize,
    ) -> Vec<(QueueKey, Queue)> {
        let rows = self.queues.iter().filter(|(key, _)| from.is_none_or(|from| *key >= from));
        let rows = rows.filter(|(key, _)| key.bytes().starts_with(prefix));
        rows.take(limit).map(|(key, queue)| (key.clone(), Queue::clone(queue))).collect()
    }

    pub(crate) const fn meta(&self) -> Option<MetaRow> {
        self.meta
    }

    pub(crate) fn set_meta(&mut self, meta: Option<MetaRow>) {
        self.meta_before.get_or_insert(self.meta);
        self.meta = meta;
    }

    /// All queues.
    pub(crate) const fn queues(&self) -> &BTreeMap<QueueKey, Arc<Queue>> {
        &self.queues
    }

    /// What the group has touched: queues, and the row of counters if it changed.
    pub(crate) fn touched(&self) -> (TouchedQueues, Option<Option<MetaRow>>) {
        let queues = self.before.keys().map(|key| (key.clone(), self.queues.get(key).cloned())).collect();
        (queues, self.meta_before.map(|_| self.meta))
    }

    /// What was touched is committed.
    pub(crate) fn keep(&mut self) {
        self.before.clear();
        self.meta_before = None;
    }

    /// Back to what it was before the group.
    pub(crate) fn discard(&mut self) {
        for (key, old) in std::mem::take(&mut self.before) {
            match old {
                Some(queue) => self.queues.insert(key, queue),
                None => self.queues.remove(&key),
            };
        }
        if let Some(meta) = self.meta_before.take() {
            self.meta = meta;
        }
    }
}
