// SPDX-License-Identifier: Apache-2.0
//! The verdict on bytes that are no record: a write that a crash cut short, or corruption.
//!
//! ```text
//! synced and acknowledged          one write, not yet synced
//! ├────────────────────────┤├──────────────────────────────────────┤
//! │ record │ record │ vote ││ record │ re0000000000000000 │ record │ 0 0 0 …
//!                                       ▲ a sector that did not get to the disk
//! ```
//!
//! A segment is zeros until it is written, and each place is written once. So a lost write leaves zeros: the
//! end of the record (a killed process writes a prefix), or whole 512-byte sectors of it (a power loss keeps
//! any subset of the sectors that were not synced). Damage is therefore a torn write only if
//!
//! 1. no record behind it says that this place was synced when it was written, and
//! 2. the damaged record has such zeros.
//!
//! Everything else is corruption. In particular a flipped bit is never taken for a torn write, unless the
//! same record also holds a sector of zeros in its body; then, in the last write only, it can be.

use super::record::{ALIGN, HEADER, Header};

/// What disks write as one: a sector. Larger units are multiples of it.
const SECTOR: usize = 512;

/// What the bytes at a place are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Left by a crash; never acknowledged.
    Torn,
    /// Was durable, and is now damaged.
    Corrupt {
        /// A record behind it that shows so, if that is the reason.
        witness: Option<usize>,
    },
}

/// Where the last byte that is not zero ends, rounded up to where a record can start.
pub(crate) fn data_end(bytes: &[u8]) -> usize {
    let end = bytes.rchunks(4096).position(|chunk| chunk.iter().any(|b| *b != 0)).map_or(0, |zero_chunks| {
        let upto = bytes.len() - zero_chunks * 4096;
        bytes[..upto].iter().rposition(|b| *b != 0).map_or(0, |at| at + 1)
    });
    end.next_multiple_of(ALIGN as usize).min(bytes.len())
}

/// Judges the bytes at `at`, which are no record although data goes on to `end`.
pub(crate) fn judge(bytes: &[u8], salt: u64, at: usize, end: usize) -> Verdict {
    let mut place = at + ALIGN as usize;
    while place + HEADER <= end {
        if let Some(header) = Header::read(&bytes[place..end], salt, place as u64)
            && header.synced as usize > at
        {
            return Verdict::Corrupt { witness: Some(place) };
        }
        place += ALIGN as usize;
    }
    let size = match Header::read(&bytes[at..], salt, at as u64) {
        Some(header) => usize::try_from(header.size()).unwrap_or(usize::MAX),
        None => HEADER,
    };
    if has_unwritten(bytes, at, at.saturating_add(size)) {
        Verdict::Torn
    } else {
        Verdict::Corrupt { witness: None }
    }
}

/// Whether a record from `from` to `to` lacks its end, or a sector.
fn has_unwritten(bytes: &[u8], from: usize, to: usize) -> bool {
    if bytes.get(to - 1).is_none_or(|last| *last == 0) {
        return true;
    }
    let mut start = from;
    while start < to {
        let stop = ((start / SECTOR + 1) * SECTOR).min(to);
        if bytes[start..stop].iter().all(|b| *b == 0) {
            return true;
        }
        start = stop;
    }
    false
}
