// SPDX-License-Identifier: Apache-2.0
//! Looks at a data directory that no server uses, and says what is wrong with it.
//!
//! ```text
//! node ──► every record of the log ──► the newest snapshot ──► the state: opens? agrees? J1 … J9 ──► do they meet?
//! ```
//!
//! Nothing is repaired, set aside or rebuilt. The directory is locked meanwhile. The log and the snapshot are only
//! read; opening the state's database does what it does at every start, and what the log has beyond the state is
//! not applied.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use jobbie_broker::StateKind;
use jobbie_broker::invariant;

use crate::keyspaces::{Fault, Memory};
use crate::log::disk::{Disk, SegmentFile, StdDisk};
use crate::log_storage::{LogOptions, LogStats, LogStore};
use crate::open::{self, DirLock, OpenError, Options, RESTORING, StateDirs};
use crate::snapshot::{SnapshotDir, SnapshotFile};
use crate::tables::View;

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Examination {
    /// The directory's identity.
    pub node_id: Option<u64>,
    /// What the log takes up and has, if it opens.
    pub log: Option<LogStats>,
    /// Last index and length of the newest snapshot, if it is sound.
    pub snapshot: Option<(u64, u64)>,
    /// The state, if it opens.
    pub state: Option<StateExamined>,
    /// What is worth saying, in the order it was found.
    pub findings: Vec<Finding>,
}

/// A state that opens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StateExamined {
    /// The last applied index.
    pub applied: Option<u64>,
    /// Queues.
    pub queues: u64,
    /// Jobs by state, in the order of [`StateKind::ALL`].
    pub jobs: Vec<(StateKind, u64)>,
}

/// Something that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// True if a start would be refused, or jobs are lost or contradict each other; false if a start takes care
    /// of it.
    pub is_problem: bool,
    /// `node`, `log`, `snapshot`, `state` or the name of an invariant.
    pub part: &'static str,
    /// A sentence.
    pub text: String,
}

impl Examination {
    /// True if nothing is wrong.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        !self.findings.iter().any(|finding| finding.is_problem)
    }

    fn problem(&mut self, part: &'static str, text: impl Into<String>) {
        self.findings.push(Finding { is_problem: true, part, text: text.into() });
    }

    fn note(&mut self, part: &'static str, text: impl Into<String>) {
        self.findings.push(Finding { is_problem: false, part, text: text.into() });
    }
}

/// Examines a directory.
///
/// # Errors
/// If it cannot be looked at: there is none, a server uses it, or the operating system refuses.
pub fn examine(options: &Options) -> Result<Examination, OpenError> {
    let dir = &options.dir;
    let is_ours = ["node", "log", "state", RESTORING].iter().any(|name| dir.join(name).exists());
    if !is_ours {
        return Err(OpenError::Missing { dir: dir.clone() });
    }
    let _lock = DirLock::acquire(dir)?;
    let mut found = Examination::default();
    if dir.join(RESTORING).exists() {
        let text = OpenError::Unfinished { dir: dir.clone() }.to_string();
        found.problem("node", text);
    }
    match open::identity(dir) {
        Ok(Some(id)) => found.node_id = Some(id),
        Ok(None) => found.problem("node", OpenError::NoIdentity { dir: dir.clone() }.to_string()),
        Err(error) => found.problem("node", error.to_string()),
    }
    log(&dir.join("log"), &mut found);
    snapshot(&dir.join("snapshot"), &mut found)?;
    let memory = Memory {
        write_buffer_bytes: options.write_buffer_bytes,
        block_cache_bytes: options.block_cache_bytes,
    };
    state(&dir.join("state"), memory, &mut found)?;
    meet(&mut found);
    Ok(found)
}

fn log(dir: &Path, found: &mut Examination) {
    if !dir.is_dir() {
        found.problem("log", "there is no log");
        return;
    }
    let log = match LogStore::open_on(Arc::new(ReadOnly), dir, LogOptions::default(), None) {
        Ok(log) => log,
        Err(error) => return found.problem("log", error.to_string()),
    };
    let stats = log.stats();
    if stats.torn_bytes > 0 {
        let text = format!(
            "the last write was cut short by a crash: {} bytes, which nobody was told of, are dropped at the next start",
            stats.torn_bytes
        );
        found.note("log", text);
    }
    if let Err(error) = log.check_entries() {
        found.problem("log", format!("an entry cannot be read: {error}"));
    }
    log.shutdown();
    found.log = Some(stats);
}

fn snapshot(dir: &Path, found: &mut Examination) -> Result<(), Fault> {
    leftovers(dir, ".damaged", found)?;
    let Some(path) = SnapshotDir::newest_in(dir)? else { return Ok(()) };
    match SnapshotFile::open(&path).and_then(|file| file.verify().map(|mark| (mark, file.len()))) {
        Ok((mark, len)) => found.snapshot = mark.applied.map(|at| (at.index, len)),
        Err(fault) if fault.is_passing() => return Err(fault),
        Err(fault) => found.note("snapshot", fault.to_string()),
    }
    Ok(())
}

fn state(root: &Path, memory: Memory, found: &mut Examination) -> Result<(), Fault> {
    leftovers(root, ".broken", found)?;
    if !root.is_dir() {
        found.note("state", "there is no state: the next start builds it");
        return Ok(());
    }
    let states = StateDirs::open(root.to_owned(), memory)?;
    let Some(number) = states.current()?.filter(|number| states.exists(*number)) else {
        found.note("state", "there is no state: the next start builds it");
        return Ok(());
    };
    let examined = states.state(number).and_then(|keyspaces| {
        let mark = keyspaces.mark(&keyspaces.view())?;
        let tables = states.tables(keyspaces.clone())?;
        let count = |kind: StateKind| tables.queues().values().map(|queue| queue.count(kind)).sum();
        let jobs = StateKind::ALL.iter().map(|kind| (*kind, count(*kind))).collect();
        let queues = tables.queues().len() as u64;
        let violations = invariant::check(&mut View::new(keyspaces))?;
        Ok((StateExamined { applied: mark.applied.map(|at| at.index), queues, jobs }, violations))
    });
    match examined {
        Ok((state, violations)) => {
            found.state = Some(state);
            for violation in violations {
                found.problem(violation.name, violation.text);
            }
        }
        Err(fault) if fault.is_passing() => return Err(fault),
        Err(fault) => {
            found.note("state", format!("{fault}: the next start sets it aside and builds it again"))
        }
    }
    Ok(())
}

/// Whether log, snapshot and state together have everything.
fn meet(found: &mut Examination) {
    let Some(log) = found.log else { return };
    let applied = found.state.as_ref().and_then(|state| state.applied);
    let reach = applied.max(found.snapshot.map(|(index, _)| index));
    if log.purged_index > reach {
        let gap =
            OpenError::Gap { applied: reach, purged: log.purged_index.unwrap_or(0), damaged_snapshot: None };
        found.problem("state", gap.to_string());
    }
    if let (None, false, Some(applied)) = (log.last_index, log.has_vote, applied) {
        found.problem("log", OpenError::LogMissing { applied }.to_string());
    }
    if let (Some(last), Some(applied)) = (log.last_index, applied)
        && last > applied
    {
        let text = format!("{} entries of the log are applied at the next start", last - applied);
        found.note("state", text);
    }
}

/// What earlier starts have set aside takes room.
fn leftovers(dir: &Path, ending: &str, found: &mut Examination) -> Result<(), Fault> {
    let entries = match fs::read_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(Fault::io("list", dir))?,
    };
    for entry in entries {
        let path = entry.map_err(Fault::io("list", dir))?.path();
        if path.to_string_lossy().ends_with(ending) {
            found.note(
                "state",
                format!("{} was set aside by an earlier start and may be removed", path.display()),
            );
        }
    }
    Ok(())
}

/// A disk on which nothing changes: what is written to it is forgotten.
struct ReadOnly;

/// A file of such a disk; none if it was to be made.
struct Unchanged(Option<Arc<dyn SegmentFile>>);

impl Disk for ReadOnly {
    fn create_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        StdDisk.list(dir)
    }

    fn create(&self, _: &Path) -> io::Result<Arc<dyn SegmentFile>> {
        Ok(Arc::new(Unchanged(None)))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn SegmentFile>> {
        Ok(Arc::new(Unchanged(Some(Arc::new(fs::File::open(path)?)))))
    }

    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn remove(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
}

impl SegmentFile for Unchanged {
    fn size(&self) -> io::Result<u64> {
        self.0.as_ref().map_or(Ok(0), |file| file.size())
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        match &self.0 {
            Some(file) => file.read_exact_at(buffer, offset),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    fn write_all_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }
}
