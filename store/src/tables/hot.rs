// SPDX-License-Identifier: Apache-2.0
//! The rows that nearly every command touches, decoded: all queue rows and the row of counters.
//!
//! They are encoded when a layer is written, once for all groups in it. Their number is that of the queues.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jobbie_broker::tables::Key;
use jobbie_broker::tables::schema::MetaRow;
use jobbie_broker::{Queue, QueueKey};

/// Queue rows that were touched: `None` for one that is gone.
pub type TouchedQueues = Vec<(QueueKey, Option<Arc<Queue>>)>;

/// The decoded rows, what the present group has touched of them, and what is not in a layer yet.
#[derive(Debug, Default)]
pub(crate) struct Hot {
    queues: BTreeMap<QueueKey, Arc<Queue>>,
    meta: Option<MetaRow>,
    group: Touched,
    layer: Touched,
}

/// What was touched: which queues, and whether the row of counters was.
#[derive(Debug, Default)]
struct Touched {
    queues: BTreeSet<QueueKey>,
    meta: bool,
}

impl Hot {
    pub(crate) fn new(queues: BTreeMap<QueueKey, Arc<Queue>>, meta: Option<MetaRow>) -> Self {
        Self { queues, meta, ..Self::default() }
    }

    pub(crate) fn queue(&self, key: &QueueKey) -> Option<Queue> {
        self.queues.get(key).map(|queue| Queue::clone(queue))
    }

    pub(crate) fn set_queue(&mut self, key: &QueueKey, queue: Option<Queue>) {
        match queue {
            Some(queue) => self.queues.insert(key.clone(), Arc::new(queue)),
            None => self.queues.remove(key),
        };
        self.group.queues.insert(key.clone());
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
        self.meta = meta;
        self.group.meta = true;
    }

    /// All queues.
    pub(crate) const fn queues(&self) -> &BTreeMap<QueueKey, Arc<Queue>> {
        &self.queues
    }

    /// Ends a group: the queues it has touched, and the row of counters if it changed.
    pub(crate) fn end_group(&mut self) -> (TouchedQueues, Option<Option<MetaRow>>) {
        let Touched { queues, meta } = std::mem::take(&mut self.group);
        let rows = self.rows_of(&queues);
        self.layer.queues.extend(queues);
        self.layer.meta |= meta;
        (rows, meta.then_some(self.meta))
    }

    /// Ends a layer: what the groups in it have touched.
    pub(crate) fn end_layer(&mut self) -> (TouchedQueues, Option<Option<MetaRow>>) {
        let Touched { queues, meta } = std::mem::take(&mut self.layer);
        (self.rows_of(&queues), meta.then_some(self.meta))
    }

    fn rows_of(&self, keys: &BTreeSet<QueueKey>) -> TouchedQueues {
        keys.iter().map(|key| (key.clone(), self.queues.get(key).cloned())).collect()
    }
}
