// SPDX-License-Identifier: Apache-2.0
//! Random calls against a log with small segments, compared with a vector after each.

#![allow(clippy::unwrap_used)] // a test may

mod log_support;

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use jobbie_store::Durability;
use jobbie_store::log::{Log, LogOptions, Mark, Record};
use log_support::{SimDisk, all, append_each, entry, segments, small, vote, wait};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Call {
    Append {
        count: u64,
        length: usize,
        term: u64,
    },
    /// Leaves so many entries of those that live.
    Truncate(u64),
    /// Purges so many of those that live, and goes beyond the end if there are fewer.
    Purge(u64),
    Vote(u64),
    Committed(Option<u64>),
    Read {
        from: u64,
        count: u64,
        budget: usize,
    },
    /// Shut down and opened again.
    Reopen,
    /// Killed and opened again.
    Kill,
}

#[derive(Default)]
struct Model {
    purged: Option<Mark>,
    entries: Vec<Record>,
    term: u64,
    vote: Option<Bytes>,
    committed: Option<Mark>,
}

impl Model {
    fn last(&self) -> Option<Mark> {
        self.entries.last().map(Record::mark).or(self.purged)
    }

    fn next(&self) -> u64 {
        self.last().map_or(0, |last| last.index + 1)
    }
}

fn calls() -> impl Strategy<Value = Vec<Call>> {
    let call = prop_oneof![
        8 => (1..6u64, 0..1500usize, 0..2u64)
            .prop_map(|(count, length, term)| Call::Append { count, length, term }),
        2 => (0..12u64).prop_map(Call::Truncate),
        2 => (0..9u64).prop_map(Call::Purge),
        1 => (0..99u64).prop_map(Call::Vote),
        1 => proptest::option::of(0..99u64).prop_map(Call::Committed),
        4 => (0..40u64, 0..20u64, prop_oneof![Just(usize::MAX), 0..6000usize])
            .prop_map(|(from, count, budget)| Call::Read { from, count, budget }),
        1 => Just(Call::Reopen),
        1 => Just(Call::Kill),
    ];
    proptest::collection::vec(call, 1..60)
}

fn perform(call: &Call, log: &Log<Record>, model: &mut Model) {
    match call {
        Call::Append { count, length, term } => {
            model.term += term;
            let new: Vec<Record> =
                (model.next()..).take(*count as usize).map(|i| entry(model.term, i, *length)).collect();
            wait(|done| log.append(new.clone(), done)).unwrap();
            model.entries.extend(new);
        }
        Call::Truncate(left) => {
            model.entries.truncate(*left as usize);
            wait(|done| log.truncate_after(model.last(), done)).unwrap();
        }
        Call::Purge(count) => {
            let upto = match model.entries.get((*count as usize).saturating_sub(1)) {
                Some(last) if *count > 0 => last.mark(),
                _ => Mark { term: model.term, index: model.next() + count },
            };
            model.entries.retain(|e| e.index > upto.index);
            model.purged = Some(upto);
            wait(|done| log.purge(upto, done)).unwrap();
        }
        Call::Vote(number) => {
            model.vote = Some(vote(*number));
            wait(|done| log.save_vote(vote(*number), done)).unwrap();
        }
        Call::Committed(index) => {
            model.committed = index.map(|index| Mark { term: 1, index });
            log.save_committed(model.committed).unwrap();
        }
        Call::Read { from, count, budget } => {
            let from = model.next().saturating_sub(*from);
            let wanted = from..from + count;
            let expected: Vec<Record> =
                model.entries.iter().filter(|e| wanted.contains(&e.index)).cloned().collect();
            let read = log.read(wanted, *budget).unwrap();
            assert_eq!(read, expected[..read.len()]);
            if *budget == usize::MAX {
                assert_eq!(read.len(), expected.len());
            } else {
                assert_eq!(read.is_empty(), expected.is_empty());
                let size: usize = read.iter().skip(1).map(|e| e.body.len()).sum();
                assert!(size <= *budget, "{size} bytes for a budget of {budget}");
            }
        }
        Call::Reopen | Call::Kill => unreachable!("handled by the caller"),
    }
}

fn check(log: &Log<Record>, model: &Model) {
    assert_eq!(log.read(0..u64::MAX, usize::MAX).unwrap(), model.entries);
    assert_eq!(log.bounds(), (model.purged, model.last()));
    assert_eq!(log.vote(), model.vote);
    let stats = log.stats();
    assert_eq!(stats.first_index, model.entries.first().map(|e| e.index));
    assert_eq!(stats.last_index, model.last().map(|m| m.index));
}

#[test]
fn entries_after_a_truncation_and_a_purge_that_meet_are_found() {
    // The next index is the one that would have followed without either.
    let log = Log::<Record>::open_on(Arc::new(SimDisk::default()), Path::new("/log"), small(), None).unwrap();
    append_each(&log, (0..7).map(|i| entry(1, i, 10)));
    wait(|done| log.truncate_after(None, done)).unwrap();
    wait(|done| log.purge(Mark { term: 1, index: 6 }, done)).unwrap();
    append_each(&log, (7..9).map(|i| entry(1, i, 10)));
    assert_eq!(all(&log), [entry(1, 7, 10), entry(1, 8, 10)]);
}

#[test]
fn entries_can_be_read_before_they_are_on_disk_whatever_the_size_of_the_cache() {
    let disk = SimDisk::default();
    let log = Log::<Record>::open_on(Arc::new(disk.clone()), Path::new("/log"), small(), None).unwrap();
    let entries: Vec<Record> = (0..20).map(|i| entry(1, i, 1000)).collect();
    let (sender, synced) = std::sync::mpsc::channel();
    let paused = disk.pause();
    for entry in &entries {
        let sender = sender.clone();
        log.append(vec![entry.clone()], Box::new(move |result| sender.send(result).unwrap())).unwrap();
    }
    assert_eq!(all(&log), entries);
    assert!(synced.try_recv().is_err(), "nothing is on disk yet");
    drop(paused);
    for _ in &entries {
        synced.recv().unwrap().unwrap();
    }
    assert_eq!(all(&log), entries);
    append_each(&log, [entry(1, 20, 10)]);
    assert!(log.stats().cache_bytes < 4000, "and then they leave the cache");
}

#[test]
fn what_waits_is_written_in_one_batch() {
    let disk = SimDisk::default();
    let options = LogOptions { segment_bytes: 1 << 20, ..small() };
    let log = Log::<Record>::open_on(Arc::new(disk.clone()), Path::new("/log"), options, None).unwrap();
    let (sender, synced) = std::sync::mpsc::channel();
    let paused = disk.pause();
    for index in 0..100 {
        let sender = sender.clone();
        log.append(vec![entry(1, index, 10)], Box::new(move |result| sender.send(result).unwrap())).unwrap();
    }
    drop(paused);
    for _ in 0..100 {
        synced.recv().unwrap().unwrap();
    }
    // The writer may have taken the first few before the rest came, once.
    assert!(log.stats().syncs <= 2, "{} syncs", log.stats().syncs);
}

#[test]
fn entries_that_do_not_follow_are_refused_and_leave_nothing() {
    let log = Log::<Record>::open_on(Arc::new(SimDisk::default()), Path::new("/log"), small(), None).unwrap();
    append_each(&log, (1..=3).map(|i| entry(5, i, 10)));
    let refused = |entries: Vec<Record>| wait(|done| log.append(entries, done)).unwrap_err().kind();
    assert_eq!(refused(vec![entry(5, 5, 10)]), std::io::ErrorKind::InvalidInput);
    assert_eq!(refused(vec![entry(5, 3, 10)]), std::io::ErrorKind::InvalidInput);
    assert_eq!(refused(vec![entry(4, 4, 10)]), std::io::ErrorKind::InvalidInput);
    assert_eq!(refused(vec![entry(5, 4, 10), entry(5, 6, 10)]), std::io::ErrorKind::InvalidInput);
    assert_eq!(all(&log).len(), 3);
    wait(|done| log.purge(Mark { term: 5, index: 2 }, done)).unwrap();
    let below = wait(|done| log.truncate_after(Some(Mark { term: 5, index: 1 }), done)).unwrap_err();
    assert_eq!(below.kind(), std::io::ErrorKind::InvalidInput);
    assert_eq!(log.failed(), None);
}

#[test]
fn a_purge_unlinks_whole_segments_and_keeps_vote_and_commit() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::<Record>::open(dir.path(), small(), None).unwrap();
    wait(|done| log.save_vote(vote(1), done)).unwrap();
    log.save_committed(Some(Mark { term: 1, index: 2 })).unwrap();
    append_each(&log, (1..=40).map(|i| entry(1, i, 1000)));
    let before = log.stats();
    wait(|done| log.purge(Mark { term: 1, index: 30 }, done)).unwrap();
    let after = log.stats();
    assert!(after.segments * 3 < before.segments, "{before:?} {after:?}");
    assert!(after.bytes_on_disk * 3 < before.bytes_on_disk, "{before:?} {after:?}");
    log.shutdown();
    assert_eq!(segments(dir.path()).len(), after.segments);
    let log = Log::<Record>::open(dir.path(), small(), None).unwrap();
    assert_eq!(log.vote(), Some(vote(1)));
    assert_eq!(log.committed(), Some(Mark { term: 1, index: 2 }));
    assert_eq!(log.bounds().0, Some(Mark { term: 1, index: 30 }));
    assert_eq!(all(&log), (31..=40).map(|i| entry(1, i, 1000)).collect::<Vec<_>>());
}

#[test]
fn the_next_segment_is_filled_ahead_and_used() {
    let dir = tempfile::tempdir().unwrap();
    let options = LogOptions { segment_bytes: 64 << 10, ..small() };
    let log = Log::<Record>::open(dir.path(), options, None).unwrap();
    let mut index = 0;
    let is_filled = |path: &std::path::PathBuf| std::fs::metadata(path).unwrap().len() == 64 << 10;
    // However long the helper takes, it is done some day, and then the log changes over.
    while !segments(dir.path()).last().is_some_and(is_filled) {
        index += 1;
        append_each(&log, [entry(1, index, 1000)]);
        assert!(index < 100_000, "no segment was ever filled ahead");
    }
    append_each(&log, [entry(1, index + 1, 1000)]);
    assert_eq!(all(&log).len() as u64, index + 1);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_log_is_what_a_vector_is(calls in calls(), cache_bytes in 0..8000usize, relaxed: bool) {
        let durability = if relaxed { Durability::Relaxed } else { Durability::Fsync };
        let options = LogOptions { segment_bytes: 4 << 10, cache_bytes, durability };
        let dir = Path::new("/log");
        let mut disk = SimDisk::default();
        let open = |disk: &SimDisk| Log::<Record>::open_on(Arc::new(disk.clone()), dir, options, None).unwrap();
        let mut log = open(&disk);
        let mut model = Model::default();
        for call in &calls {
            match call {
                Call::Reopen => {
                    log.shutdown();
                    log = open(&disk);
                    prop_assert_eq!(log.committed(), model.committed);
                }
                Call::Kill => {
                    disk = disk.after_kill();
                    log = open(&disk);
                    // Only a hint, which may be behind.
                    model.committed = log.committed();
                }
                call => perform(call, &log, &mut model),
            }
            check(&log, &model);
        }
    }
}
