// SPDX-License-Identifier: Apache-2.0
//! Unique keys: at most one live job per key and namespace, and result caching.
//!
//! A live job holds its key. A completed one holds it until the period since its enqueue ends: an enqueue
//! with that key then returns the completed job with its result. Dead, cancelled or deleted frees the key
//! in the same commit.

use serde::{Deserialize, Serialize};

use crate::id::{JobNo, Name};
use crate::time::{Millis, Timestamp};

/// What the producer asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unique {
    /// The key, within the namespace.
    pub key: Name,
    /// How long after the enqueue a completed job still answers for the key.
    pub period: Millis,
}

/// The row of a held key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The job that holds it.
    pub job: JobNo,
    /// Set when the job has completed: the key is free from then on.
    pub until: Option<Timestamp>,
}

impl Holder {
    /// True if the key is still held at `now`.
    #[must_use]
    pub fn holds(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| until > now)
    }
}
