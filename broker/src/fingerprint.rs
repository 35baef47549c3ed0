// SPDX-License-Identifier: Apache-2.0
//! A fingerprint of a parsed command, to tell a repeated call from a different one with the same key.
//!
//! FNV-1a, 128 bits (draft-eastlake-fnv): not meant against an adversary, who could only fool themselves.

use serde::Serialize;

const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;

/// The fingerprint of a value's encoding.
#[must_use]
pub fn of<V: Serialize>(value: &V) -> [u8; 16] {
    let hash = crate::codec::encode(value)
        .iter()
        .fold(OFFSET, |hash, byte| (hash ^ u128::from(*byte)).wrapping_mul(PRIME));
    hash.to_be_bytes()
}
