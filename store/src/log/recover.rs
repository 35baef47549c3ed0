// SPDX-License-Identifier: Apache-2.0
//! Opening: every byte of every segment is read and checked before the log is used.
//!
//! ```text
//! list ─► names in order, no gap ─► per segment: head = what the one before amounts to
//!                                               records, one after the other, to the zeros
//!                                   last one:   a torn end is zeroed; the rest is written again and synced
//! ```
//!
//! The rest is written again because of what a failed fsync leaves: pages that the kernel calls clean
//! although the disk never took them. Read back, they look fine until the next power loss. Writing the same
//! bytes once more makes them dirty, and the sync that follows real.

use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::LogError;
use super::disk::Disk;
use super::index::{Index, Sampler};
use super::record::{HEADER, Header, Kind};
use super::segment::{Head, Segment, UNFINISHED, parse_name};
use super::summary::Summary;
use super::torn::{self, Verdict};

/// Zeros are written in blocks of this size.
pub(crate) const BLOCK: usize = 1 << 20;

/// What opening found.
pub(crate) struct Recovered {
    pub summary: Summary,
    pub index: Index,
    pub sampler: Sampler,
    /// Bytes of an unfinished write at the end.
    pub torn_bytes: u64,
}

/// Reads the log in `dir`; `None` if there is none yet.
pub(crate) fn recover(disk: &dyn Disk, dir: &Path) -> Result<Option<Recovered>, LogError> {
    let mut found = Vec::new();
    let mut unfinished = false;
    for name in disk.list(dir).map_err(|e| LogError::io(dir, e))? {
        let path = dir.join(&name);
        if name.ends_with(UNFINISHED) {
            disk.remove(&path).map_err(|e| LogError::io(&path, e))?;
            unfinished = true;
        } else if let Some((seq, base)) = parse_name(&name) {
            found.push((seq, base, path));
        } else if name.ends_with(".log") {
            return Err(LogError::corrupt(&path, 0, "the name is not one of a segment"));
        }
    }
    if unfinished {
        // Or a name that is used again could, after another crash, mean the old file.
        disk.sync_dir(dir).map_err(|e| LogError::io(dir, e))?;
    }
    found.sort();
    let Some((first_seq, _, first_path)) = found.first().cloned() else { return Ok(None) };
    let mut recovery =
        Recovery { disk, summary: None, index: Index::default(), sampler: Sampler::default(), torn_bytes: 0 };
    let count = found.len();
    for (at, (seq, base, path)) in found.into_iter().enumerate() {
        if seq != first_seq + at as u64 {
            let what = format!("segment {} is missing before it", first_seq + at as u64);
            return Err(LogError::corrupt(&path, 0, what));
        }
        recovery.segment(seq, base, path, at + 1 == count)?;
    }
    let summary = recovery.summary.unwrap_or_default();
    // Any segment will do: with truncations a later one can begin at a lower index, and a crash can come
    // between the unlinking of two.
    let is_start = |s: &Segment| summary.purged.is_some_and(|purged| s.base <= purged.index + 1);
    let complete = first_seq == 1 || recovery.index.segments().any(is_start);
    if !complete {
        return Err(LogError::corrupt(&first_path, 0, "segments before it are missing although not purged"));
    }
    let Recovery { index, sampler, torn_bytes, .. } = recovery;
    Ok(Some(Recovered { summary, index, sampler, torn_bytes }))
}

struct Recovery<'a> {
    disk: &'a dyn Disk,
    summary: Option<Summary>,
    index: Index,
    sampler: Sampler,
    torn_bytes: u64,
}

impl Recovery<'_> {
    fn segment(&mut self, seq: u64, base: u64, path: PathBuf, last: bool) -> Result<(), LogError> {
        let io = |e| LogError::io(&path, e);
        let file = self.disk.open(&path).map_err(io)?;
        let size = file.size().map_err(io)?;
        if size < Head::least() {
            return Err(LogError::corrupt(&path, 0, "the segment's head is missing"));
        }
        let mut bytes =
            vec![0; usize::try_from(size).map_err(|e| LogError::io(&path, std::io::Error::other(e)))?];
        file.read_exact_at(&mut bytes, 0).map_err(io)?;

        let (head, start) = Head::decode(&bytes).map_err(|what| LogError::corrupt(&path, 0, what))?;
        if head.seq != seq || head.summary.next() != base {
            return Err(LogError::corrupt(&path, 0, "the name does not agree with the head"));
        }
        if self.summary.as_ref().is_some_and(|before| *before != head.summary) {
            let what = "records are missing at the end of the segment before it";
            return Err(LogError::corrupt(&path, 0, what));
        }
        let mut scan = Scan { path: &path, bytes: &bytes, salt: head.salt, at: start, synced: start };
        self.summary = Some(head.summary);
        let torn = self.records(&mut scan, seq, last)?;
        let (at, synced) = (scan.at, scan.synced);
        if last {
            let end = at as usize;
            file.write_all_at(&bytes[synced as usize..end], synced).map_err(io)?;
            // First the byte that no header lacks: from then on the place is known to be torn, however little
            // of the rest a second crash lets happen.
            if end + HEADER <= torn {
                file.write_all_at(&[0], (end + HEADER - 1) as u64).map_err(io)?;
            }
            for start in (end..torn).step_by(BLOCK) {
                let zeros = vec![0; BLOCK.min(torn - start)];
                file.write_all_at(&zeros, start as u64).map_err(io)?;
            }
            file.sync_data().map_err(io)?;
            self.torn_bytes = torn.saturating_sub(end) as u64;
            if torn > end {
                tracing::warn!(
                    file = %path.display(),
                    offset = at,
                    bytes = torn - end,
                    "dropped the unfinished end of the log, which was never acknowledged as durable",
                );
            }
        }
        self.index.add_segment(Segment { seq, base, salt: head.salt, path, file, start, end: at, size });
        Ok(())
    }

    /// Takes the records of a segment; answers where a torn end ends.
    fn records(&mut self, scan: &mut Scan<'_>, seq: u64, last: bool) -> Result<usize, LogError> {
        let summary = self.summary.get_or_insert_default();
        let end = torn::data_end(scan.bytes).max(scan.at as usize);
        while (scan.at as usize) < end {
            let here = &scan.bytes[scan.at as usize..];
            let header = Header::read(here, scan.salt, scan.at);
            let body = header.and_then(|h| h.body(here, scan.salt, scan.at));
            let (Some(header), Some(body)) = (header, body) else {
                scan.judge(end, last)?;
                return Ok(end);
            };
            if u64::from(header.synced) > scan.at {
                return Err(scan.corrupt("the record claims to be older than its place"));
            }
            let body = if header.kind == Kind::Vote { Bytes::copy_from_slice(body) } else { short(body) };
            summary.replay(&header.record(body)).map_err(|what| scan.corrupt(what))?;
            match header.kind {
                Kind::Truncate => {
                    self.sampler.truncate();
                    self.index.truncate(summary.next());
                }
                kind if kind.is_entry() => {
                    if let Some(point) = self.sampler.see(header.index, seq, scan.at) {
                        self.index.add_point(point);
                    }
                }
                _ => {}
            }
            scan.synced = scan.synced.max(u64::from(header.synced));
            scan.at += header.size();
        }
        Ok(scan.at as usize)
    }
}

/// Of the body the fold needs only whether it is empty.
fn short(body: &[u8]) -> Bytes {
    if body.is_empty() { Bytes::new() } else { Bytes::from_static(&[1]) }
}

struct Scan<'a> {
    path: &'a Path,
    bytes: &'a [u8],
    salt: u64,
    /// Where the next record starts.
    at: u64,
    /// Up to where records say that all was synced.
    synced: u64,
}

impl Scan<'_> {
    fn judge(&self, end: usize, last: bool) -> Result<(), LogError> {
        if !last {
            return Err(self.corrupt("a record is damaged, and later segments follow"));
        }
        match torn::judge(self.bytes, self.salt, self.at as usize, end) {
            Verdict::Torn => Ok(()),
            Verdict::Corrupt { witness: None } => {
                Err(self.corrupt("a record is damaged in a way that no crash leaves behind"))
            }
            Verdict::Corrupt { witness: Some(place) } => Err(self
                .corrupt(format!("a record is damaged that was durable before offset {place} was written"))),
        }
    }

    fn corrupt(&self, what: impl Into<String>) -> LogError {
        LogError::corrupt(self.path, self.at, what)
    }
}
