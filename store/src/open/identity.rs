// SPDX-License-Identifier: Apache-2.0
//! Who this data directory is: a random number drawn once, which is the Raft node id.
//!
//! An id is never used again: a wiped directory is a new node. A voter that comes back under its old id but
//! without its log could elect a second leader, so a log without an identity is refused.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::OpenError;
use crate::fault_point::{FaultPoint, hit};
use crate::keyspaces::Fault;
use crate::snapshot::sync_dir;

/// The file's name.
const NAME: &str = "node";
/// The format of the whole data directory that this build writes, and the newest it reads.
pub(super) const FORMAT: u32 = 1;
/// Ids have 53 bits, so that they survive JSON in a browser; two of them meet with 1 in 10¹⁵.
const ID_BITS: u32 = 53;

/// The directory's id; drawn and written down if there is none.
pub(crate) fn read_or_draw(dir: &Path) -> Result<u64, OpenError> {
    match read(dir)? {
        Some(id) => Ok(id),
        None => draw(dir, &dir.join(NAME)),
    }
}

/// The directory's id; `None` if there is none.
pub(crate) fn read(dir: &Path) -> Result<Option<u64>, OpenError> {
    let path = dir.join(NAME);
    match fs::read_to_string(&path) {
        Ok(text) => parse(&text).map(Some).map_err(|found| match found {
            Some(found) => OpenError::Format { dir: dir.to_owned(), found, known: FORMAT },
            None => OpenError::Identity { path, text: text.chars().take(200).collect() },
        }),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        // Garbage, as any other file that is not text.
        Err(e) if e.kind() == ErrorKind::InvalidData => {
            Err(OpenError::Identity { path, text: String::new() })
        }
        Err(e) => Err(Fault::io("read", &path)(e).into()),
    }
}

fn draw(dir: &Path, path: &Path) -> Result<u64, OpenError> {
    let log = dir.join("log");
    if fs::read_dir(&log).is_ok_and(|mut files| files.next().is_some()) {
        return Err(OpenError::NoIdentity { dir: dir.to_owned() });
    }
    let id = random()?;
    let temporary = dir.join(format!("{NAME}.new"));
    let text = format!("jobbie data directory\nformat {FORMAT}\nnode {id}\n");
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary);
    let mut file = file.map_err(Fault::io("create", &temporary))?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(Fault::io("write", &temporary))?;
    hit(FaultPoint::IdentityRename)
        .and_then(|()| fs::rename(&temporary, path))
        .map_err(Fault::io("rename", &temporary))?;
    sync_dir(dir)?;
    Ok(id)
}

/// The id, or else the newer format, or nothing if this cannot be read at all.
fn parse(text: &str) -> Result<u64, Option<u32>> {
    let mut lines = text.lines();
    let format = match (lines.next(), lines.next().and_then(|line| line.strip_prefix("format "))) {
        (Some("jobbie data directory"), Some(format)) => format.parse::<u32>().map_err(|_| None)?,
        _ => return Err(None),
    };
    if format != FORMAT {
        return Err(Some(format));
    }
    let id = lines.next().and_then(|line| line.strip_prefix("node ")).and_then(|id| id.parse().ok());
    id.filter(|id| *id != 0).ok_or(None)
}

fn random() -> Result<u64, Fault> {
    let source = Path::new("/dev/urandom");
    let mut bytes = [0; 8];
    let mut file = File::open(source).map_err(Fault::io("open", source))?;
    loop {
        file.read_exact(&mut bytes).map_err(Fault::io("read", source))?;
        // Zero is what an id that was never set would be.
        match u64::from_le_bytes(bytes) >> (u64::BITS - ID_BITS) {
            0 => {}
            id => return Ok(id),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_reads_back_and_a_newer_one_is_told_apart() {
        assert_eq!(parse("jobbie data directory\nformat 1\nnode 42\n"), Ok(42));
        assert_eq!(parse("jobbie data directory\nformat 2\nidentity x\n"), Err(Some(2)));
        for bad in
            ["", "{}", "jobbie data directory\nformat one\n", "jobbie data directory\nformat 1\nnode 0\n"]
        {
            assert_eq!(parse(bad), Err(None), "{bad}");
        }
    }
}
