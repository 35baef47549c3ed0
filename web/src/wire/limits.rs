// SPDX-License-Identifier: Apache-2.0
//! How large things may be. The defaults are those of the contract; where it is silent the constant says why.

use jobbie_broker::Millis;

/// Jobs in one `POST /enqueue/batch`.
pub const MAX_BATCH: usize = 10_000;
/// Jobs in one `POST /fetch/batch`.
pub const MAX_FETCH: u32 = 1_000;
/// Items in one `ack/batch`, `fail/batch`, `release/batch` or `heartbeat`: ten full fetches.
pub const MAX_ITEMS: usize = 10_000;
/// Queues that one fetch or stream may name: more than a worker serves, few enough to look at on every poll.
pub const MAX_QUEUES: usize = 256;
/// Labels of one job: they live in its row, which is rewritten with every change of state.
pub const MAX_TAGS: usize = 64;
/// Bytes of a label's name.
pub const MAX_TAG_NAME: usize = 128;
/// Bytes of a label's value.
pub const MAX_TAG_VALUE: usize = 1_024;
/// Bytes of a worker's id, a host name, an idempotency key: a DNS name has at most 253.
pub const MAX_NAME: usize = 256;
/// Bytes of a unique key: room for two digests and a prefix.
pub const MAX_UNIQUE_KEY: usize = 512;
/// Bytes of a progress message.
pub const MAX_PROGRESS: usize = 1_024;
/// How deep a payload, result or checkpoint may be nested: what serde_json and most other parsers read.
pub const MAX_DEPTH: usize = 128;
/// How much deeper a whole MessagePack body may be: `{"jobs":[{"payload":…}]}`.
pub const ENVELOPE_DEPTH: usize = 3;
/// Bytes of a body besides its opaque values and error texts: all labels of a job take 432 KiB if each of
/// their characters is escaped.
pub const ENVELOPE: usize = 512 * 1024;
/// Bytes in JSON for one byte of a text, if it is escaped: `\u0001`.
pub const ESCAPED: usize = 6;

/// What the operator may set: sizes in bytes, and a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// A payload.
    pub payload: usize,
    /// A result.
    pub result: usize,
    /// A checkpoint.
    pub checkpoint: usize,
    /// The text of an error. Twenty of them stay in a job's row.
    pub error: usize,
    /// A backtrace.
    pub backtrace: usize,
    /// A whole request, and what a batched fetch answers.
    pub body: usize,
    /// How long finished jobs stay at most; `None` if they stay for ever.
    pub retention: Option<Millis>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            payload: 256 * 1024,
            result: 1024 * 1024,
            checkpoint: 1024 * 1024,
            error: 16 * 1024,
            backtrace: 64 * 1024,
            body: 16 * 1024 * 1024,
            retention: None,
        }
    }
}
