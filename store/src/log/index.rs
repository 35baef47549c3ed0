// SPDX-License-Identifier: Apache-2.0
//! Where entries are on disk: a sparse list of points, from which a read goes on record by record.
//!
//! ```text
//! points     100           164           [101 dropped]        101'
//!             ▼             ▼                                  ▼
//! segment  │ 100 101 … 163 164 … 180 │ truncate to 100 │ 101' 102' …
//! ```
//!
//! Points rise in index and in place. A truncation drops the points behind it and the next entry always
//! gets a point of its own, so from a point up to the index of the next one there is exactly one record of
//! each index, and dead records are never reached.

use std::collections::VecDeque;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use super::disk::SegmentFile;
use super::record::Mark;
use super::segment::Segment;

/// Bytes between two points: the most that is read in vain to find one entry. Four pages; a log of 1 GiB
/// then has 65,536 points (1.5 MiB).
const SPACING: u64 = 16 << 10;

/// The place of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Point {
    pub index: u64,
    pub seq: u64,
    pub offset: u64,
}

/// Decides which entries get a point.
#[derive(Debug, Default)]
pub(crate) struct Sampler {
    point: Option<Point>,
    last: u64,
}

impl Sampler {
    /// After a truncation the next entry gets a point whatever its index is.
    pub(crate) fn truncate(&mut self) {
        self.point = None;
    }

    /// Looks at the next entry in file order.
    pub(crate) fn see(&mut self, index: u64, seq: u64, offset: u64) -> Option<Point> {
        let due = match self.point {
            None => true,
            Some(point) => point.seq != seq || offset - point.offset >= SPACING || index != self.last + 1,
        };
        self.last = index;
        if due {
            self.point = Some(Point { index, seq, offset });
            return self.point;
        }
        None
    }
}

/// Segments and points, in the order of the file.
#[derive(Default)]
pub(crate) struct Index {
    segments: VecDeque<Segment>,
    points: VecDeque<Point>,
}

/// A stretch of a segment to read.
pub(crate) struct Stretch {
    pub seq: u64,
    pub file: Arc<dyn SegmentFile>,
    pub path: PathBuf,
    pub salt: u64,
    pub bytes: Range<u64>,
    /// The entries wanted from it.
    pub entries: Range<u64>,
}

impl Index {
    pub(crate) fn add_segment(&mut self, segment: Segment) {
        self.segments.push_back(segment);
    }

    pub(crate) fn add_point(&mut self, point: Point) {
        self.points.push_back(point);
    }

    pub(crate) fn current(&mut self) -> &mut Segment {
        self.segments.back_mut().expect("a log has a segment from its opening on")
    }

    pub(crate) fn segments(&self) -> impl Iterator<Item = &Segment> {
        self.segments.iter()
    }

    /// Forgets where entries from `next` on are.
    pub(crate) fn truncate(&mut self, next: u64) {
        while self.points.back().is_some_and(|p| p.index >= next) {
            self.points.pop_back();
        }
    }

    /// Forgets purged entries, and hands out the segments that nothing needs any more: those before the
    /// youngest segment that began at or before the first entry that is not purged. What the older ones say
    /// beside entries, that segment's head says too.
    pub(crate) fn purge(&mut self, purged: Option<Mark>) -> Vec<Segment> {
        let Some(purged) = purged else { return Vec::new() };
        let first = purged.index + 1;
        while self.points.get(1).is_some_and(|p| p.index <= first) {
            self.points.pop_front();
        }
        let needed = self.segments.iter().rposition(|s| s.base <= first).unwrap_or(0);
        let gone: Vec<Segment> = self.segments.drain(..needed).collect();
        if let Some(oldest) = self.segments.front() {
            while self.points.front().is_some_and(|p| p.seq < oldest.seq) {
                self.points.pop_front();
            }
        }
        gone
    }

    /// The stretches that hold the entries `wanted`, in order.
    pub(crate) fn locate(&self, wanted: Range<u64>) -> Vec<Stretch> {
        let mut out: Vec<Stretch> = Vec::new();
        let from = self.points.partition_point(|p| p.index <= wanted.start).saturating_sub(1);
        for at in from..self.points.len() {
            let point = self.points[at];
            let next = self.points.get(at + 1);
            let entries = point.index.max(wanted.start)..next.map_or(u64::MAX, |n| n.index).min(wanted.end);
            if entries.is_empty() {
                break;
            }
            let Some(segment) = self.segment(point.seq) else { continue };
            let end = next.filter(|n| n.seq == point.seq).map_or(segment.end, |n| n.offset);
            out.push(Stretch {
                seq: point.seq,
                file: Arc::clone(&segment.file),
                path: segment.path.clone(),
                salt: segment.salt,
                bytes: point.offset..end,
                entries,
            });
        }
        out
    }

    fn segment(&self, seq: u64) -> Option<&Segment> {
        let oldest = self.segments.front()?.seq;
        self.segments.get(usize::try_from(seq.checked_sub(oldest)?).ok()?)
    }
}
