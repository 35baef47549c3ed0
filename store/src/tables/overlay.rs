// SPDX-License-Identifier: Apache-2.0
//! What a group has written and not yet committed, over what is in fjall.

use std::collections::BTreeMap;
use std::collections::btree_map;
use std::ops::Bound;

use fjall::{OwnedWriteBatch, Slice};
use jobbie_broker::tables::Space;

use crate::keyspaces::{Fault, Keyspaces};

/// Rows as bytes by table, keys with the number of the table in front; `None` for a deleted row. Keys and
/// rows move into the batch as they are.
#[derive(Debug)]
pub(crate) struct Overlay {
    spaces: [BTreeMap<Slice, Option<Slice>>; Space::ALL.len()],
}

impl Overlay {
    pub(crate) fn new() -> Self {
        Self { spaces: std::array::from_fn(|_| BTreeMap::new()) }
    }

    fn space(&self, space: Space) -> &BTreeMap<Slice, Option<Slice>> {
        &self.spaces[space as usize - 1]
    }

    /// What the group did to a key: nothing, or wrote a row, or deleted it.
    pub(crate) fn get(&self, space: Space, key: &[u8]) -> Option<Option<&Slice>> {
        self.space(space).get(key).map(Option::as_ref)
    }

    pub(crate) fn set(&mut self, space: Space, key: &[u8], row: Option<Slice>) {
        self.spaces[space as usize - 1].insert(Slice::from(key), row);
    }

    /// At most `limit` rows between the bounds, in key order, with the group's writes over fjall's rows.
    pub(crate) fn scan(
        &self,
        keyspaces: &Keyspaces,
        space: Space,
        (start, end): (&[u8], &[u8]),
        limit: usize,
    ) -> Result<Vec<(Slice, Slice)>, Fault> {
        let mut found = Vec::new();
        if start >= end || limit == 0 {
            return Ok(found);
        }
        let mut ours =
            self.space(space).range::<[u8], _>((Bound::Included(start), Bound::Excluded(end))).peekable();
        let mut theirs = keyspaces.of(space).range(start..end);
        let mut below = theirs.next().map(fjall::Guard::into_inner).transpose()?;
        while found.len() < limit {
            // Ours goes first, and hides the same key of theirs.
            let over = match (ours.peek(), &below) {
                (None, None) => break,
                (Some((key, _)), Some((other, _))) if *key <= other => {
                    if *key == other {
                        below = theirs.next().map(fjall::Guard::into_inner).transpose()?;
                    }
                    true
                }
                (Some(_), None) => true,
                (_, Some(_)) => false,
            };
            if over {
                if let Some((key, Some(row))) = ours.next() {
                    found.push((key.clone(), row.clone()));
                }
            } else if let Some(pair) = below.take() {
                found.push(pair);
                if found.len() < limit {
                    below = theirs.next().map(fjall::Guard::into_inner).transpose()?;
                }
            }
        }
        Ok(found)
    }

    /// How many rows it holds.
    pub(crate) fn len(&self) -> usize {
        self.spaces.iter().map(BTreeMap::len).sum()
    }

    /// Moves everything into a batch.
    pub(crate) fn drain_into(&mut self, keyspaces: &Keyspaces, batch: &mut OwnedWriteBatch) {
        for space in Space::ALL {
            let keyspace = keyspaces.of(space);
            let rows: btree_map::IntoIter<_, _> =
                std::mem::take(&mut self.spaces[space as usize - 1]).into_iter();
            for (key, row) in rows {
                match row {
                    Some(row) => batch.insert(keyspace, key, row),
                    None => batch.remove(keyspace, key),
                }
            }
        }
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        for rows in &mut self.spaces {
            rows.clear();
        }
    }
}
