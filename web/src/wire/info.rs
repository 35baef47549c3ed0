// SPDX-License-Identifier: Apache-2.0
//! `GET /info`: what a node says of itself.

use jobbie_actors::ports::{Durability, NodeInfo};
use jobbie_broker::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use super::{Limits, Stamp, schema};

/// A node.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Info)]
pub struct InfoView {
    /// The version of jobbie.
    #[schema(value_type = String, example = "0.1.0")]
    pub version: &'static str,
    /// The node's random identity, in hexadecimal.
    pub node_id: String,
    /// What an acknowledged write means here: `fsync` (on disk) or `relaxed` (on disk within 100 ms).
    #[schema(value_type = String, example = "fsync")]
    pub durability: &'static str,
    /// When the process started.
    #[schema(value_type = schema::Time)]
    pub started_at: Stamp,
    /// For how long it has been running.
    pub uptime_s: u64,
    /// The node's time.
    #[schema(value_type = schema::Time)]
    pub now: Stamp,
    /// True if this node leads.
    pub leads: bool,
    /// The leader's identity, if one is known.
    pub leader: Option<String>,
    /// The Raft term.
    pub term: u64,
    /// The last log index applied.
    pub applied_index: u64,
    /// Bytes on disk.
    pub disk: DiskView,
    /// How large things may be, in bytes.
    pub limits: LimitsView,
}

/// Bytes on disk.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Disk)]
pub struct DiskView {
    /// Tables of the state.
    pub state_bytes: u64,
    /// Journals of the state.
    pub journal_bytes: u64,
    /// The newest snapshot.
    pub snapshot_bytes: u64,
    /// The log.
    pub log_bytes: u64,
    /// What may still be written to the file system.
    pub free_bytes: u64,
    /// The whole file system.
    pub total_bytes: u64,
    /// Free bytes below which new jobs are refused; 0 never refuses.
    pub reserve_bytes: u64,
    /// True while new jobs are refused with `STORAGE_FULL`.
    pub full: bool,
}

/// How large things may be, in bytes.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Limits)]
pub struct LimitsView {
    /// A payload.
    pub payload: usize,
    /// A result.
    pub result: usize,
    /// A checkpoint.
    pub checkpoint: usize,
    /// A whole request.
    pub body: usize,
}

fn id(number: u64) -> String {
    format!("{number:016x}")
}

impl InfoView {
    /// Puts together what the node and its doors know.
    #[must_use]
    pub fn new(info: &NodeInfo, now: Timestamp, limits: &Limits) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION"),
            node_id: id(info.node_id),
            durability: match info.durability {
                Durability::Fsync => "fsync",
                Durability::Relaxed => "relaxed",
            },
            started_at: Stamp(info.started_at),
            uptime_s: now.since(info.started_at).0 / 1000,
            now: Stamp(now),
            leads: info.leads,
            leader: info.leader.map(id),
            term: info.term,
            applied_index: info.applied_index,
            disk: DiskView {
                state_bytes: info.disk.state_bytes,
                journal_bytes: info.disk.journal_bytes,
                snapshot_bytes: info.disk.snapshot_bytes,
                log_bytes: info.disk.log_bytes,
                free_bytes: info.room.free,
                total_bytes: info.room.total,
                reserve_bytes: info.room.reserve,
                full: info.room.full,
            },
            limits: LimitsView {
                payload: limits.payload,
                result: limits.result,
                checkpoint: limits.checkpoint,
                body: limits.body,
            },
        }
    }
}
