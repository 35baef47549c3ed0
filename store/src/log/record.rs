// SPDX-License-Identifier: Apache-2.0
//! One record of the log, as a value and as bytes.
//!
//! ```text
//!  0        4        8        12        16       24            31 32        32+len        size
//!  ├─ hcrc ─┼─ crc ──┼─ len ──┼─ synced ┼─ term ─┼─ index (56) ─┼kind┤─ body ─┼─ 0 … 0 ED ─┤
//!  │        │        └──────────────── crc covers all of this, to the end ──────────────────┘
//!  │        └── hcrc covers this, to the end of the header ──────────┘
//! ```
//!
//! All numbers are little endian. Why it looks like this:
//!
//! - Both checksums are crc32c, seeded with the segment's salt and the record's offset. Bytes are a record
//!   only at the place where they were written: a copy of a record inside a job's payload, or a page that
//!   the disk put elsewhere, is not.
//! - `hcrc` makes the length trustworthy when the body is not, so that a damaged body can be told from a
//!   record that was never written to its end.
//! - `synced` says up to which offset the segment was on stable storage when this record was written. It is
//!   the proof that a damaged record further up had been acknowledged (see `torn`).
//! - A record starts on 8 bytes, its last header byte (`kind`) and its last byte (`END`) are never zero. A
//!   write that did not happen leaves zeros, so both of its ends can be seen.

use std::io;

use bytes::Bytes;

/// Bytes before the body.
pub(crate) const HEADER: usize = 32;
/// Records start on multiples of this, so that a search for records need not try every byte.
pub(crate) const ALIGN: u64 = 8;
/// The last byte of each record: anything but zero.
const END: u8 = 0xED;
/// The largest body: 1 GiB, so that an offset inside a segment always fits its 32 bits.
pub(crate) const MAX_BODY: usize = 1 << 30;
/// Indexes have 56 bits; the kind has the other eight.
pub(crate) const MAX_INDEX: u64 = (1 << 56) - 1;

/// What a record is. The numbers are on disk and are never reused. All have several bits, so that no flip
/// of one makes a zero, which would look like a header that was not written to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// The first record of a segment: what was true when the segment began.
    Head = 0xA1,
    /// An entry without content.
    Blank = 0xA2,
    /// An entry with content.
    Normal = 0xA3,
    /// An entry that changes the membership.
    Membership = 0xA4,
    /// The vote.
    Vote = 0xA5,
    /// The last entry known to be committed; a body of one byte if there is one.
    Committed = 0xA6,
    /// Entries after this record's index are dropped; all of them if the body is empty.
    Truncate = 0xA7,
    /// Entries up to this record's index are in a snapshot and no longer needed.
    Purge = 0xA8,
}

impl Kind {
    /// The kind with this number.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            0xA1 => Self::Head,
            0xA2 => Self::Blank,
            0xA3 => Self::Normal,
            0xA4 => Self::Membership,
            0xA5 => Self::Vote,
            0xA6 => Self::Committed,
            0xA7 => Self::Truncate,
            0xA8 => Self::Purge,
            _ => return None,
        })
    }

    /// Whether a record of this kind takes an index of the log.
    #[must_use]
    pub const fn is_entry(self) -> bool {
        matches!(self, Self::Blank | Self::Normal | Self::Membership)
    }
}

/// A position in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark {
    /// The term that the entry was proposed in.
    pub term: u64,
    /// Its index.
    pub index: u64,
}

/// A record as a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// What it is.
    pub kind: Kind,
    /// Its term, or zero.
    pub term: u64,
    /// Its index, or zero.
    pub index: u64,
    /// Its content; opaque to the log.
    pub body: Bytes,
}

impl Record {
    /// The record's term and index.
    #[must_use]
    pub const fn mark(&self) -> Mark {
        Mark { term: self.term, index: self.index }
    }

    /// How many bytes it takes in a segment.
    #[must_use]
    pub(crate) fn size(&self) -> u64 {
        size_of_body(self.body.len())
    }

    /// Appends the record as it stands at `offset` of the segment with `salt`.
    pub(crate) fn encode_into(&self, out: &mut Vec<u8>, salt: u64, offset: u64, synced: u32) {
        let start = out.len();
        let len = u32::try_from(self.body.len()).expect("append refuses bodies over MAX_BODY");
        out.extend_from_slice(&[0; 8]);
        out.extend_from_slice(&len.to_le_bytes());
        out.extend_from_slice(&synced.to_le_bytes());
        out.extend_from_slice(&self.term.to_le_bytes());
        out.extend_from_slice(&(self.index | (self.kind as u64) << 56).to_le_bytes());
        out.extend_from_slice(&self.body);
        let size = usize::try_from(self.size()).expect("a body is at most 1 GiB");
        out.resize(start + size - 1, 0);
        out.push(END);
        let seed = seed(salt, offset);
        let crc = crc32c::crc32c_append(seed, &out[start + 8..]);
        out[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
        let hcrc = crc32c::crc32c_append(seed, &out[start + 4..start + HEADER]);
        out[start..start + 4].copy_from_slice(&hcrc.to_le_bytes());
    }
}

/// A header whose checksum is right.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    pub kind: Kind,
    pub term: u64,
    pub index: u64,
    pub len: u32,
    pub synced: u32,
    crc: u32,
}

impl Header {
    /// Reads the header at the start of `bytes`, which stand at `offset` of the segment with `salt`.
    pub(crate) fn read(bytes: &[u8], salt: u64, offset: u64) -> Option<Self> {
        let header = bytes.get(..HEADER)?;
        if crc32c::crc32c_append(seed(salt, offset), &header[4..]) != u32_at(header, 0) {
            return None;
        }
        let last = u64_at(header, 24);
        Some(Self {
            kind: Kind::from_number((last >> 56) as u8)?,
            term: u64_at(header, 16),
            index: last & MAX_INDEX,
            len: u32_at(header, 8),
            synced: u32_at(header, 12),
            crc: u32_at(header, 4),
        })
    }

    /// How many bytes the record takes.
    pub(crate) fn size(&self) -> u64 {
        size_of_body(self.len as usize)
    }

    /// The body, if all of the record is in `bytes` and its checksum is right.
    pub(crate) fn body<'a>(&self, bytes: &'a [u8], salt: u64, offset: u64) -> Option<&'a [u8]> {
        let whole = bytes.get(..usize::try_from(self.size()).ok()?)?;
        let right = crc32c::crc32c_append(seed(salt, offset), &whole[8..]) == self.crc;
        right.then(|| &whole[HEADER..HEADER + self.len as usize])
    }

    /// The record with this header and body.
    pub(crate) fn record(&self, body: Bytes) -> Record {
        Record { kind: self.kind, term: self.term, index: self.index, body }
    }
}

/// What the log's users store: something that can become a record and be read back from one. Clones must be
/// cheap, because the tail of the log is kept in memory and handed out from there.
pub trait Item: Clone + Send + Sync + 'static {
    /// The entry as a record of an entry kind.
    fn to_record(&self) -> Record;

    /// Reads what [`Item::to_record`] wrote.
    ///
    /// # Errors
    /// `InvalidData` if the body is of a newer format or no such item.
    fn from_record(record: Record) -> io::Result<Self>;
}

impl Item for Record {
    fn to_record(&self) -> Record {
        self.clone()
    }

    fn from_record(record: Record) -> io::Result<Self> {
        Ok(record)
    }
}

const fn size_of_body(len: usize) -> u64 {
    (HEADER as u64 + len as u64 + 1).next_multiple_of(ALIGN)
}

fn seed(salt: u64, offset: u64) -> u32 {
    let mut place = [0; 16];
    place[..8].copy_from_slice(&salt.to_le_bytes());
    place[8..].copy_from_slice(&offset.to_le_bytes());
    crc32c::crc32c(&place)
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(number)
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(number)
}
