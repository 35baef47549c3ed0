// SPDX-License-Identifier: Apache-2.0
//! The directory of snapshot files: how one gets its name, and how older ones go.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fjall::Snapshot as View;

use super::{BUFFER, From0, SnapshotFile, load};
use crate::fault_point::{FaultPoint, hit};
use crate::keyspaces::{Fault, Keyspaces, Mark};

/// How a finished snapshot's name ends.
const SUFFIX: &str = ".snapshot";

/// The directory of snapshot files. Clones share it.
#[derive(Clone, Debug)]
pub struct SnapshotDir {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    temporary: AtomicU64,
    naming: Mutex<()>,
}

impl SnapshotDir {
    /// Opens the directory, or creates it, and removes what was not finished.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn open(path: &Path) -> Result<Self, Fault> {
        fs::create_dir_all(path).map_err(Fault::io("create", path))?;
        for entry in fs::read_dir(path).map_err(Fault::io("list", path))? {
            let entry = entry.map_err(Fault::io("list", path))?.path();
            let name = entry.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if name.starts_with("writing-") || name.starts_with("incoming-") {
                fs::remove_file(&entry).map_err(Fault::io("remove", &entry))?;
            }
        }
        let inner = Inner { path: path.to_owned(), temporary: AtomicU64::new(1), naming: Mutex::new(()) };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Where it lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// The newest snapshot, if there is one.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn newest(&self) -> Result<Option<SnapshotFile>, Fault> {
        let _named = self.lock();
        self.names()?.pop().map(|path| SnapshotFile::open(&path)).transpose()
    }

    /// Begins to receive a snapshot. Dropped before [`Incoming::finish`], it leaves nothing behind.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn receive(&self) -> Result<Incoming, Fault> {
        let (path, file) = self.temporary("incoming")?;
        Ok(Incoming { out: Some(BufWriter::with_capacity(BUFFER, file)), path })
    }

    /// Moves the newest snapshot out of the way because it is damaged.
    pub(crate) fn set_aside(&self, snapshot: &Path) -> Result<PathBuf, Fault> {
        let mut aside = snapshot.as_os_str().to_owned();
        aside.push(".damaged");
        let aside = PathBuf::from(aside);
        fs::rename(snapshot, &aside).map_err(Fault::io("rename", snapshot))?;
        Ok(aside)
    }

    /// Writes a snapshot of a view and makes it the newest.
    pub(crate) fn write(
        &self,
        keyspaces: &Keyspaces,
        view: &View,
        mark: &Mark,
    ) -> Result<SnapshotFile, Fault> {
        let (path, file) = self.temporary("writing")?;
        let out = BufWriter::with_capacity(BUFFER, file);
        let begun = hit(FaultPoint::SnapshotWrite).map_err(Fault::io("write", &path));
        let saved =
            begun.and_then(|()| load::save(keyspaces, view, mark, out, &path)).and_then(|(out, _)| {
                let file = out.into_inner().map_err(|e| Fault::io("write", &path)(e.into_error()))?;
                sync_file(&file, &path)
            });
        let named = saved.and_then(|()| self.name(&path, mark));
        if named.is_err() {
            let _ = fs::remove_file(&path);
        }
        named
    }

    /// Copies a snapshot from elsewhere, with another mark, and makes it the newest; checks all of it. Gives the
    /// number of its rows too.
    pub(crate) fn import<R: io::Read>(
        &self,
        input: R,
        from: &Path,
        mark: impl FnOnce(&Mark) -> Mark,
    ) -> Result<(SnapshotFile, u64), Fault> {
        let (path, file) = self.temporary("incoming")?;
        let out = BufWriter::with_capacity(BUFFER, file);
        let (out, mark, rows) = load::copy(input, from, mark, out, &path)?;
        let file = out.into_inner().map_err(|e| Fault::io("write", &path)(e.into_error()))?;
        sync_file(&file, &path)?;
        Ok((self.name(&path, &mark)?, rows))
    }

    /// Takes a received file, or a copy of one that lies elsewhere, as the newest snapshot.
    pub(crate) fn adopt(&self, snapshot: &SnapshotFile) -> Result<SnapshotFile, Fault> {
        if self.names()?.contains(&snapshot.path) {
            return Ok(snapshot.clone());
        }
        if snapshot.path.parent() == Some(self.path()) {
            return self.name(&snapshot.path, &snapshot.mark);
        }
        let (path, mut file) = self.temporary("incoming")?;
        io::copy(&mut From0::new(&snapshot.file), &mut file).map_err(Fault::io("write", &path))?;
        sync_file(&file, &path)?;
        self.name(&path, &snapshot.mark)
    }

    /// Gives a complete, synced file its name, unless there is a newer one: then it is only opened.
    fn name(&self, from: &Path, mark: &Mark) -> Result<SnapshotFile, Fault> {
        let _named = self.lock();
        let names = self.names()?;
        let (next, term) = mark.applied.map_or((0, 0), |at| (at.index + 1, at.term));
        let to = self.path().join(format!("{next:020}-{term}{SUFFIX}"));
        if names.last().is_some_and(|newest| *newest > to) {
            let file = SnapshotFile::open(from)?;
            fs::remove_file(from).map_err(Fault::io("remove", from))?;
            return Ok(file);
        }
        hit(FaultPoint::SnapshotRename)
            .and_then(|()| fs::rename(from, &to))
            .map_err(Fault::io("rename", from))?;
        hit(FaultPoint::SnapshotDirSync).map_err(Fault::io("sync", self.path()))?;
        sync_dir(self.path())?;
        hit(FaultPoint::SnapshotRemove).map_err(Fault::io("remove files of", self.path()))?;
        for old in names.iter().filter(|old| **old != to) {
            fs::remove_file(old).map_err(Fault::io("remove", old))?;
        }
        SnapshotFile::open(&to)
    }

    /// Finished snapshots, oldest first.
    fn names(&self) -> Result<Vec<PathBuf>, Fault> {
        names_in(self.path())
    }

    /// The newest snapshot in a directory that is not opened; `None` also if there is no such directory.
    pub(crate) fn newest_in(dir: &Path) -> Result<Option<PathBuf>, Fault> {
        if dir.is_dir() { Ok(names_in(dir)?.pop()) } else { Ok(None) }
    }

    fn temporary(&self, what: &str) -> Result<(PathBuf, File), Fault> {
        let number = self.inner.temporary.fetch_add(1, Ordering::Relaxed);
        let path = self.path().join(format!("{what}-{number}"));
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        Ok((path.clone(), file.map_err(Fault::io("create", &path))?))
    }

    fn lock(&self) -> MutexGuard<'_, ()> {
        self.inner.naming.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A snapshot being received.
#[derive(Debug)]
pub struct Incoming {
    out: Option<BufWriter<File>>,
    path: PathBuf,
}

impl Incoming {
    /// Adds the next piece.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn write(&mut self, piece: &[u8]) -> Result<(), Fault> {
        match &mut self.out {
            Some(out) => out.write_all(piece).map_err(Fault::io("write", &self.path)),
            None => Ok(()),
        }
    }

    /// Ends it: synced, and its beginning read. Installing it checks all of it.
    ///
    /// # Errors
    /// If the disk fails or this is no snapshot.
    pub fn finish(mut self) -> Result<SnapshotFile, Fault> {
        if let Some(out) = &mut self.out {
            out.flush().map_err(Fault::io("write", &self.path))?;
            sync_file(out.get_ref(), &self.path)?;
        }
        let snapshot = SnapshotFile::open(&self.path)?;
        self.out = None;
        Ok(snapshot)
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if self.out.is_some() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Finished snapshots, oldest first.
fn names_in(dir: &Path) -> Result<Vec<PathBuf>, Fault> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(Fault::io("list", dir))? {
        let path = entry.map_err(Fault::io("list", dir))?.path();
        if path.to_str().is_some_and(|name| name.ends_with(SUFFIX)) {
            names.push(path);
        }
    }
    names.sort();
    Ok(names)
}

fn sync_file(file: &File, path: &Path) -> Result<(), Fault> {
    hit(FaultPoint::SnapshotSync).and_then(|()| file.sync_all()).map_err(Fault::io("sync", path))
}

/// Makes created, renamed and removed names in a directory durable.
pub(crate) fn sync_dir(path: &Path) -> Result<(), Fault> {
    File::open(path).and_then(|dir| dir.sync_all()).map_err(Fault::io("sync", path))
}
