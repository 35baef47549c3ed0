// SPDX-License-Identifier: Apache-2.0
//! One segment: a file, its name and its head.
//!
//! ```text
//! 0000000007-00000000000000012345.log     seventh segment; the next entry was 12345 when it began
//! ┌──────┬────────┬────────┬──────┬─────┬─────────────────────┐
//! │ head │ record │ record │ vote │  …  │ 0 0 0 0 0 0 0 0 0 0 │  zero-filled ahead to 64 MiB
//! └──────┴────────┴────────┴──────┴─────┴─────────────────────┘
//! ```
//!
//! A segment gets its name only after its head is durable, and the segment before it is durable to its end
//! before that. So only the last segment can be torn, and a head never is.

use std::hash::{BuildHasher, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::disk::SegmentFile;
use super::record::{ALIGN, HEADER, Header, Kind, Mark, Record, u32_at, u64_at};
use super::summary::Summary;

/// The format of heads and records that this build writes and reads.
const FORMAT: u8 = 1;
/// Files that never became segments.
pub(crate) const UNFINISHED: &str = ".tmp";

/// A segment in use.
#[derive(Clone)]
pub(crate) struct Segment {
    pub seq: u64,
    /// The next entry when it began.
    pub base: u64,
    pub salt: u64,
    pub path: PathBuf,
    pub file: Arc<dyn SegmentFile>,
    /// Where its head ends.
    pub start: u64,
    /// Where its records end.
    pub end: u64,
    /// Its length on disk.
    pub size: u64,
}

/// What the first record of a segment says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub seq: u64,
    pub salt: u64,
    pub summary: Summary,
}

impl Head {
    /// A head for the segment `seq` that goes on from `summary`.
    pub(crate) fn new(seq: u64, summary: Summary) -> Self {
        // The standard library's only source of randomness. It need not be secret, only different for each
        // segment, so that no other segment's bytes pass for this one's.
        let salt = std::collections::hash_map::RandomState::new().build_hasher().finish();
        Self { seq, salt, summary }
    }

    /// The name of the segment.
    pub(crate) fn file_name(&self) -> String {
        format!("{:010}-{:020}.log", self.seq, self.summary.next())
    }

    /// The bytes at the start of the segment.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut body = vec![FORMAT];
        body.extend_from_slice(&self.seq.to_le_bytes());
        body.extend_from_slice(&self.salt.to_le_bytes());
        body.extend_from_slice(&self.summary.first.to_le_bytes());
        for mark in [self.summary.purged, self.summary.last, self.summary.committed] {
            body.push(u8::from(mark.is_some()));
            let mark = mark.unwrap_or(Mark { term: 0, index: 0 });
            body.extend_from_slice(&mark.term.to_le_bytes());
            body.extend_from_slice(&mark.index.to_le_bytes());
        }
        body.push(u8::from(self.summary.vote.is_some()));
        let vote = self.summary.vote.clone().unwrap_or_default();
        body.extend_from_slice(&u32::try_from(vote.len()).expect("a vote is a few bytes").to_le_bytes());
        body.extend_from_slice(&vote);
        let record = Record { kind: Kind::Head, term: 0, index: 0, body: body.into() };
        let mut out = Vec::new();
        // The salt is inside, so the head itself is checked without one.
        record.encode_into(&mut out, 0, 0, 0);
        out
    }

    /// Reads the head at the start of a segment, and says where it ends.
    pub(crate) fn decode(bytes: &[u8]) -> Result<(Self, u64), String> {
        const FIXED: usize = 1 + 3 * 8 + 3 * 17 + 5;
        let damaged = || "the segment's head is damaged".to_string();
        let header = Header::read(bytes, 0, 0).filter(|h| h.kind == Kind::Head).ok_or_else(damaged)?;
        let body = header.body(bytes, 0, 0).ok_or_else(damaged)?;
        match body.first() {
            Some(&FORMAT) => {}
            Some(other) => {
                return Err(format!("format {other} is not known to this build, which reads {FORMAT}"));
            }
            None => return Err(damaged()),
        }
        if body.len() < FIXED {
            return Err(damaged());
        }
        let mark = |at: usize| {
            (body[at] == 1).then(|| Mark { term: u64_at(body, at + 1), index: u64_at(body, at + 9) })
        };
        let vote = &body[FIXED..];
        if vote.len() != u32_at(body, FIXED - 4) as usize {
            return Err(damaged());
        }
        let summary = Summary {
            first: u64_at(body, 17),
            purged: mark(25),
            last: mark(42),
            committed: mark(59),
            vote: (body[76] == 1).then(|| Bytes::copy_from_slice(vote)),
        };
        Ok((Self { seq: u64_at(body, 1), salt: u64_at(body, 9), summary }, header.size()))
    }

    /// The least that a file with a head has.
    pub(crate) const fn least() -> u64 {
        HEADER as u64 + ALIGN
    }
}

/// Reads sequence and first index out of a file name.
pub(crate) fn parse_name(name: &str) -> Option<(u64, u64)> {
    let (seq, base) = name.strip_suffix(".log")?.split_once('-')?;
    let digits = |s: &str, n: usize| s.len() == n && s.bytes().all(|b| b.is_ascii_digit());
    if !digits(seq, 10) || !digits(base, 20) {
        return None;
    }
    Some((seq.parse().ok()?, base.parse().ok()?))
}

/// A name for a file that is not a segment yet.
pub(crate) fn unfinished(dir: &Path, stem: &str) -> PathBuf {
    dir.join(format!("{stem}{UNFINISHED}"))
}
