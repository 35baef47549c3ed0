// SPDX-License-Identifier: Apache-2.0
//! The bytes of a snapshot file.
//!
//! ```text
//! file    "JOBBSNAP" │ version │ header │ block … │ footer
//! header  length │ crc │ how far the state has come (our codec)
//! block   'B' │ length │ rows │ crc │ row …
//! row     table │ key length │ row length │ key │ row
//! footer  'F' │ rows │ blocks │ check
//! ```
//!
//! Integers are little-endian: lengths, crcs and counts of a block 32 bits, counts in the footer 64. A crc
//! (CRC-32C) covers everything of its part but itself; the check covers every byte of the file before it,
//! so that blocks cannot be dropped, doubled or moved. Rows are in the order of (table, key).

/// What a snapshot file begins with.
pub(crate) const MAGIC: [u8; 8] = *b"JOBBSNAP";
/// The format this build writes, and the newest it reads.
pub(crate) const VERSION: u32 = 1;
/// Magic and version.
pub(crate) const START_LEN: usize = 12;
/// Length and crc of the header.
pub(crate) const HEADER_LEN: usize = 8;
/// A membership of thousands of nodes is far below this; a longer header is damage.
pub(crate) const MAX_HEADER: usize = 1 << 20;
/// First byte of a block.
pub(crate) const BLOCK: u8 = b'B';
/// First byte of the footer.
pub(crate) const FOOTER: u8 = b'F';
/// What comes before a block's rows.
pub(crate) const BLOCK_HEAD_LEN: usize = 13;
/// All of the footer.
pub(crate) const FOOTER_LEN: usize = 21;
/// What comes before a row's key and bytes.
pub(crate) const ROW_HEAD_LEN: usize = 9;
/// A block is closed when it reaches this: large enough that heads cost nothing, small enough to buffer.
pub(crate) const BLOCK_BYTES: usize = 64 << 10;
/// No block is longer: a row is at most a job with its bodies inline or one body, far below this.
pub(crate) const MAX_BLOCK: usize = 64 << 20;

/// Reads a little-endian number off a fixed place; the caller has made sure of the length.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|four| four.try_into().ok()).map_or(0, u32::from_le_bytes)
}

/// Reads a little-endian number off a fixed place; the caller has made sure of the length.
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|eight| eight.try_into().ok()).map_or(0, u64::from_le_bytes)
}
