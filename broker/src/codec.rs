// SPDX-License-Identifier: Apache-2.0
//! How rows, commands and replies become bytes: one version byte, then MessagePack.
//!
//! Structs are encoded as arrays, so a field's position is its name: fields are only ever appended, and a
//! build that does not know a version refuses it instead of guessing.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The format this build writes.
pub const VERSION: u8 = 1;

/// Bytes that this build cannot read.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// There is nothing to read.
    #[error("the record is empty")]
    Empty,
    /// Written by a newer build.
    #[error("the record has format version {0}, this build reads version {VERSION}")]
    Version(u8),
    /// A proposal made under newer rules than this build knows.
    #[error("the entry was proposed under rules {0}, this build knows rules up to {known}", known = crate::command::RULES_VERSION)]
    Rules(u16),
    /// Right version, wrong content.
    #[error("the record cannot be decoded: {0}")]
    Content(#[from] rmp_serde::decode::Error),
}

/// Appends the encoding of `value` to `out`.
pub fn encode_into<V: Serialize>(value: &V, out: &mut Vec<u8>) {
    out.push(VERSION);
    rmp_serde::encode::write(out, value)
        .expect("our own types have no maps of unknown length and a Vec takes every byte");
}

/// Encodes `value`.
#[must_use]
pub fn encode<V: Serialize>(value: &V) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    encode_into(value, &mut out);
    out
}

/// Reads what [`encode`] wrote.
///
/// # Errors
/// If the bytes are empty, of another format version, or not such a value.
pub fn decode<V: DeserializeOwned>(bytes: &[u8]) -> Result<V, DecodeError> {
    match bytes.split_first() {
        None => Err(DecodeError::Empty),
        Some((&VERSION, content)) => Ok(rmp_serde::from_slice(content)?),
        Some((&version, _)) => Err(DecodeError::Version(version)),
    }
}
