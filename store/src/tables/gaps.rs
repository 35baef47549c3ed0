// SPDX-License-Identifier: Apache-2.0
//! Stretches of a table that are known to hold no rows, so that a scan jumps over what was deleted there.
//!
//! Upkeep takes its work from the front of a prefix and deletes it: the jobs of a queue that finished first.
//! Without a memory of where the last scan found the first row, every round would pass all the deleted keys
//! of the rounds before (see [`super::window`]).
//!
//! G1: a gap `[start, end)` holds no key of the table, uncommitted ones included. A put ends the gap it
//! falls into: what was known behind it is forgotten, or a queue that fills up would leave a gap per job.
//! Deleting the key right behind a gap makes it longer. Forgetting gaps is always safe.

use std::collections::BTreeMap;
use std::ops::Bound;

/// Gaps kept per table. A gap is worth one queue and state under upkeep; with more than this it is not
/// worth sorting out which to keep: all are dropped and found again.
const MOST: usize = 1024;

/// The gaps of one table, by start.
#[derive(Debug, Default)]
pub(crate) struct Gaps {
    gaps: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Gaps {
    /// The end of the gap that a key lies in.
    pub(crate) fn end_of(&self, key: &[u8]) -> Option<&[u8]> {
        let (_, end) = self.at_or_before(key)?;
        (key < end.as_slice()).then_some(end)
    }

    /// Notes that there is nothing in `[start, end)`.
    pub(crate) fn add(&mut self, start: &[u8], end: &[u8]) {
        if start >= end {
            return;
        }
        let (mut start, mut end) = (start.to_vec(), end.to_vec());
        if let Some((before, its_end)) = self.at_or_before(&start)
            && *its_end >= start
        {
            end = end.max(its_end.clone());
            start.clone_from(before);
        }
        let inside: Vec<Vec<u8>> =
            self.gaps.range(start.clone()..=end.clone()).map(|(start, _)| start.clone()).collect();
        for gap in inside {
            if let Some(its_end) = self.gaps.remove(&gap) {
                end = end.max(its_end);
            }
        }
        if self.gaps.len() >= MOST {
            self.gaps.clear();
        }
        self.gaps.insert(start, end);
    }

    /// Notes a key that is there now.
    pub(crate) fn put(&mut self, key: &[u8]) {
        if self.gaps.is_empty() {
            return;
        }
        let Some((start, end)) = self.at_or_before(key) else { return };
        if key >= end.as_slice() {
            return;
        }
        let start = start.clone();
        if start.as_slice() < key {
            self.gaps.insert(start, key.to_vec());
        } else {
            self.gaps.remove(&start);
        }
    }

    /// Notes a key that is not there any more.
    pub(crate) fn delete(&mut self, key: &[u8]) {
        if self.gaps.is_empty() {
            return;
        }
        let ends_here = self.at_or_before(key).is_some_and(|(_, end)| end == key);
        if ends_here {
            self.add(key, &successor(key));
        }
    }

    fn at_or_before(&self, key: &[u8]) -> Option<(&Vec<u8>, &Vec<u8>)> {
        self.gaps.range::<[u8], _>((Bound::Unbounded, Bound::Included(key))).next_back()
    }
}

/// The smallest key above `key`.
fn successor(key: &[u8]) -> Vec<u8> {
    let mut next = Vec::with_capacity(key.len() + 1);
    next.extend_from_slice(key);
    next.push(0);
    next
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// G1 against a plain set, and neighbouring gaps are one.
        #[test]
        fn gaps_hold_no_key(steps in prop::collection::vec((0u8..3, prop::collection::vec(0u8..3, 1..4)), 0..300)) {
            let mut set: BTreeSet<Vec<u8>> = BTreeSet::new();
            let mut gaps = Gaps::default();
            for (what, key) in steps {
                match what {
                    0 => { set.insert(key.clone()); gaps.put(&key); }
                    1 => { set.remove(&key); gaps.delete(&key); }
                    _ => {
                        let from = gaps.end_of(&key).map_or(key.clone(), <[u8]>::to_vec);
                        let first = set.range(from..).next().cloned().unwrap_or(vec![9]);
                        prop_assert_eq!(set.range(key.clone()..).next().cloned().unwrap_or(vec![9]), first.clone());
                        gaps.add(&key, &first);
                    }
                }
                let mut last: Option<&Vec<u8>> = None;
                for (start, end) in &gaps.gaps {
                    prop_assert!(start < end && set.range(start.clone()..end.clone()).next().is_none());
                    prop_assert!(last.is_none_or(|last| last < start));
                    last = Some(end);
                }
            }
        }
    }
}
