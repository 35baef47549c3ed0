// SPDX-License-Identifier: Apache-2.0
//! The first keys of an ordered set, kept in memory, so that taking from the front never scans the disk.
//!
//! An LSM tree keeps deleted keys until they are merged away, so "scan from the front, delete what was
//! found" gets slower with everything ever deleted: quadratic. A window reads a run of keys once and then
//! only goes forward:
//!
//! ```text
//! set      · · · · k5 k6 k7 │ k8 k9 …          · deleted, still on disk
//! window          [k5 k6 k7]│edge              every key up to the edge is in the window, none beyond it
//! ```
//!
//! W1: the window holds exactly the keys of the set that are not beyond its edge. A put below the edge
//! enters in order; when that overflows, the last key falls out and the edge moves back to the new last one.

use std::collections::VecDeque;

/// How far a window knows the set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Edge<K> {
    /// Not at all.
    Start,
    /// Up to this key.
    After(K),
    /// All of it.
    End,
}

/// The first keys of an ordered set.
#[derive(Debug)]
pub(crate) struct Window<K> {
    keys: VecDeque<K>,
    edge: Edge<K>,
    most: usize,
}

impl<K: Ord + Copy> Window<K> {
    /// A window that knows nothing yet, for at most `most` keys.
    pub(crate) fn unknown(most: usize) -> Self {
        Self { keys: VecDeque::new(), edge: Edge::Start, most: most.max(1) }
    }

    /// The window of an empty set.
    pub(crate) fn empty(most: usize) -> Self {
        Self { edge: Edge::End, ..Self::unknown(most) }
    }

    /// Notes that a key is in the set.
    pub(crate) fn put(&mut self, key: K) {
        let known = match self.edge {
            Edge::Start => false,
            Edge::After(edge) => key <= edge,
            Edge::End => true,
        };
        if !known {
            return;
        }
        // The common case: keys come in order, and a window that knows everything takes them at its end.
        if self.keys.back().is_none_or(|last| *last < key) {
            self.keys.push_back(key);
        } else if let Err(place) = self.keys.binary_search(&key) {
            self.keys.insert(place, key);
        }
        if self.keys.len() > self.most {
            self.keys.pop_back();
            if let Some(last) = self.keys.back() {
                self.edge = Edge::After(*last);
            }
        }
    }

    /// Notes that a key is not in the set.
    pub(crate) fn delete(&mut self, key: K) {
        if self.keys.front() == Some(&key) {
            self.keys.pop_front();
        } else if let Ok(place) = self.keys.binary_search(&key) {
            self.keys.remove(place);
        }
        if self.is_void() {
            self.keys = VecDeque::new();
        }
    }

    /// The first key of the set, after reading on if the window has run dry. `read` gives the keys of the
    /// set beyond its first argument, in order, at most as many as its second.
    pub(crate) fn first<F>(
        &mut self,
        read: impl FnOnce(Option<K>, usize) -> Result<Vec<K>, F>,
    ) -> Result<Option<K>, F> {
        if self.keys.is_empty() && self.edge != Edge::End {
            let after = if let Edge::After(edge) = self.edge { Some(edge) } else { None };
            let keys = read(after, self.most)?;
            let beyond = keys.first().is_none_or(|first| after.is_none_or(|after| *first > after));
            debug_assert!(beyond && keys.is_sorted(), "keys come in order, beyond the edge");
            self.edge = match keys.last() {
                Some(last) if keys.len() >= self.most => Edge::After(*last),
                _ => Edge::End,
            };
            self.keys = keys.into();
        }
        Ok(self.keys.front().copied())
    }

    /// True if the set is known to be empty.
    pub(crate) fn is_void(&self) -> bool {
        self.keys.is_empty() && self.edge == Edge::End
    }

    /// What is known of the front without reading: the first key, or else the edge.
    pub(crate) fn front(&self) -> Result<K, Edge<K>> {
        self.keys.front().copied().ok_or(self.edge)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// W1 and the order, against a plain set: puts anywhere, deletes anywhere, takes from the front.
        #[test]
        fn a_window_shows_the_set(most in 1usize..6, steps in prop::collection::vec((0u8..3, 0u16..40), 0..200)) {
            let mut set: BTreeSet<u16> = (0..20).step_by(3).collect();
            let mut window = Window::unknown(most);
            for (what, key) in steps {
                match what {
                    0 => { set.insert(key); window.put(key); }
                    1 => { set.remove(&key); window.delete(key); }
                    _ => {
                        let read = |after: Option<u16>, limit| {
                            let rest = set.iter().copied().filter(|key| after.is_none_or(|after| *key > after));
                            Ok::<_, Infallible>(rest.take(limit).collect())
                        };
                        let first = window.first(read).unwrap();
                        prop_assert_eq!(first, set.first().copied());
                        if let Some(first) = first { set.remove(&first); window.delete(first); }
                    }
                }
                prop_assert!(window.keys.len() <= most);
                let upto: Vec<_> = match window.edge {
                    Edge::Start => Vec::new(),
                    Edge::After(edge) => set.range(..=edge).copied().collect(),
                    Edge::End => set.iter().copied().collect(),
                };
                prop_assert_eq!(window.keys.iter().copied().collect::<Vec<_>>(), upto);
            }
        }
    }
}
