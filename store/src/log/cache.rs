// SPDX-License-Identifier: Apache-2.0
//! The end of the log as decoded items, bounded by bytes.
//!
//! An item stays until the writer has put it on disk, whatever the bound: before that it can be read
//! nowhere else. Tickets say how far the writer is; an item is let go once its ticket is written.

use std::collections::VecDeque;
use std::ops::Range;

/// What an item costs beside its body: its place here and the allocations around the body. A guess from
/// `raft::Entry`, which is 120 bytes and shares an `Arc`.
const OVERHEAD: usize = 256;

struct Slot<I> {
    item: I,
    weight: usize,
    ticket: u64,
}

/// Items of consecutive indexes, ending at the last entry of the log.
pub(crate) struct Cache<I> {
    slots: VecDeque<Slot<I>>,
    first: u64,
    bytes: usize,
    limit: usize,
}

impl<I> Cache<I> {
    pub(crate) fn new(limit: usize) -> Self {
        Self { slots: VecDeque::new(), first: 0, bytes: 0, limit }
    }

    /// The first index held.
    pub(crate) fn first(&self) -> Option<u64> {
        (!self.slots.is_empty()).then_some(self.first)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn push(&mut self, index: u64, item: I, body: usize, ticket: u64) {
        if self.slots.is_empty() {
            self.first = index;
        }
        debug_assert_eq!(index, self.first + self.slots.len() as u64, "the cache has no holes");
        let weight = body + OVERHEAD;
        self.bytes += weight;
        self.slots.push_back(Slot { item, weight, ticket });
    }

    /// Lets go of the oldest items over the limit that are written.
    pub(crate) fn shrink(&mut self, written: u64) {
        while self.bytes > self.limit && self.slots.front().is_some_and(|s| s.ticket <= written) {
            self.pop_front();
        }
    }

    pub(crate) fn truncate(&mut self, next: u64) {
        while !self.slots.is_empty() && self.first + self.slots.len() as u64 > next {
            if let Some(slot) = self.slots.pop_back() {
                self.bytes -= slot.weight;
            }
        }
    }

    pub(crate) fn purge(&mut self, first: u64) {
        while !self.slots.is_empty() && self.first < first {
            self.pop_front();
        }
    }

    /// Appends clones of the items `wanted` to `out`, until they weigh `budget`; one item is always given.
    pub(crate) fn read(&self, wanted: Range<u64>, budget: &mut usize, out: &mut Vec<I>)
    where
        I: Clone,
    {
        for index in wanted {
            let Some(slot) = usize::try_from(index - self.first).ok().and_then(|at| self.slots.get(at))
            else {
                return;
            };
            if !out.is_empty() && slot.weight > *budget {
                *budget = 0;
                return;
            }
            *budget = budget.saturating_sub(slot.weight);
            out.push(slot.item.clone());
        }
    }

    fn pop_front(&mut self) {
        if let Some(slot) = self.slots.pop_front() {
            self.bytes -= slot.weight;
            self.first += 1;
        }
    }
}
