// SPDX-License-Identifier: Apache-2.0
//! The Raft node: openraft on a runtime of its own, the proposer in front of it, and the actor that watches.
//!
//! ```text
//! callers ──► Proposer ──► openraft ──► log (sync) ──► apply ──► replies to the callers
//!             (batches)       ▲
//!                             └── RaftNode watches: who leads, is it alive
//! ```
//!
//! Arbiters are single-threaded, and a busy handler must not delay Raft: everything of openraft is spawned
//! on the runtime in [`runtime`].

mod actor;
pub mod network;
pub mod proposer;
pub mod runtime;
pub mod turns;

pub use actor::{RaftNode, SNAPSHOT_AFTER};
pub use runtime::{RaftRuntime, StartError};

/// Who leads, as this node knows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leadership {
    /// The Raft term.
    pub term: u64,
    /// The leader's identity, if one is known.
    pub leader: Option<u64>,
    /// True if this node leads and has applied an entry of its own term: only then does it answer.
    pub leads: bool,
}
