// SPDX-License-Identifier: Apache-2.0
//! The directories of the state: which one is current, and how another takes its place.
//!
//! ```text
//! state/CURRENT     the number of the one in use, replaced by a rename
//! state/7/          the database
//! state/6.broken/   the last one that did not open, for whoever wants to know why
//! ```

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use crate::fault_point::{FaultPoint, hit};
use crate::keyspaces::{Fault, Keyspaces, Memory};
use crate::snapshot::{SnapshotFile, sync_dir};
use crate::tables::{FjallTables, WINDOW};

const CURRENT: &str = "CURRENT";
const BROKEN: &str = "broken";

/// The directory of states, and how they are opened.
#[derive(Clone, Debug)]
pub(crate) struct StateDirs {
    root: PathBuf,
    memory: Memory,
}

impl StateDirs {
    pub(crate) fn open(root: PathBuf, memory: Memory) -> Result<Self, Fault> {
        fs::create_dir_all(&root).map_err(Fault::io("create", &root))?;
        Ok(Self { root, memory })
    }

    /// The number of the current state; `None` if there is none or the pointer is unreadable, which leads to
    /// the same: it is built again.
    pub(crate) fn current(&self) -> Result<Option<u64>, Fault> {
        let path = self.root.join(CURRENT);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(text.trim().parse().ok()),
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::InvalidData) => Ok(None),
            Err(e) => Err(Fault::io("read", &path)(e)),
        }
    }

    /// Opens the state of that number.
    pub(crate) fn state(&self, number: u64) -> Result<Keyspaces, Fault> {
        Keyspaces::open(&self.path(number), self.memory)
    }

    /// True if there is a state of that number.
    pub(crate) fn exists(&self, number: u64) -> bool {
        self.path(number).is_dir()
    }

    /// A new, empty state, not current yet.
    pub(super) fn create(&self) -> Result<Keyspaces, Fault> {
        let newest = self.numbers()?.into_iter().max().unwrap_or(0).max(self.current()?.unwrap_or(0));
        self.state(newest + 1)
    }

    /// A new state with the rows of a snapshot, not current yet.
    pub(crate) fn build(&self, from: &SnapshotFile) -> Result<Keyspaces, Fault> {
        let keyspaces = self.create()?;
        match from.load(&keyspaces) {
            Ok(_) => Ok(keyspaces),
            Err(fault) => {
                let path = keyspaces.path().to_owned();
                drop(keyspaces);
                let _ = fs::remove_dir_all(path);
                Err(fault)
            }
        }
    }

    /// The tables of a state.
    pub(crate) fn tables(&self, keyspaces: Keyspaces) -> Result<FjallTables, Fault> {
        FjallTables::load(keyspaces, WINDOW)
    }

    /// Makes a state the current one.
    pub(crate) fn point_to(&self, state: &Keyspaces) -> Result<(), Fault> {
        let name = state.path().file_name().unwrap_or_default().to_string_lossy();
        let (temporary, path) = (self.root.join("CURRENT.new"), self.root.join(CURRENT));
        hit(FaultPoint::CurrentWrite)
            .and_then(|()| File::create(&temporary))
            .and_then(|mut file| writeln!(file, "{name}").and_then(|()| file.sync_all()))
            .map_err(Fault::io("write", &temporary))?;
        hit(FaultPoint::CurrentRename)
            .and_then(|()| fs::rename(&temporary, &path))
            .map_err(Fault::io("rename", &temporary))?;
        hit(FaultPoint::CurrentDirSync).map_err(Fault::io("sync", &self.root))?;
        sync_dir(&self.root)
    }

    /// Moves a state that cannot be used out of the way; only the last such is kept.
    pub(super) fn set_aside(&self, number: u64) -> Result<PathBuf, Fault> {
        for entry in self.entries()? {
            if entry.extension().is_some_and(|extension| extension == BROKEN) {
                fs::remove_dir_all(&entry).map_err(Fault::io("remove", &entry))?;
            }
        }
        let (path, aside) = (self.path(number), self.path(number).with_extension(BROKEN));
        fs::rename(&path, &aside).map_err(Fault::io("rename", &path))?;
        Ok(aside)
    }

    /// Removes every state but that one: what a crash while another took its place left behind.
    pub(super) fn sweep(&self, keep: &Keyspaces) -> Result<(), Fault> {
        for number in self.numbers()? {
            let path = self.path(number);
            if path != keep.path() {
                fs::remove_dir_all(&path).map_err(Fault::io("remove", &path))?;
            }
        }
        Ok(())
    }

    fn path(&self, number: u64) -> PathBuf {
        self.root.join(number.to_string())
    }

    fn numbers(&self) -> Result<Vec<u64>, Fault> {
        let number = |path: PathBuf| path.file_name().and_then(|name| name.to_str()?.parse().ok());
        Ok(self.entries()?.into_iter().filter_map(number).collect())
    }

    fn entries(&self) -> Result<Vec<PathBuf>, Fault> {
        let root: &Path = &self.root;
        let entries = fs::read_dir(root).map_err(Fault::io("list", root))?;
        entries.map(|entry| entry.map(|entry| entry.path()).map_err(Fault::io("list", root))).collect()
    }
}
