// SPDX-License-Identifier: Apache-2.0
//! Opaque JSON: payloads, results and checkpoints.
//!
//! The bytes are kept as the caller sent them and never parsed again. Up to [`INLINE`] bytes live in the
//! job's own row; larger ones in a row of table `Bodies`, so that a state change does not rewrite them.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// The text of one JSON value, byte for byte as received; validated at the edge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Json(pub Bytes);

/// Bytes that stay in the job's row. 4 KiB keeps a row within one block of the state's tables.
pub const INLINE: usize = 4096;

/// Where an opaque value is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Body {
    /// In the job's row.
    Inline(Json),
    /// In table `Bodies`; the length in bytes.
    Stored(u32),
}

impl Body {
    /// Length of the text in bytes, wherever it is kept.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Inline(json) => json.len(),
            Self::Stored(len) => usize::try_from(*len).unwrap_or(usize::MAX),
        }
    }

    /// True if there is no text at all, which no valid JSON value is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Which of a job's opaque values a row of table `Bodies` holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum BodyKind {
    /// What the producer sent.
    Payload = 1,
    /// What the worker answered.
    Result = 2,
    /// What the worker saved on the way.
    Checkpoint = 3,
}

impl BodyKind {
    /// All of them, in key order.
    pub const ALL: [Self; 3] = [Self::Payload, Self::Result, Self::Checkpoint];
}

impl Json {
    /// The JSON text `null`, which is what an absent payload means.
    #[must_use]
    pub fn null() -> Self {
        Self(Bytes::from_static(b"null"))
    }

    /// Length of the text in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True if there is no text at all, which no valid JSON value is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<&str> for Json {
    fn from(text: &str) -> Self {
        Self(Bytes::copy_from_slice(text.as_bytes()))
    }
}
