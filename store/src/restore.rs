// SPDX-License-Identifier: Apache-2.0
//! A data directory out of an archive. An archive is a snapshot file, whatever its name is: no names, no paths and
//! no links are in it, so it cannot say where anything goes.
//!
//! ```text
//! RESTORING ──► node ──► snapshot/ ──► log/ ──► state/ ──► all invariants ──► RESTORING removed
//! ```
//!
//! The directory becomes a new node, the only voter of a new group: the old nodes may live on, and two nodes
//! with one identity could each believe to lead. While the marker is there no server starts on the directory. A
//! restore that fails takes away what it made.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jobbie_broker::invariant::Violation;

use crate::keyspaces::{Fault, Mark, Members, Position};
use crate::log_storage::{LogOptions, LogStore};
use crate::open::{self, DirLock, OpenError, Options, RESTORING};
use crate::snapshot::{SnapshotDir, sync_dir};
use crate::state_machine::{AppliedEntry, ApplySink};

/// What a restore brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// The identity that was drawn for the directory.
    pub node_id: u64,
    /// The last entry that is in the archive.
    pub applied: Option<Position>,
    /// Rows of all tables.
    pub rows: u64,
    /// What the invariants find wrong; empty, unless the archive was made of a broken state.
    pub violations: Vec<Violation>,
}

/// Why nothing was restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// There is something already.
    #[error("{} is not empty, it has {}: name a directory that is empty or does not exist", dir.display(), found.display())]
    NotEmpty {
        /// The directory.
        dir: PathBuf,
        /// The first thing in it.
        found: PathBuf,
    },
    /// The archive is damaged, cut short, foreign or of a newer format, or the disk failed.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// What was restored does not open.
    #[error(transparent)]
    Open(#[from] OpenError),
}

impl RestoreError {
    /// True if the same call cannot succeed: the archive cannot be used.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match self {
            Self::NotEmpty { .. } => false,
            Self::Fault(fault) => !fault.is_passing(),
            Self::Open(error) => error.is_damage(),
        }
    }
}

/// Restores an archive, which is read once from its beginning to its end; `name` is for messages. Blocks for as
/// long as writing all of it twice takes.
///
/// # Errors
/// If the directory is not empty, the archive cannot be used, or the machine fails; the directory is then as it
/// was.
pub fn restore(archive: impl Read, name: &Path, options: &Options) -> Result<Restored, RestoreError> {
    let dir = &options.dir;
    let is_new = !dir.exists();
    if let Some(found) = something_in(dir)? {
        return Err(RestoreError::NotEmpty { dir: dir.clone(), found });
    }
    open::private_dir(dir)?;
    let restored = DirLock::acquire(dir).map_err(RestoreError::from).and_then(|lock| {
        let marker = dir.join(RESTORING);
        File::create(&marker).and_then(|file| file.sync_all()).map_err(Fault::io("write", &marker))?;
        sync_dir(dir)?;
        let (node_id, mark, rows) = fill(archive, name, dir)?;
        let opened = open::open_locked(options, lock, Arc::new(Nobody), None)?;
        let violations = opened.reader.check()?;
        opened.log.shutdown();
        fs::remove_file(&marker).map_err(Fault::io("remove", &marker))?;
        sync_dir(dir)?;
        Ok(Restored { node_id, applied: mark.applied, rows, violations })
    });
    if restored.is_err() {
        clear(dir, is_new);
    }
    restored
}

/// Everything but the state, which is built from it as at every start.
fn fill(archive: impl Read, name: &Path, dir: &Path) -> Result<(u64, Mark, u64), RestoreError> {
    let node_id = open::draw_identity(dir)?;
    let snapshots = SnapshotDir::open(&dir.join("snapshot"))?;
    let (file, rows) = snapshots.import(archive, name, |mark| of_this_node(mark, node_id))?;
    let mark = file.mark().clone();
    let log = LogStore::open(&dir.join("log"), LogOptions::default(), None).map_err(OpenError::from)?;
    if let Some(at) = mark.applied {
        log.begin_behind(at, node_id).map_err(Fault::io("write", dir.join("log")))?;
    }
    log.shutdown();
    Ok((node_id, mark, rows))
}

/// The same state with this node as the only member.
fn of_this_node(mark: &Mark, node_id: u64) -> Mark {
    let Some(at) = mark.applied else { return Mark::default() };
    let membership =
        Members { at: Some(at), voters: vec![[node_id].into()], nodes: [(node_id, String::new())].into() };
    Mark { applied: Some(at), membership }
}

/// The first thing in a directory; a file system's own `lost+found` is none.
fn something_in(dir: &Path) -> Result<Option<PathBuf>, Fault> {
    let entries = match fs::read_dir(dir) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        entries => entries.map_err(Fault::io("list", dir))?,
    };
    let paths = entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>();
    let paths = paths.map_err(Fault::io("list", dir))?;
    Ok(paths.into_iter().filter(|path| path.file_name().is_none_or(|name| name != "lost+found")).min())
}

/// Takes away what a failed restore made. The directory was empty, and the marker is last: as long as anything
/// is left, no server starts on it.
fn clear(dir: &Path, is_new: bool) {
    let removed = ["state", "log", "snapshot"]
        .into_iter()
        .try_for_each(|name| absent(fs::remove_dir_all(dir.join(name))));
    let removed = removed.and_then(|()| {
        ["node", "node.new", "LOCK", RESTORING]
            .into_iter()
            .try_for_each(|name| absent(fs::remove_file(dir.join(name))))
    });
    let removed = removed.and_then(|()| if is_new { fs::remove_dir(dir) } else { Ok(()) });
    if let Err(error) = removed {
        tracing::warn!(%error, dir = %dir.display(), "cannot remove everything that was restored");
    }
}

fn absent(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Hears of nothing.
pub(crate) struct Nobody;

impl ApplySink for Nobody {
    fn applied(&self, _: Vec<AppliedEntry>) {}
}
