// SPDX-License-Identifier: Apache-2.0
//! How much room the file system of the data directory has.

use std::path::Path;

use crate::keyspaces::Fault;

/// Room on a file system, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskSpace {
    /// What a process without privileges may still write.
    pub free: u64,
    /// All of it.
    pub total: u64,
}

impl DiskSpace {
    /// Asks the operating system; a system call, so not for an actor's thread.
    ///
    /// # Errors
    /// If there is no such path, or the file system does not say.
    pub fn of(path: &Path) -> Result<Self, Fault> {
        let found =
            rustix::fs::statvfs(path).map_err(|e| Fault::io("ask for the space of", path)(e.into()))?;
        let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
        Ok(Self { free: bytes(found.f_bavail), total: bytes(found.f_blocks) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_has_room_and_a_missing_one_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let space = DiskSpace::of(dir.path()).unwrap();
        assert!(space.free > 0 && space.free <= space.total, "{space:?}");
        let error = DiskSpace::of(&dir.path().join("missing")).unwrap_err().to_string();
        assert!(error.contains("missing"), "{error}");
    }
}
