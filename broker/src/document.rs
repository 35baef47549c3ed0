// SPDX-License-Identifier: Apache-2.0
//! Documents: what features keep in the replicated state without the rules knowing what it means.
//!
//! A document has a space (which feature it belongs to), a key in it, and a value that is stored as it comes.
//! Every write gives it a version that no document has had before, so that `expect` tells whether anything has
//! changed since it was read, also when it has been removed and written again meanwhile.

use serde::{Deserialize, Serialize};

use crate::body::Json;
use crate::id::Name;
use crate::time::Timestamp;

/// A stored document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    /// The value, byte for byte as it was put.
    pub value: Json,
    /// Larger than that of everything written before.
    pub version: u64,
    /// When it was put.
    pub put_at: Timestamp,
    /// By whom.
    pub put_by: Name,
}

/// What a document must be for a change to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Expect {
    /// Anything, or not there.
    Anything,
    /// Not there.
    Absent,
    /// There, in this version.
    Version(u64),
}

impl Expect {
    /// True if it is so.
    #[must_use]
    pub fn holds(self, found: Option<&Document>) -> bool {
        match self {
            Self::Anything => true,
            Self::Absent => found.is_none(),
            Self::Version(version) => found.is_some_and(|found| found.version == version),
        }
    }
}
