// SPDX-License-Identifier: Apache-2.0
//! The directory of the checkpoint files, which nobody else may read. It is checked before every job: a worker lives
//! for months, and what cleans `/tmp` does not know that.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::client::unique_token;

/// A directory of this worker's own, removed with it.
pub struct PrivateDir {
    path: PathBuf,
}

impl PrivateDir {
    /// Makes one, under a name that cannot be guessed.
    pub fn new() -> io::Result<Self> {
        let dir = Self { path: std::env::temp_dir().join(format!("jobbie-work-{}", unique_token())) };
        dir.ensure()?;
        Ok(dir)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes it again if it is gone. The place stays the same: commands that run have been told it.
    pub fn ensure(&self) -> io::Result<()> {
        match std::fs::symlink_metadata(&self.path) {
            // By now the name is known to others, and they may have been faster.
            Ok(about) if about.is_dir() && about.uid() == rustix::process::getuid().as_raw() => Ok(()),
            Ok(_) => Err(io::Error::new(io::ErrorKind::AlreadyExists, "it belongs to somebody else")),
            Err(e) if e.kind() == io::ErrorKind::NotFound => DirBuilder::new().mode(0o700).create(&self.path),
            Err(e) => Err(e),
        }
    }
}

impl Drop for PrivateDir {
    fn drop(&mut self) {
        // What is left behind is small and in /tmp.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}
