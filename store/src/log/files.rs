// SPDX-License-Identifier: Apache-2.0
//! The helper thread: makes the next segment ahead of its use, and unlinks purged ones.
//!
//! A write into zeros that are on disk costs one flush; a write that grows a file costs a journal commit as
//! well (2× measured). Zero-filling 64 MiB takes about 200 ms, so it happens here, and a log that needs a
//! segment before this one is ready goes on with a growing file and changes over as soon as it is.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::{io, thread};

use super::disk::{Disk, SegmentFile};
use super::recover::BLOCK;
use super::segment::unfinished;
use crate::fault_point::{FaultPoint, hit};

/// A zero-filled file that waits to become a segment.
pub(crate) struct Prepared {
    pub path: PathBuf,
    pub file: Arc<dyn SegmentFile>,
    pub size: u64,
}

enum Chore {
    Prepare,
    Unlink(Vec<PathBuf>),
}

/// The writer's side of the helper thread.
pub(crate) struct Files {
    chores: Sender<Chore>,
    ready: Arc<Mutex<Option<Prepared>>>,
    /// Whether a file was asked for and not yet taken.
    asked: bool,
}

impl Files {
    /// Starts the thread; it ends when this value is dropped.
    pub(crate) fn start(disk: Arc<dyn Disk>, dir: PathBuf, size: u64) -> io::Result<(Self, JoinHandle<()>)> {
        let (chores, inbox) = channel();
        let ready = Arc::new(Mutex::new(None));
        let helper = Helper { disk, dir, size, ready: Arc::clone(&ready), count: 0, unlink: VecDeque::new() };
        let thread = thread::Builder::new().name("log-files".into()).spawn(move || helper.run(&inbox))?;
        Ok((Self { chores, ready, asked: false }, thread))
    }

    /// Asks for the next segment, once.
    pub(crate) fn prepare(&mut self) {
        if !self.asked {
            self.asked = true;
            self.chores.send(Chore::Prepare).ok();
        }
    }

    /// Whether a file is waiting.
    pub(crate) fn is_ready(&self) -> bool {
        self.asked && self.ready.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// The waiting file, if there is one.
    pub(crate) fn take(&mut self) -> Option<Prepared> {
        let taken = self.ready.lock().unwrap_or_else(PoisonError::into_inner).take();
        if taken.is_some() {
            self.asked = false;
        }
        taken
    }

    /// Unlinks files, in this order, each durably before the next: a crash in between leaves no gap.
    pub(crate) fn unlink(&self, paths: Vec<PathBuf>) {
        if !paths.is_empty() {
            self.chores.send(Chore::Unlink(paths)).ok();
        }
    }
}

struct Helper {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    size: u64,
    ready: Arc<Mutex<Option<Prepared>>>,
    count: u64,
    unlink: VecDeque<PathBuf>,
}

impl Helper {
    fn run(mut self, inbox: &Receiver<Chore>) {
        while let Ok(chore) = inbox.recv() {
            match chore {
                Chore::Prepare => {
                    self.count += 1;
                    let path = unfinished(&self.dir, &format!("prepared-{}", self.count));
                    match fill(&*self.disk, &path, self.size) {
                        Ok(file) => {
                            let prepared = Prepared { path, file, size: self.size };
                            *self.ready.lock().unwrap_or_else(PoisonError::into_inner) = Some(prepared);
                        }
                        // Not fatal: the log grows a file instead, and meets the error itself if it lasts.
                        Err(error) => {
                            tracing::warn!(%error, file = %path.display(), "cannot prepare the next log segment");
                            self.disk.remove(&path).ok();
                        }
                    }
                }
                Chore::Unlink(paths) => {
                    self.unlink.extend(paths);
                    self.unlink_all();
                }
            }
        }
        // A file that no one took is of no use to the next opening, which removes it as well.
        if let Some(prepared) = self.ready.lock().unwrap_or_else(PoisonError::into_inner).take() {
            self.disk.remove(&prepared.path).ok();
        }
    }

    /// Stops at the first failure, and tries again at the next purge: skipping one would leave a gap.
    fn unlink_all(&mut self) {
        while let Some(path) = self.unlink.front() {
            let unlinked = hit(FaultPoint::LogUnlink)
                .and_then(|()| self.disk.remove(path))
                .and_then(|()| hit(FaultPoint::LogUnlinkSync))
                .and_then(|()| self.disk.sync_dir(&self.dir));
            if let Err(error) = unlinked {
                tracing::warn!(%error, file = %path.display(), "cannot remove a purged log segment");
                if error.kind() != io::ErrorKind::NotFound {
                    return;
                }
            }
            self.unlink.pop_front();
        }
    }
}

fn fill(disk: &dyn Disk, path: &Path, size: u64) -> io::Result<Arc<dyn SegmentFile>> {
    let file = disk.create(path)?;
    let zeros = vec![0; BLOCK];
    let mut at = 0;
    while at < size {
        let length = (size - at).min(BLOCK as u64);
        hit(FaultPoint::LogFill)?;
        file.write_all_at(&zeros[..usize::try_from(length).unwrap_or(BLOCK)], at)?;
        // Block by block, so that the writer's own syncs never wait for all of it.
        file.sync_data()?;
        at += length;
    }
    Ok(file)
}
