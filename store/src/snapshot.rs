// SPDX-License-Identifier: Apache-2.0
//! Snapshot files: what the state is rebuilt from, what a follower that is far behind is sent, and the backup.
//!
//! ```text
//! snapshot/
//!   00000000000000004711-3.snapshot      the newest: next index, term
//!   writing-1  incoming-2                not finished; swept at the next start
//! ```
//!
//! A file gets its name only when it is complete and synced, and the directory is synced after that; older
//! ones are removed last. So there is always a complete one once there was one, and the log may be purged
//! behind it.

mod dir;
mod format;
mod load;
mod reader;
mod writer;

use std::fs::File;
use std::io::{self, BufReader};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::keyspaces::{Fault, Keyspaces, Mark};
pub(crate) use dir::sync_dir;
pub use dir::{Incoming, SnapshotDir};

/// Bytes read or written at a time: a few blocks.
const BUFFER: usize = 256 << 10;

/// A snapshot file, open for reading: it stays readable when a newer one takes its place.
#[derive(Clone, Debug)]
pub struct SnapshotFile {
    path: PathBuf,
    file: Arc<File>,
    mark: Mark,
    len: u64,
}

impl SnapshotFile {
    /// Opens a file and reads how far its state has come. The rest is checked when it is loaded.
    ///
    /// # Errors
    /// If it cannot be read or is no snapshot that this build knows.
    pub fn open(path: &Path) -> Result<Self, Fault> {
        let file = File::open(path).map_err(Fault::io("open", path))?;
        let len = file.metadata().map_err(Fault::io("look at", path))?.len();
        let file = Arc::new(file);
        let mark = reader::Reader::new(From0::new(&file), path)?.mark().clone();
        Ok(Self { path: path.to_owned(), file, mark, len })
    }

    /// Where it lay when it was opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its length in bytes.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.len
    }

    /// Never true: a snapshot of nothing has a header too.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How far its state has come.
    #[must_use]
    pub const fn mark(&self) -> &Mark {
        &self.mark
    }

    /// Reads a piece, for sending; fewer bytes than asked for only at the end.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn read_at(&self, offset: u64, piece: &mut [u8]) -> io::Result<usize> {
        let mut done = 0;
        while done < piece.len() {
            match self.file.read_at(&mut piece[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(read) => done += read,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(done)
    }

    /// Reads the whole file and checks it.
    ///
    /// # Errors
    /// With offset and reason if anything is not as it was written.
    pub fn verify(&self) -> Result<Mark, Fault> {
        load::verify(From0::new(&self.file), &self.path)
    }

    /// Loads it into an empty state.
    pub(crate) fn load(&self, into: &Keyspaces) -> Result<Mark, Fault> {
        load::load(From0::new(&self.file), &self.path, into)
    }
}

/// Reads a shared file from its beginning, whatever others read of it.
struct From0<'a> {
    file: &'a File,
    offset: u64,
}

impl<'a> From0<'a> {
    fn new(file: &'a File) -> BufReader<Self> {
        BufReader::with_capacity(BUFFER, Self { file, offset: 0 })
    }
}

impl io::Read for From0<'_> {
    fn read(&mut self, piece: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(piece, self.offset)?;
        self.offset += read as u64;
        Ok(read)
    }
}
