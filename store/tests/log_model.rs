// SPDX-License-Identifier: Apache-2.0
//! Random calls against a log with small segments, compared with a vector after each.

mod log_support;

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use jobbie_store::Durability;
use jobbie_store::log::{Log, LogOptions, Mark, Record};
use log_support::{SimDisk, entry, vote, wait};
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
