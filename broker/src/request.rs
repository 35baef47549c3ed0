// SPDX-License-Identifier: Apache-2.0
//! Repeatable calls: what is remembered of a call that carried a key.
//!
//! A call with `Idempotency-Key` is remembered for [`REMEMBERED`]: the same key with the same content gets the
//! first answer, with other content a conflict. An `id` chosen at enqueue is remembered as long as its job, and
//! at least that long. A fetch with `request_id` is remembered for as long as its leases last
//! ([`remembered_for`]): after that there is nothing left to answer, and workers, which fetch all the time,
//! would push the keys of producers out of what can be remembered.

use serde::{Deserialize, Serialize};

use crate::id::{JobNo, LeaseToken, Name};
use crate::reply::Enqueued;
use crate::time::Millis;

/// How long a call's key is remembered: 24 hours.
pub const REMEMBERED: Millis = Millis::from_secs(24 * 3600);
/// A fetch is remembered for two minutes at least: a call that waits for 60 s, and its repeat.
const FETCH_REMEMBERED_MIN: Millis = Millis::from_secs(120);
/// How many keys are remembered at most; beyond it the oldest is forgotten early, one per new one.
pub const REMEMBERED_MAX: u64 = 1_000_000;

/// How long a fetch that asked for leases of that length is remembered.
#[must_use]
pub fn remembered_for(lease: Millis) -> Millis {
    lease.clamp(FETCH_REMEMBERED_MIN, REMEMBERED)
}

/// The routes whose calls can be made repeatable. The numbers are part of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[repr(u8)]
pub enum Route {
    /// Enqueue of one job.
    Enqueue = 1,
    /// Enqueue of a batch.
    EnqueueBatch = 2,
    /// Fetch, single or batch.
    Fetch = 3,
}

/// What a caller may attach to a call to make it repeatable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestKey {
    /// The route it was made on.
    pub route: Route,
    /// The caller's key.
    pub key: Name,
}

/// A remembered call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembered {
    /// Fingerprint of the parsed command.
    pub fingerprint: [u8; 16],
    /// The first answer.
    pub answer: Answer,
}

/// The first answer of a remembered call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// What an enqueue answered.
    Enqueued(Vec<Enqueued>),
    /// The leases that a fetch granted.
    Fetched(Vec<(JobNo, LeaseToken)>),
}

/// An id that a caller chose.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChosenId {
    /// The first answer, naming the job.
    pub first: Enqueued,
    /// Fingerprint of the job as it was sent.
    pub fingerprint: [u8; 16],
}

/// What is forgotten when its time comes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Forget {
    /// A remembered call: namespace, principal, key.
    Request(Name, Name, RequestKey),
    /// A chosen id whose job is gone: namespace, id.
    Id(Name, Name),
}
