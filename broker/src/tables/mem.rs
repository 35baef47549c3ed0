// SPDX-License-Identifier: Apache-2.0
//! Tables in memory, for tests, simulation and checks. They hold the same bytes as the disk would.

use std::collections::BTreeMap;
use std::convert::Infallible;

use super::{Key, Pair, Space, Table, Tables};
use crate::codec;

/// All tables in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemTables {
    spaces: BTreeMap<Space, BTreeMap<Vec<u8>, Vec<u8>>>,
}

impl MemTables {
    /// Empty tables.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Every row there is, in order: table, key bytes, row bytes.
    pub fn rows(&self) -> impl Iterator<Item = (Space, &[u8], &[u8])> {
        self.spaces
            .iter()
            .flat_map(|(space, rows)| rows.iter().map(|(key, row)| (*space, key.as_slice(), row.as_slice())))
    }

    /// Writes a row as bytes, as a snapshot brings it.
    pub fn put_raw(&mut self, space: Space, key: Vec<u8>, row: Vec<u8>) {
        self.spaces.entry(space).or_default().insert(key, row);
    }
}

impl Tables for MemTables {
    type Fault = Infallible;

    fn get<T: Table>(&mut self, key: &T::Key) -> Result<Option<T::Row>, Infallible> {
        let row = self.spaces.get(&T::SPACE).and_then(|rows| rows.get(&key.bytes()));
        Ok(row.map(|bytes| codec::decode(bytes).expect("only our own encoding is stored")))
    }

    fn put<T: Table>(&mut self, key: &T::Key, row: &T::Row) -> Result<(), Infallible> {
        self.put_raw(T::SPACE, key.bytes(), codec::encode(row));
        Ok(())
    }

    fn insert<T: Table>(&mut self, key: &T::Key, row: &T::Row) -> Result<(), Infallible> {
        let is_new = self.spaces.get(&T::SPACE).is_none_or(|rows| !rows.contains_key(&key.bytes()));
        debug_assert!(is_new, "{} has {key:?} already", T::SPACE.name());
        self.put::<T>(key, row)
    }

    fn delete<T: Table>(&mut self, key: &T::Key) -> Result<(), Infallible> {
        if let Some(rows) = self.spaces.get_mut(&T::SPACE) {
            rows.remove(&key.bytes());
            // A table that was once written to equals one that never was.
            if rows.is_empty() {
                self.spaces.remove(&T::SPACE);
            }
        }
        Ok(())
    }

    fn scan<T: Table>(
        &mut self,
        prefix: &[u8],
        from: Option<&T::Key>,
        limit: usize,
    ) -> Result<Vec<Pair<T>>, Infallible> {
        let start = from.map_or_else(|| prefix.to_vec(), Key::bytes).max(prefix.to_vec());
        let Some(rows) = self.spaces.get(&T::SPACE) else { return Ok(Vec::new()) };
        Ok(rows
            .range(start..)
            .take_while(|(key, _)| key.starts_with(prefix))
            .take(limit)
            .map(|(key, row)| {
                let key = T::Key::from_bytes(key).expect("only our own keys are stored");
                (key, codec::decode(row).expect("only our own encoding is stored"))
            })
            .collect())
    }
}
