// SPDX-License-Identifier: Apache-2.0
//! Names of things: queues, jobs and leases.
//!
//! A job is a [`JobNo`] inside: a number counted up in `apply`, 8 bytes in every index. At the edge it is
//! `job_` and a ULID (<https://github.com/ulid/spec>) that embeds the number, so that no index is needed to
//! find it again:
//!
//! ```text
//! bit 127      80 79      64 63               0
//!     created_at   check      job number
//! ```
//!
//! `check` is 16 bits mixed from the other two; a mistyped or invented id does not name a job. Only an id
//! that the caller chose needs a row of its own (table `Ids`).

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// A short shared string: a namespace, queue, worker, principal or key.
pub type Name = Arc<str>;

/// The namespace of the open edition.
pub const DEFAULT_NAMESPACE: &str = "default";

/// A job's number: counted up from 1 by `apply`, never used twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct JobNo(pub u64);

/// A queue within its namespace. The namespace is part of every key from the first day.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct QueueKey {
    /// The namespace; `default` in the open edition.
    pub namespace: Name,
    /// The queue's name, `[A-Za-z0-9_.:-]{1,128}`.
    pub queue: Name,
}

impl QueueKey {
    /// Puts a queue's name and its namespace together.
    #[must_use]
    pub fn new(namespace: &Name, queue: &Name) -> Self {
        Self { namespace: namespace.clone(), queue: queue.clone() }
    }
}

/// What a worker must show to speak for an attempt. Fresh for every lease of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LeaseToken {
    /// The delivery this lease is, counted from 1: two leases of one job never share a token.
    pub delivery: u32,
    /// Drawn from the seed that the leader stamped, so that a token cannot be guessed from the last one.
    pub salt: u64,
}

impl LeaseToken {
    /// Reads a token as [`fmt::Display`] writes it; `None` if it is no token at all.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (delivery, salt) = text.split_once('.')?;
        if salt.len() != 16 || delivery.is_empty() || delivery.len() > 8 {
            return None;
        }
        Some(Self {
            delivery: u32::from_str_radix(delivery, 16).ok()?,
            salt: u64::from_str_radix(salt, 16).ok()?,
        })
    }
}

impl fmt::Display for LeaseToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}.{:016x}", self.delivery, self.salt)
    }
}

/// A job's identity in full: what events, replies and clients need to name it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct JobId {
    /// The job's number.
    pub no: JobNo,
    /// When it was enqueued; the time part of its ULID.
    pub created_at: Timestamp,
    /// The id the caller chose, if any.
    pub chosen: Option<Name>,
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.chosen {
            Some(id) => f.write_str(id),
            None => write_ulid(f, self.no, self.created_at),
        }
    }
}

/// How a caller names a job: by the id jobbie gave it or by one that was chosen at enqueue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum JobRef {
    /// `job_` and a ULID with a valid check: the number and time it embeds.
    Given(JobNo, Timestamp),
    /// Any other id of the allowed form.
    Chosen(Name),
}

impl JobRef {
    /// Reads an id. Never fails: what is no ULID of ours can only be an id that the caller chose.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        match parse_ulid(text) {
            Some((no, at)) => Self::Given(no, at),
            None => Self::Chosen(text.into()),
        }
    }
}

impl From<&JobId> for JobRef {
    fn from(id: &JobId) -> Self {
        match &id.chosen {
            Some(chosen) => Self::parse(chosen),
            None => Self::Given(id.no, id.created_at),
        }
    }
}

impl fmt::Display for JobRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Given(no, at) => write_ulid(f, *no, *at),
            Self::Chosen(id) => f.write_str(id),
        }
    }
}

/// Crockford's base 32, as the ULID specification uses it.
const BASE32: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const PREFIX: &str = "job_";
/// Characters of a ULID: 128 bits, 5 at a time, rounded up.
const ULID_LEN: usize = 26;

fn check_bits(no: JobNo, at: Timestamp) -> u128 {
    u128::from(mix(no.0 ^ at.0.rotate_left(32)) & 0xffff)
}

fn write_ulid(f: &mut fmt::Formatter<'_>, no: JobNo, at: Timestamp) -> fmt::Result {
    let mut bits = (u128::from(at.0) << 80) | (check_bits(no, at) << 64) | u128::from(no.0);
    let mut text = [b'0'; ULID_LEN];
    for slot in text.iter_mut().rev() {
        *slot = BASE32[(bits & 31) as usize];
        bits >>= 5;
    }
    f.write_str(PREFIX)?;
    f.write_str(std::str::from_utf8(&text).unwrap_or_default())
}

fn parse_ulid(text: &str) -> Option<(JobNo, Timestamp)> {
    let digits = text.strip_prefix(PREFIX)?.as_bytes();
    // The first character holds three bits: above '7' the value would not fit 128 bits.
    if digits.len() != ULID_LEN || digits[0] > b'7' {
        return None;
    }
    let mut bits = 0u128;
    for digit in digits {
        let value = BASE32.iter().position(|c| c == digit)?;
        bits = (bits << 5) | value as u128;
    }
    let no = JobNo((bits & u128::from(u64::MAX)) as u64);
    let at = Timestamp((bits >> 80) as u64);
    (((bits >> 64) & 0xffff) == check_bits(no, at)).then_some((no, at))
}

/// SplitMix64's finaliser (Steele, Lea, Flood 2014): spreads every input bit over the whole word.
#[must_use]
pub fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_given_id_reads_back_and_a_mistyped_one_does_not() {
        let id = JobId { no: JobNo(123_456), created_at: Timestamp(1_795_000_000_123), chosen: None };
        let text = id.to_string();
        assert_eq!(text.len(), 30);
        assert_eq!(JobRef::parse(&text), JobRef::Given(id.no, id.created_at));
        let mistyped = format!("{}{}", &text[..29], if text.ends_with('0') { '1' } else { '0' });
        assert_eq!(JobRef::parse(&mistyped), JobRef::Chosen(mistyped.as_str().into()));
        assert_eq!(JobRef::parse("invoice-7"), JobRef::Chosen("invoice-7".into()));
    }

    #[test]
    fn ids_sort_by_time() {
        let early = JobId { no: JobNo(9), created_at: Timestamp(1), chosen: None }.to_string();
        let late = JobId { no: JobNo(1), created_at: Timestamp(2), chosen: None }.to_string();
        assert!(early < late);
    }

    #[test]
    fn a_lease_token_reads_back() {
        let token = LeaseToken { delivery: 3, salt: 0xdead_beef };
        assert_eq!(LeaseToken::parse(&token.to_string()), Some(token));
        for bad in
            ["", ".", "1", "1.2", "x.00000000deadbeef", "1.00000000deadbeef0", "123456789.00000000deadbeef"]
        {
            assert_eq!(LeaseToken::parse(bad), None, "{bad}");
        }
    }
}
