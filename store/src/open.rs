// SPDX-License-Identifier: Apache-2.0
//! Opening a data directory.
//!
//! ```text
//! LOCK        held by the one process that uses the directory
//! node        format of the directory, random node id
//! log/        the only truth
//! state/      the database, rebuildable: CURRENT says which
//! snapshot/   what it is rebuilt from, no older than the purged part of the log
//! ```

mod identity;
mod lock;
mod recover;
mod states;

use std::fs::{self, DirBuilder, Permissions};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::keyspaces::{Fault, Memory};
use crate::log::{LogError, LogObserver, LogOptions};
use crate::log_storage::LogStore;
use crate::query::Reader;
use crate::snapshot::SnapshotDir;
use crate::state_machine::{ApplySink, Shared, StateMachine};
pub(crate) use identity::{read as identity, read_or_draw as draw_identity};
pub(crate) use lock::DirLock;
pub(crate) use states::StateDirs;

/// A file that is there while a restore fills the directory.
pub(crate) const RESTORING: &str = "RESTORING";

/// What "acknowledged" means. There is no third mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Acknowledged means on disk: the log is synced before anything is answered. The default.
    Fsync,
    /// The log is synced in the background, at most 100 ms behind: a crash of the machine may lose that
    /// much, a crash of the process nothing. Said aloud at start and in `/info`.
    Relaxed,
}

/// Where the data lies and how much memory its caches may take.
#[derive(Clone, Debug)]
pub struct Options {
    /// The data directory; created if missing.
    pub dir: PathBuf,
    /// When the log is synced.
    pub durability: Durability,
    /// Length of one segment of the log.
    pub segment_bytes: u64,
    /// Bytes of decoded log entries kept for apply and replication.
    pub log_cache_bytes: usize,
    /// Bytes of the state that wait in memory for being written to tables, over all keyspaces.
    pub write_buffer_bytes: u64,
    /// Bytes of the state's blocks kept in memory.
    pub block_cache_bytes: u64,
}

impl Options {
    /// The defaults for a directory.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        let log = LogOptions::default();
        Self {
            dir: dir.into(),
            durability: Durability::Fsync,
            segment_bytes: log.segment_bytes,
            log_cache_bytes: log.cache_bytes,
            // Four memtables of 8 MiB and as much again on its way to disk.
            write_buffer_bytes: 64 << 20,
            // The blocks of some 300,000 jobs of 200 bytes: what is fetched and acknowledged is new or old
            // but rarely in between.
            block_cache_bytes: 64 << 20,
        }
    }
}

/// What [`open`] found and did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// The last log index in the state; `None` if nothing was ever applied. Raft applies what follows.
    pub applied: Option<u64>,
    /// What became of the state.
    pub state: StateFound,
    /// The last log index in the newest snapshot.
    pub snapshot: Option<u64>,
    /// A damaged snapshot, where it lies now.
    pub damaged_snapshot: Option<PathBuf>,
}

/// What became of the state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StateFound {
    /// The directory is new.
    New,
    /// It is as it was left.
    Intact,
    /// It was missing or could not be used, and was built from the snapshot, or is built from the log.
    Rebuilt {
        /// Why.
        reason: String,
        /// Where the old one lies now.
        aside: Option<PathBuf>,
    },
}

/// An open data directory. It stays locked as long as `machine` or any clone of `reader` lives.
pub struct Opened {
    /// The log, for Raft.
    pub log: LogStore,
    /// The state, for Raft.
    pub machine: StateMachine,
    /// The state, for everybody else.
    pub reader: Reader,
    /// The random id of this data directory: the Raft node id.
    pub node_id: u64,
    /// What was found and done.
    pub report: Recovery,
}

/// Why a data directory cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error("{} is used by another process{}", dir.display(), pid.map_or(String::new(), |pid| format!(" (pid {pid})")))]
    Locked {
        /// The directory.
        dir: PathBuf,
        /// That process, if it is known.
        pid: Option<u32>,
    },
    /// A newer build has written it.
    #[error("{} has format {found}, this build reads format {known}: use the release that wrote it, or a newer one", dir.display())]
    Format {
        /// The directory.
        dir: PathBuf,
        /// Its format.
        found: u32,
        /// The format this build reads.
        known: u32,
    },
    /// The identity file holds something else.
    #[error("{} is not the identity of a data directory; it begins with {text:?}", path.display())]
    Identity {
        /// The file.
        path: PathBuf,
        /// The beginning of what it holds.
        text: String,
    },
    /// There is a log but nothing says whose.
    #[error("{} holds a log but no file `node`: restore that file, or join the cluster with an empty directory", dir.display())]
    NoIdentity {
        /// The directory.
        dir: PathBuf,
    },
    /// Between the state and the log entries are missing.
    #[error(
        "the state has come to {applied:?}, the log begins after {purged} and no snapshot reaches that far: \
         restore a backup, or replace this node"
    )]
    Gap {
        /// The last log index in the state or the snapshot.
        applied: Option<u64>,
        /// The last index that is not in the log any more.
        purged: u64,
        /// A damaged snapshot that was found, where it lies now.
        damaged_snapshot: Option<PathBuf>,
    },
    /// There is a state but no log at all: somebody has removed it. Its vote is gone too, and whether the state
    /// has everything that was acknowledged, nobody can tell.
    #[error(
        "the log is missing, while the state has come to entry {applied}: put the files of `log` back, restore a \
         backup, or replace this node"
    )]
    LogMissing {
        /// The last log index in the state.
        applied: u64,
    },
    /// There is none, and a call that only looks does not make one.
    #[error("{} is no data directory of jobbie", dir.display())]
    Missing {
        /// The path.
        dir: PathBuf,
    },
    /// A restore into the directory was interrupted.
    #[error("a restore into {} was interrupted: empty the directory and restore again", dir.display())]
    Unfinished {
        /// The directory.
        dir: PathBuf,
    },
    /// The log cannot be opened.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The state cannot be opened or rebuilt.
    #[error(transparent)]
    State(#[from] Fault),
}

impl OpenError {
    /// True if starting again cannot help: the directory is damaged, incomplete, or of a newer format. False if
    /// it is in use, or the operating system refused something that it may grant the next time.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Locked { .. }
            | Self::Missing { .. }
            | Self::Log(LogError::Io { .. } | LogError::SegmentBytes(_)) => false,
            Self::State(fault) => !fault.is_passing(),
            Self::Format { .. }
            | Self::Identity { .. }
            | Self::NoIdentity { .. }
            | Self::Gap { .. }
            | Self::LogMissing { .. }
            | Self::Unfinished { .. }
            | Self::Log(LogError::Corrupt { .. }) => true,
        }
    }
}

/// Opens a data directory, or creates it.
///
/// # Errors
/// If it is in use, of a newer format, damaged beyond what snapshot and log can rebuild, or on a failure of
/// the machine. What is found broken is moved aside, never removed.
pub fn open(
    options: &Options,
    sink: Arc<dyn ApplySink>,
    observer: Option<Arc<dyn LogObserver>>,
) -> Result<Opened, OpenError> {
    let dir = &options.dir;
    private_dir(dir)?;
    let lock = DirLock::acquire(dir)?;
    if dir.join(RESTORING).exists() {
        return Err(OpenError::Unfinished { dir: dir.clone() });
    }
    open_locked(options, lock, sink, observer)
}

/// The same for who has the lock, and whatever says that the directory is not to be used.
pub(crate) fn open_locked(
    options: &Options,
    lock: DirLock,
    sink: Arc<dyn ApplySink>,
    observer: Option<Arc<dyn LogObserver>>,
) -> Result<Opened, OpenError> {
    let dir = &options.dir;
    let node_id = identity::read_or_draw(dir)?;
    let log_options = LogOptions {
        segment_bytes: options.segment_bytes,
        cache_bytes: options.log_cache_bytes,
        durability: options.durability,
    };
    let log = LogStore::open(&dir.join("log"), log_options, observer)?;
    let memory = Memory {
        write_buffer_bytes: options.write_buffer_bytes,
        block_cache_bytes: options.block_cache_bytes,
    };
    let states = StateDirs::open(dir.join("state"), memory)?;
    let snapshots = SnapshotDir::open(&dir.join("snapshot"))?;
    let recovered = recover::recover(&states, &snapshots, &log.stats())?;
    let shared = Shared::new(recovered.keyspaces, recovered.tables, snapshots, log.clone(), lock);
    let shared = Arc::new(shared);
    let reader = Reader::new(shared.clone());
    let machine = StateMachine::new(recovered.mark, shared, states, sink)
        .map_err(Fault::io("start the writer of", dir.join("state")))?;
    Ok(Opened { log, machine, reader, node_id, report: recovered.report })
}

/// Payloads are nobody else's business: a new directory is for its owner only, an old one is made so.
pub(crate) fn private_dir(dir: &Path) -> Result<(), Fault> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(Fault::io("create", dir))?;
    fs::set_permissions(dir, Permissions::from_mode(0o700)).map_err(Fault::io("set the permissions of", dir))
}
