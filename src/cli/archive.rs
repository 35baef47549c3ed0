// SPDX-License-Identifier: Apache-2.0
//! What `backup` and `restore` share: a file that gets its name only when it is complete, and progress for whoever
//! watches.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IsTerminal, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use jobbie_store::SnapshotFile;

use super::exit::usage;

/// Bytes copied at a time.
pub const PIECE: usize = 256 << 10;
/// How often progress is drawn: fast enough to look alive.
const DRAW: Duration = Duration::from_millis(100);

/// Where an archive goes. Dropped before it is finished, it leaves nothing behind.
pub enum Target {
    /// A file, under a temporary name beside it until it is complete.
    File(Partial),
    /// Whoever reads stdout.
    Stdout,
}

/// A file that is not complete yet.
pub struct Partial {
    path: PathBuf,
    partial: PathBuf,
    file: File,
}

impl Target {
    /// Opens it. An existing file is kept unless `force`; `-` is stdout, if that is no terminal.
    pub fn open(path: &Path, force: bool) -> Result<Self> {
        if path == Path::new("-") {
            if io::stdout().is_terminal() {
                return Err(usage("a backup is no text: name a file, or pipe it somewhere"));
            }
            return Ok(Self::Stdout);
        }
        if path.exists() && !force {
            return Err(usage(format!("{} is there already; --force replaces it", path.display())));
        }
        let mut partial = path.as_os_str().to_owned();
        partial.push(".partial");
        let partial = PathBuf::from(partial);
        // Payloads are nobody else's business.
        let options = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&partial);
        let file = options.with_context(|| format!("cannot write {}", partial.display()))?;
        Ok(Self::File(Partial { path: path.to_owned(), partial, file }))
    }

    /// Adds a piece.
    pub fn write(&mut self, piece: &[u8]) -> Result<()> {
        match self {
            Self::File(Partial { partial, file, .. }) => {
                file.write_all(piece).with_context(|| format!("cannot write {}", partial.display()))
            }
            Self::Stdout => Ok(io::stdout().lock().write_all(piece)?),
        }
    }

    /// Ends it: on disk, read again and checked, and under its name.
    pub fn finish(self) -> Result<()> {
        match self {
            Self::Stdout => Ok(io::stdout().lock().flush()?),
            Self::File(Partial { ref path, ref partial, ref file }) => {
                file.sync_all().with_context(|| format!("cannot write {}", partial.display()))?;
                SnapshotFile::open(partial)?.verify()?;
                fs::rename(partial, path).with_context(|| format!("cannot name {}", path.display()))?;
                let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
                File::open(dir)?.sync_all().with_context(|| format!("cannot sync {}", dir.display()))
            }
        }
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // Under its own name it is no longer there.
        let _ = fs::remove_file(&self.partial);
    }
}

/// How much of something is done, on stderr if that is a terminal.
pub struct Progress {
    what: &'static str,
    total: Option<u64>,
    done: u64,
    drawn: Option<Instant>,
    shown: bool,
}

impl Progress {
    /// Nothing is done yet.
    pub fn new(what: &'static str, total: Option<u64>) -> Self {
        Self { what, total, done: 0, drawn: None, shown: io::stderr().is_terminal() }
    }

    /// That much more is done.
    pub fn add(&mut self, bytes: usize) {
        self.done += bytes as u64;
        if self.shown && self.drawn.is_none_or(|at| at.elapsed() >= DRAW) {
            self.drawn = Some(Instant::now());
            // A closed stderr is not a reason to stop.
            let _ = write!(io::stderr().lock(), "\r{}\x1b[K", self.text());
        }
    }

    /// Bytes so far.
    pub const fn done(&self) -> u64 {
        self.done
    }

    fn text(&self) -> String {
        match self.total.filter(|total| *total > 0) {
            Some(total) => {
                let percent = self.done.saturating_mul(100) / total;
                format!("{} {percent} % of {}", self.what, size(total))
            }
            None => format!("{} {}", self.what, size(self.done)),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.drawn.is_some() {
            let _ = write!(io::stderr().lock(), "\r\x1b[K");
        }
    }
}

/// A reader whose progress is shown.
pub struct Watched<R> {
    /// What is read.
    pub input: R,
    /// How much of it was.
    pub progress: Progress,
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, piece: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(piece)?;
        self.progress.add(read);
        Ok(read)
    }
}

/// Bytes for people.
pub fn size(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let at = units.iter().enumerate().rev().find(|(at, _)| bytes >> (10 * at) > 0);
    match at {
        Some((at, unit)) if at > 0 => {
            let tenths = (bytes >> (10 * (at - 1))).saturating_mul(10) >> 10;
            format!("{}.{} {unit}", tenths / 10, tenths % 10)
        }
        _ => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_for_people() {
        for (bytes, text) in
            [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (64 << 20, "64.0 MiB"), (5 << 40, "5.0 TiB")]
        {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn progress_says_how_much_of_what() {
        let mut progress = Progress { shown: false, ..Progress::new("restoring", Some(2048)) };
        progress.add(1024);
        assert_eq!((progress.text().as_str(), progress.done()), ("restoring 50 % of 2.0 KiB", 1024));
        progress.total = None;
        assert_eq!(progress.text(), "restoring 1.0 KiB");
    }

    #[test]
    fn an_existing_backup_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("old.backup");
        fs::write(&path, "old").unwrap();
        assert!(Target::open(&path, false).is_err());
        let mut target = Target::open(&path, true).unwrap();
        target.write(b"no archive").unwrap();
        assert!(target.finish().is_err(), "what is no archive gets no name");
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "what was not finished is gone");
    }
}
