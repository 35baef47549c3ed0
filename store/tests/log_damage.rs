// SPDX-License-Identifier: Apache-2.0
//! What the log does when it finds its files cut short, changed or gone.

#![allow(clippy::unwrap_used)] // a test may

mod log_support;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use jobbie_store::log::{Log, LogError, LogOptions, Mark, Record};
use log_support::{SimDisk, all, append_each, copy, entry, roomy, segments, small, vote, wait};

fn open(dir: &Path, options: LogOptions) -> Result<Log<Record>, LogError> {
    Log::open(dir, options, None)
}

/// Opens a log whose only segment has these bytes. In memory, because there are thousands of them.
fn open_bytes(path: &Path, bytes: &[u8]) -> Result<Log<Record>, LogError> {
    Log::open_on(Arc::new(SimDisk::with(path, bytes)), path.parent().unwrap(), roomy(), None)
}

/// A log of some entries, a vote and a truncation, each synced by itself, as a kill leaves it.
fn sample() -> (tempfile::TempDir, Vec<Record>, Vec<u8>) {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), roomy()).unwrap();
    append_each(&log, (1..=3).map(|i| entry(1, i, 0)));
    wait(|done| log.save_vote(vote(1), done)).unwrap();
    wait(|done| log.truncate_after(Some(Mark { term: 1, index: 2 }), done)).unwrap();
    wait(|done| log.append((3..=6).map(|i| entry(2, i, 0)).collect(), done)).unwrap();
    let entries = all(&log);
    let killed = copy(dir.path());
    let path = segments(killed.path()).remove(0);
    let bytes = fs::read(path).unwrap();
    (killed, entries, bytes)
}

/// Where the records of a segment start, from their lengths.
fn record_starts(bytes: &[u8]) -> Vec<usize> {
    let (mut at, mut starts) = (0, Vec::new());
    while at + 32 <= bytes.len() && bytes[at..].iter().any(|b| *b != 0) {
        starts.push(at);
        let length = u32::from_le_bytes(bytes[at + 8..at + 12].try_into().unwrap()) as usize;
        at = (at + 32 + length + 1).next_multiple_of(8);
    }
    starts.push(at);
    starts
}

#[test]
fn a_cut_at_any_byte_keeps_every_record_before_it() {
    let (dir, _, bytes) = sample();
    let path = segments(dir.path()).remove(0);
    let starts = record_starts(&bytes);
    let head_end = starts[1];
    // What the log is after each record: entries, vote.
    let stages: [(&[(u64, u64)], bool); 10] = [
        (&[], false),
        (&[(1, 1)], false),
        (&[(1, 1), (1, 2)], false),
        (&[(1, 1), (1, 2), (1, 3)], false),
        (&[(1, 1), (1, 2), (1, 3)], true),
        (&[(1, 1), (1, 2)], true),
        (&[(1, 1), (1, 2), (2, 3)], true),
        (&[(1, 1), (1, 2), (2, 3), (2, 4)], true),
        (&[(1, 1), (1, 2), (2, 3), (2, 4), (2, 5)], true),
        (&[(1, 1), (1, 2), (2, 3), (2, 4), (2, 5), (2, 6)], true),
    ];
    assert_eq!(starts.len(), stages.len() + 1);
    for cut in 0..=bytes.len() {
        let opened = open_bytes(&path, &bytes[..cut]);
        if cut < head_end {
            // A head is durable before the file has its name: no crash does this.
            assert!(matches!(opened, Err(LogError::Corrupt { .. })), "cut at {cut}");
            continue;
        }
        let log = opened.unwrap_or_else(|e| panic!("cut at {cut}: {e}"));
        let whole = starts.iter().filter(|start| **start <= cut).count() - 2;
        let (entries, voted) = stages[whole];
        let expected: Vec<Record> = entries.iter().map(|(term, index)| entry(*term, *index, 0)).collect();
        assert_eq!(all(&log), expected, "cut at {cut}");
        assert_eq!(log.vote(), voted.then(|| vote(1)), "cut at {cut}");
    }
}

#[test]
fn a_flip_of_any_bit_is_refused_or_changes_nothing() {
    let (dir, entries, bytes) = sample();
    let path = segments(dir.path()).remove(0);
    let used = *record_starts(&bytes).last().unwrap();
    for bit in 0..(used + 64) * 8 {
        let mut flipped = bytes.clone();
        flipped.resize(used + 64, 0);
        flipped[bit / 8] ^= 1 << (bit % 8);
        match open_bytes(&path, &flipped) {
            // Also in the last record, which a crash could have cut short but not bent.
            Err(LogError::Corrupt { file, offset, .. }) => {
                assert_eq!(file, path);
                assert!(offset as usize <= bit / 8, "bit {bit} was found at {offset}");
            }
            Err(other) => panic!("bit {bit}: {other}"),
            Ok(log) => {
                assert!(bit / 8 >= used, "bit {bit} was not noticed");
                assert_eq!(all(&log), entries);
                assert_eq!(log.vote(), Some(vote(1)));
            }
        }
    }
}

#[test]
fn the_error_says_where_and_what_to_do() {
    let (dir, _, mut bytes) = sample();
    let path = segments(dir.path()).remove(0);
    let at = record_starts(&bytes)[2];
    bytes[at + 40] ^= 1;
    fs::write(&path, bytes).unwrap();
    let Err(error) = open(dir.path(), roomy()) else { panic!("opened a corrupt log") };
    let text = error.to_string();
    assert!(text.contains(path.to_str().unwrap()), "{text}");
    assert!(text.contains(&format!("offset {at}")), "{text}");
    assert!(text.contains("restore from a backup or, in a cluster, replace this node"), "{text}");
}

#[test]
fn a_lost_sector_is_corruption_once_something_later_was_written() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), roomy()).unwrap();
    append_each(&log, (1..=3).map(|i| entry(1, i, 2000)));
    let killed = copy(dir.path());
    let path = segments(killed.path()).remove(0);
    let bytes = fs::read(&path).unwrap();
    let starts = record_starts(&bytes);
    let zeroed = |record: usize| {
        let mut bytes = bytes.clone();
        let sector = (starts[record] + 600) / 512 * 512;
        bytes[sector..sector + 512].fill(0);
        fs::write(&path, bytes).unwrap();
        open(killed.path(), roomy())
    };
    assert!(matches!(zeroed(1), Err(LogError::Corrupt { .. })));
    assert!(matches!(zeroed(2), Err(LogError::Corrupt { .. })));
    // In the last write it looks like a crash in the middle of that write.
    assert_eq!(all(&zeroed(3).unwrap()).len(), 2);

    // Not so after an orderly end.
    log.shutdown();
    fs::copy(segments(dir.path()).remove(0), &path).unwrap();
    let mut bytes = fs::read(&path).unwrap();
    let sector = (starts[3] + 600) / 512 * 512;
    bytes[sector..sector + 512].fill(0);
    fs::write(&path, bytes).unwrap();
    assert!(matches!(open(killed.path(), roomy()), Err(LogError::Corrupt { .. })));
}

#[test]
fn a_lost_sector_inside_the_last_write_drops_that_write_from_there_on() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), roomy()).unwrap();
    append_each(&log, [entry(1, 1, 100)]);
    wait(|done| log.append((2..=9).map(|i| entry(1, i, 700)).collect(), done)).unwrap();
    let killed = copy(dir.path());
    let path = segments(killed.path()).remove(0);
    let mut bytes = fs::read(&path).unwrap();
    let sector = record_starts(&bytes)[4].next_multiple_of(512);
    bytes[sector..sector + 512].fill(0);
    fs::write(&path, bytes).unwrap();
    let log = open(killed.path(), roomy()).unwrap();
    assert_eq!(all(&log), (1..=3).map(|i| entry(1, i, if i == 1 { 100 } else { 700 })).collect::<Vec<_>>());
}

#[test]
fn a_torn_end_is_gone_for_good() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), roomy()).unwrap();
    append_each(&log, (1..=2).map(|i| entry(1, i, 100)));
    wait(|done| log.append((3..=6).map(|i| entry(1, i, 100)).collect(), done)).unwrap();
    let killed = copy(dir.path());
    let path = segments(killed.path()).remove(0);
    let mut bytes = fs::read(&path).unwrap();
    // The third entry lost its start; the fourth to sixth are whole, and must not come back.
    let at = record_starts(&bytes)[3];
    bytes[at..at + 32].fill(0);
    fs::write(&path, &bytes).unwrap();
    let log = open(killed.path(), roomy()).unwrap();
    assert_eq!(all(&log).len(), 2);
    assert!(fs::read(&path).unwrap()[at..].iter().all(|b| *b == 0));
    // A shorter record in its place, so that the old fourth would be right behind a gap.
    append_each(&log, [entry(2, 3, 20)]);
    let log = open(copy(killed.path()).path(), roomy()).unwrap();
    assert_eq!(all(&log), [entry(1, 1, 100), entry(1, 2, 100), entry(2, 3, 20)]);
}

#[test]
fn a_crash_while_truncating_leaves_it_done_or_not_done() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), small()).unwrap();
    // Over several segments, so that doing it in place would take several steps.
    append_each(&log, (1..=20).map(|i| entry(1, i, 1000)));
    wait(|done| log.truncate_after(Some(Mark { term: 1, index: 4 }), done)).unwrap();
    let killed = copy(dir.path());
    let path = segments(killed.path()).pop().unwrap();
    let bytes = fs::read(&path).unwrap();
    let starts = record_starts(&bytes);
    let (begin, end) = (starts[starts.len() - 2], starts[starts.len() - 1]);
    for cut in begin..=end {
        fs::write(&path, &bytes[..cut]).unwrap();
        let log = open(killed.path(), small()).unwrap();
        assert_eq!(all(&log).len(), if cut == end { 4 } else { 20 }, "cut at {cut}");
    }
}

#[test]
fn truncated_entries_never_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), small()).unwrap();
    append_each(&log, (1..=20).map(|i| entry(1, i, 1000)));
    wait(|done| log.truncate_after(Some(Mark { term: 1, index: 4 }), done)).unwrap();
    append_each(&log, (5..=9).map(|i| entry(2, i, 1000)));
    let expected: Vec<Record> = (1..=9).map(|i| entry(if i < 5 { 1 } else { 2 }, i, 1000)).collect();
    assert_eq!(all(&log), expected);
    assert_eq!(log.read(3..7, usize::MAX).unwrap(), expected[2..6]);
    let log = open(copy(dir.path()).path(), small()).unwrap();
    assert_eq!(all(&log), expected);
    assert_eq!(log.stats().last_index, Some(9));
}

#[test]
fn missing_and_foreign_segments_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), small()).unwrap();
    append_each(&log, (1..=20).map(|i| entry(1, i, 1000)));
    log.shutdown();
    let names = segments(dir.path());
    assert!(names.len() > 4, "{names:?}");
    for gone in 0..names.len() - 1 {
        let damaged = copy(dir.path());
        fs::remove_file(&segments(damaged.path())[gone]).unwrap();
        assert!(
            matches!(open(damaged.path(), small()), Err(LogError::Corrupt { .. })),
            "without segment {gone}"
        );
    }
    // Another log's segment under the right name.
    let other = tempfile::tempdir().unwrap();
    let log = open(other.path(), small()).unwrap();
    append_each(&log, (1..=20).map(|i| entry(7, i, 1000)));
    log.shutdown();
    let damaged = copy(dir.path());
    fs::copy(&segments(other.path())[2], &segments(damaged.path())[2]).unwrap();
    assert!(matches!(open(damaged.path(), small()), Err(LogError::Corrupt { .. })));
}

#[test]
fn a_sealed_segment_that_lost_its_end_is_refused_whatever_was_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), small()).unwrap();
    append_each(&log, (1..=3).map(|i| entry(1, i, 1000)));
    wait(|done| log.save_vote(vote(1), done)).unwrap();
    append_each(&log, (4..=6).map(|i| entry(1, i, 1000)));
    let killed = copy(dir.path());
    let path = segments(killed.path()).remove(0);
    let mut bytes = fs::read(&path).unwrap();
    let starts = record_starts(&bytes);
    // The last record of the first segment is the vote: no index is missing without it.
    bytes[starts[starts.len() - 2]..].fill(0);
    fs::write(&path, bytes).unwrap();
    assert!(matches!(open(killed.path(), small()), Err(LogError::Corrupt { .. })));
}

#[test]
fn a_record_inside_a_payload_is_no_record() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), roomy()).unwrap();
    append_each(&log, (1..=3).map(|i| entry(1, i, 64)));
    let bytes = fs::read(segments(dir.path()).remove(0)).unwrap();
    let starts = record_starts(&bytes);
    // Someone's payload is a copy of this very log, whose records say that much is synced. A crash cuts
    // the record that carries it; what is left of the copy must not count as a later record.
    let mut carrier = entry(1, 4, 0);
    carrier.body = bytes[starts[1]..starts[4]].to_vec().into();
    append_each(&log, [carrier]);
    let killed = copy(dir.path());
    let path = segments(killed.path()).remove(0);
    let mut bytes = fs::read(&path).unwrap();
    let last = *record_starts(&bytes).last().unwrap();
    bytes.truncate(last - 8);
    fs::write(&path, bytes).unwrap();
    assert_eq!(all(&open(killed.path(), roomy()).unwrap()).len(), 3);
}

#[test]
fn records_that_changed_places_are_no_records() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), roomy()).unwrap();
    // Nothing but the checksum of the place would show that the older vote is now the last.
    wait(|done| log.save_vote(vote(1), done)).unwrap();
    wait(|done| log.save_vote(vote(2), done)).unwrap();
    let killed = copy(dir.path());
    let path = segments(killed.path()).remove(0);
    let mut bytes = fs::read(&path).unwrap();
    let starts = record_starts(&bytes);
    let (first, second) = bytes[starts[1]..starts[3]].split_at_mut(starts[2] - starts[1]);
    first.swap_with_slice(second);
    fs::write(&path, bytes).unwrap();
    assert!(matches!(open(killed.path(), roomy()), Err(LogError::Corrupt { .. })));
}

#[test]
fn damage_is_also_found_by_a_read() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), LogOptions { cache_bytes: 0, ..roomy() }).unwrap();
    append_each(&log, (1..=9).map(|i| entry(1, i, 100)));
    let path = segments(dir.path()).remove(0);
    let mut bytes = fs::read(&path).unwrap();
    let at = record_starts(&bytes)[3];
    bytes[at + 50] ^= 4;
    fs::write(&path, bytes).unwrap();
    let error = log.read(1..9, usize::MAX).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
    assert!(error.to_string().contains(&format!("offset {at}")), "{error}");
}
