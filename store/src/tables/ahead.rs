// SPDX-License-Identifier: Apache-2.0
//! Jobs read ahead of being asked for.
//!
//! A queue is drained in the order of its jobs' numbers, and jobs lie in the database by number. Behind the
//! second of a run the next ones are read along: a row costs a tenth of what it costs alone. A run may have holes,
//! where jobs of other queues lie; how much is read along grows while at least half of it is used, and shrinks
//! to nothing when it is not.
//!
//! H2: what is kept here is what the database says, and no layer has the job. So a job that is written or
//! deleted is forgotten here at once: when its layer goes, the old row must not come back.

use std::collections::VecDeque;

use fjall::Slice;
use jobbie_broker::JobNo;

/// Rows read at once at most: some ten blocks of the database's tables.
const MOST: usize = 128;
/// Numbers that may be passed over in a run.
const HOLE: u64 = 8;

/// Rows of jobs by number, each to be taken once.
#[derive(Debug)]
pub(crate) struct Ahead {
    rows: VecDeque<(JobNo, Slice)>,
    /// The last job that was read.
    last: JobNo,
    /// Rows that were read at once the last time, and how many of them were asked for.
    read: usize,
    used: usize,
}

impl Ahead {
    pub(crate) const fn new() -> Self {
        Self { rows: VecDeque::new(), last: JobNo(0), read: 1, used: 1 }
    }

    /// The row of a job, if it was read ahead.
    pub(crate) fn take(&mut self, no: JobNo) -> Option<Slice> {
        let row = self.rows.remove(self.place(no)?).map(|(_, row)| row);
        self.used += 1;
        row
    }

    /// Notes that a job was written or deleted.
    pub(crate) fn forget(&mut self, no: JobNo) {
        if let Some(place) = self.place(no) {
            self.rows.remove(place);
        }
    }

    /// How many rows to read from a job on that is not here: 1 for it alone.
    pub(crate) fn wanted(&mut self, no: JobNo) -> usize {
        let goes_on = no > self.last && no.0 - self.last.0 <= HOLE;
        match (goes_on, self.used * 2 >= self.read) {
            (true, true) => (self.read * 2).min(MOST),
            (true, false) => (self.read / 2).max(1),
            (false, _) => 1,
        }
    }

    /// Keeps what was read: `read` rows, the first of them asked for, the last of them `last`.
    pub(crate) fn keep(&mut self, rows: VecDeque<(JobNo, Slice)>, read: usize, last: JobNo) {
        *self = Self { rows, last, read: read.max(1), used: 1 };
    }

    fn place(&self, no: JobNo) -> Option<usize> {
        if self.rows.front().is_none_or(|(first, _)| no < *first) {
            return None;
        }
        self.rows.binary_search_by_key(&no, |(no, _)| *no).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads jobs as the tables do; gives the number of reads and of rows in all of them.
    fn drain(numbers: impl Iterator<Item = u64>) -> (usize, usize) {
        let (mut ahead, mut reads, mut rows) = (Ahead::new(), 0, 0);
        for no in numbers.map(JobNo) {
            if ahead.take(no).is_some() {
                continue;
            }
            let wanted = ahead.wanted(no);
            let behind = (1..wanted as u64).map(|n| (JobNo(no.0 + n), Slice::from([0u8])));
            ahead.keep(behind.collect(), wanted, JobNo(no.0 + wanted as u64 - 1));
            reads += 1;
            rows += wanted;
        }
        (reads, rows)
    }

    #[test]
    fn a_run_is_read_in_large_pieces_and_nothing_else_is() {
        let (reads, rows) = drain(1..=10_000);
        assert!(reads < 100 && rows < 10_300, "{reads} {rows}");
        // Every second number belongs to another queue.
        let (reads, rows) = drain((1..=10_000).map(|n| n * 2));
        assert!(reads < 200 && rows < 20_600, "{reads} {rows}");
        // Far apart, or backwards: one by one.
        for numbers in [(1..=1000).map(|n| n * 20).collect::<Vec<u64>>(), (1..=1000).rev().collect()] {
            let (reads, rows) = drain(numbers.into_iter());
            assert_eq!((reads, rows), (1000, 1000));
        }
        // One in six: what is read along is not worth it.
        let (_, rows) = drain((1..=1000).map(|n| n * 6));
        assert!(rows < 3100, "{rows}");
    }

    #[test]
    fn what_was_written_is_forgotten() {
        let mut ahead = Ahead::new();
        let rows = (2..6).map(|no| (JobNo(no), Slice::from([0u8])));
        ahead.keep(rows.collect(), 5, JobNo(5));
        ahead.forget(JobNo(3));
        assert!(ahead.take(JobNo(3)).is_none() && ahead.take(JobNo(4)).is_some());
        assert!(ahead.take(JobNo(4)).is_none(), "once");
    }
}
