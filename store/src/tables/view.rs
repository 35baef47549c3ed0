// SPDX-License-Identifier: Apache-2.0
//! The tables as they were at one moment, for reading only.

use fjall::{Readable, Slice, Snapshot};
use jobbie_broker::tables::{Key, Pair, Space, Table, Tables};

use super::rows;
use crate::keyspaces::{Fault, Keyspaces};

/// A row as bytes: table, key, row.
pub type Row = (Space, Vec<u8>, Vec<u8>);

/// A consistent view of the committed state. Writing through it is a fault.
pub struct View {
    keyspaces: Keyspaces,
    snapshot: Snapshot,
}

impl View {
    /// The state as it is now.
    #[must_use]
    pub fn new(keyspaces: Keyspaces) -> Self {
        Self { snapshot: keyspaces.view(), keyspaces }
    }

    /// The database's view.
    pub(crate) const fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// Every row of a table between two keys, as bytes, in order.
    pub(crate) fn range<T: Table>(
        &self,
        (start, end): (&[u8], &[u8]),
    ) -> impl DoubleEndedIterator<Item = Result<(Slice, Slice), Fault>> + use<T> {
        // A range that ends before it starts panics in the tree below.
        let end = end.max(start);
        self.snapshot.range(self.keyspaces.of(T::SPACE), start..end).map(|guard| Ok(guard.into_inner()?))
    }

    /// Every row there is, in order: table, key bytes, row bytes.
    pub fn rows(&self) -> impl Iterator<Item = Result<Row, Fault>> {
        Space::ALL.into_iter().flat_map(|space| {
            let (start, end) = rows::bounds(space, &[], None);
            self.snapshot.range(self.keyspaces.of(space), start..end).map(move |guard| {
                let (key, row) = guard.into_inner()?;
                Ok((space, key[1..].to_vec(), row.to_vec()))
            })
        })
    }

    /// The row of a key.
    ///
    /// # Errors
    /// If the machine fails.
    pub fn row<T: Table>(&self, key: &T::Key) -> Result<Option<T::Row>, Fault> {
        let key = rows::key::<T>(key);
        let row = self.snapshot.get(self.keyspaces.of(T::SPACE), &key)?;
        row.map(|row| rows::row::<T>(&key, &row)).transpose()
    }
}

impl Tables for View {
    type Fault = Fault;

    fn get<T: Table>(&mut self, key: &T::Key) -> Result<Option<T::Row>, Fault> {
        self.row::<T>(key)
    }

    fn put<T: Table>(&mut self, _: &T::Key, _: &T::Row) -> Result<(), Fault> {
        Err(Fault::ReadOnly)
    }

    fn delete<T: Table>(&mut self, _: &T::Key) -> Result<(), Fault> {
        Err(Fault::ReadOnly)
    }

    fn scan<T: Table>(
        &mut self,
        prefix: &[u8],
        from: Option<&T::Key>,
        limit: usize,
    ) -> Result<Vec<Pair<T>>, Fault> {
        let from = from.map(Key::bytes);
        let (start, end) = rows::bounds(T::SPACE, prefix, from.as_deref());
        self.range::<T>((&start, &end)).take(limit).map(|pair| rows::pair::<T>(&pair?)).collect()
    }
}
