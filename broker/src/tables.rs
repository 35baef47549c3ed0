// SPDX-License-Identifier: Apache-2.0
//! Ordered maps: all that `apply` may read and write.
//!
//! A [`Table`] names a space, a key type whose bytes sort as the key means, and a row type. Two
//! implementations: [`mem::MemTables`] for tests and simulation, and the fjall one in `store`, which is held
//! against it command by command. What an entry wrote is visible to the rest of that entry and to all later
//! ones; when it reaches the disk is the implementation's business.

pub mod key;
pub mod mem;
pub mod schema;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::id::QueueKey;
use crate::time::Timestamp;

pub use key::Key;
pub use schema::Space;
use schema::{DueKey, Lane, ReadyKey};

/// One ordered map.
pub trait Table: 'static {
    /// Which one.
    const SPACE: Space;
    /// Its key.
    type Key: Key + Clone + Ord + std::fmt::Debug;
    /// Its row.
    type Row: Serialize + DeserializeOwned + Clone + PartialEq + std::fmt::Debug;
}

/// Key and row of one table.
pub type Pair<T> = (<T as Table>::Key, <T as Table>::Row);

/// All tables together.
pub trait Tables {
    /// What can go wrong with the machine; uninhabited in memory. Never part of a reply.
    type Fault;

    /// The row of a key.
    ///
    /// # Errors
    /// Only if the machine fails, as for every method here.
    fn get<T: Table>(&mut self, key: &T::Key) -> Result<Option<T::Row>, Self::Fault>;

    /// Writes a row, over an older one if there is one.
    ///
    /// # Errors
    /// Only if the machine fails.
    fn put<T: Table>(&mut self, key: &T::Key, row: &T::Row) -> Result<(), Self::Fault>;

    /// Writes a row whose key is not there. A table on disk need never write a row that it knows to be new and
    /// that is deleted again soon: most index rows of a job live for moments.
    ///
    /// # Errors
    /// Only if the machine fails.
    fn insert<T: Table>(&mut self, key: &T::Key, row: &T::Row) -> Result<(), Self::Fault> {
        self.put::<T>(key, row)
    }

    /// Removes a row, if there is one.
    ///
    /// # Errors
    /// Only if the machine fails.
    fn delete<T: Table>(&mut self, key: &T::Key) -> Result<(), Self::Fault>;

    /// At most `limit` rows, in key order, whose key bytes begin with `prefix` and are not below `from`.
    ///
    /// # Errors
    /// Only if the machine fails.
    fn scan<T: Table>(
        &mut self,
        prefix: &[u8],
        from: Option<&T::Key>,
        limit: usize,
    ) -> Result<Vec<Pair<T>>, Self::Fault>;

    /// The job of a queue that is next in line: highest priority, then lowest number. Implementations
    /// on disk answer from a window in memory, never by a scan from the front.
    ///
    /// # Errors
    /// Only if the machine fails.
    fn first_ready(&mut self, queue: &QueueKey) -> Result<Option<ReadyKey>, Self::Fault> {
        let found = self.scan::<schema::Ready>(&ReadyKey::queue_prefix(queue), None, 1)?;
        Ok(found.into_iter().next().map(|(key, ())| key))
    }

    /// The earliest timer of a lane that is due by `until`.
    ///
    /// # Errors
    /// Only if the machine fails.
    fn first_due(&mut self, lane: Lane, until: Timestamp) -> Result<Option<DueKey>, Self::Fault> {
        let found = self.scan::<schema::Due>(&[lane as u8], None, 1)?;
        Ok(found.into_iter().map(|(key, ())| key).find(|key| key.at <= until))
    }
}
