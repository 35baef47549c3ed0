// SPDX-License-Identifier: Apache-2.0
//! What can go wrong below the rules. A fault is never a reply: whoever meets one while applying stops.

use std::io;
use std::path::PathBuf;

use jobbie_broker::codec::DecodeError;
use jobbie_broker::tables::Space;

/// A failure of the machine: disk, database, or bytes that are not what was written.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// fjall failed. After a failed commit it refuses all later ones.
    #[error("the state's database failed: {0}")]
    Fjall(#[from] fjall::Error),
    /// The operating system failed.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried: `write`, `rename` and so on.
        action: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// What it answered.
        source: io::Error,
    },
    /// A row cannot be read.
    #[error("a row of table {} with key {key} cannot be read: {source}", space.name())]
    Row {
        /// The table.
        space: Space,
        /// The key in hexadecimal.
        key: String,
        /// What is wrong with the row.
        source: DecodeError,
    },
    /// A key cannot be read.
    #[error("table {} holds a key that is none of its own: {key}", space.name())]
    Key {
        /// The table.
        space: Space,
        /// The key in hexadecimal.
        key: String,
    },
    /// The mark of the last applied entry, or the membership, cannot be read.
    #[error("the mark of the last applied entry in keyspace {keyspace} cannot be read: {source}")]
    Mark {
        /// The keyspace it lies in.
        keyspace: &'static str,
        /// What is wrong with it.
        source: DecodeError,
    },
    /// The keyspaces are of different age: applying the log on top would not be repeatable.
    #[error("the keyspaces are of different age: {0}")]
    Torn(String),
    /// A snapshot file is damaged.
    #[error("snapshot {path} is damaged at byte {offset}: {reason}")]
    Snapshot {
        /// The file.
        path: PathBuf,
        /// Where the damage was noticed.
        offset: u64,
        /// What is wrong there.
        reason: String,
    },
    /// A snapshot file was written by a newer build.
    #[error("snapshot {path} has format {found}, this build reads format {known}")]
    SnapshotFormat {
        /// The file.
        path: PathBuf,
        /// The format it has.
        found: u32,
        /// The format this build reads.
        known: u32,
    },
    /// Raft asked for something that contradicts the state.
    #[error("{0}")]
    Contradiction(String),
    /// Applying or writing has failed before: nothing is written or answered any more.
    #[error("the state has failed before; the process must be started again")]
    Stopped,
    /// A view that is only for reading was written to: a bug in whoever did.
    #[error("a view that is only for reading was written to")]
    ReadOnly,
}

impl Fault {
    /// True if the operating system refused something that it may grant the next time (no file handles, no
    /// room, no permission), or the database is in use: what is on disk is not to blame. A missing file is.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        if matches!(self, Self::Fjall(fjall::Error::Locked)) {
            return true;
        }
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(self);
        while let Some(error) = cause {
            if let Some(io) = error.downcast_ref::<io::Error>() {
                return io.raw_os_error().is_some() && io.kind() != io::ErrorKind::NotFound;
            }
            cause = error.source();
        }
        false
    }

    /// A failure of the operating system while doing something with a path.
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }

    /// A row that cannot be read.
    pub(crate) fn row(space: Space, key: &[u8], source: DecodeError) -> Self {
        Self::Row { space, key: hex(key), source }
    }

    /// A key that cannot be read.
    pub(crate) fn key(space: Space, key: &[u8]) -> Self {
        Self::Key { space, key: hex(key) }
    }
}

impl From<Fault> for io::Error {
    fn from(fault: Fault) -> Self {
        let kind = match &fault {
            Fault::Io { source, .. } => source.kind(),
            Fault::Fjall(_) | Fault::ReadOnly | Fault::Stopped | Fault::Contradiction(_) => {
                io::ErrorKind::Other
            }
            _ => io::ErrorKind::InvalidData,
        };
        Self::new(kind, fault)
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Else a healthy state is thrown away because there were no file handles left.
    #[test]
    fn a_refusal_of_the_operating_system_is_not_damage() {
        let io = |source: io::Error| Fault::io("open", "state/1")(source);
        let too_many_files = io::Error::from_raw_os_error(24);
        assert!(io(too_many_files).is_passing());
        assert!(Fault::Fjall(fjall::Error::Io(io::Error::from_raw_os_error(28))).is_passing());
        assert!(Fault::Fjall(fjall::Error::Locked).is_passing());
        assert!(!io(io::Error::from_raw_os_error(2)).is_passing(), "a missing file is");
        assert!(!io(io::ErrorKind::UnexpectedEof.into()).is_passing(), "a file that is too short is");
        assert!(!Fault::Torn("a 1, b 2".into()).is_passing());
    }
}
