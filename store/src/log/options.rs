// SPDX-License-Identifier: Apache-2.0
//! What a log is given and what it says of itself.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::Durability;

/// How a log is kept.
#[derive(Clone, Copy, Debug)]
pub struct LogOptions {
    /// The size of a segment. 64 MiB: small enough that a purge frees space soon, large enough that the
    /// three syncs of a change of segments are rare (some 300,000 records of 200 bytes apart).
    pub segment_bytes: u64,
    /// How much of the log's end stays in memory, decoded. 16 MiB: half a second of full load. Apply is never that
    /// far behind, and what is older comes from the kernel's page cache.
    pub cache_bytes: usize,
    /// What a callback waits for.
    pub durability: Durability,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self { segment_bytes: 64 << 20, cache_bytes: 16 << 20, durability: Durability::Fsync }
    }
}

/// Hears of each sync, for metrics. Called on the writer thread, and in relaxed mode also on the sync
/// thread (then with zero records: those were counted as written).
pub trait LogObserver: Send + Sync + 'static {
    /// A sync took so long and made so many records and bytes durable.
    fn synced(&self, took: Duration, records: usize, bytes: usize);
}

/// Why a log does not open.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The file system failed.
    #[error("{path}: {source}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// Its error.
        source: io::Error,
    },
    /// Something that was durable is damaged or gone.
    #[error(
        "the log is corrupt: {file} at offset {offset}: {what}; jobbie cannot repair it: restore from a backup \
         or, in a cluster, replace this node"
    )]
    Corrupt {
        /// The file.
        file: PathBuf,
        /// The place in it.
        offset: u64,
        /// What is wrong.
        what: String,
    },
    /// The options make no sense.
    #[error("log segments of {0} bytes are not possible: between 4 KiB and 1 GiB are")]
    SegmentBytes(u64),
}

impl LogError {
    pub(crate) fn io(path: &Path, source: io::Error) -> Self {
        Self::Io { path: path.to_path_buf(), source }
    }

    pub(crate) fn corrupt(file: &Path, offset: u64, what: impl Into<String>) -> Self {
        Self::Corrupt { file: file.to_path_buf(), offset, what: what.into() }
    }
}

/// What a log takes up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogStats {
    /// Segments, the current one included.
    pub segments: usize,
    /// What they take on disk, the zeros at the end of the current one included.
    pub bytes_on_disk: u64,
    /// The records in them, dead ones included. This is what a snapshot and a purge could free.
    pub bytes_used: u64,
    /// The first living entry.
    pub first_index: Option<u64>,
    /// The last entry, living or purged.
    pub last_index: Option<u64>,
    /// The last purged entry.
    pub purged_index: Option<u64>,
    /// Whether a vote was ever saved: Raft does so before anything else.
    pub has_vote: bool,
    /// What the cache holds.
    pub cache_bytes: usize,
    /// Syncs of log records since opening.
    pub syncs: u64,
    /// Bytes of an unfinished write at the end that opening dropped.
    pub torn_bytes: u64,
}
