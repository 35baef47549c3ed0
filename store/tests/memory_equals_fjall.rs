// SPDX-License-Identifier: Apache-2.0
//! The tables on disk against the tables in memory: same replies, same events, same rows, whatever happens
//! and wherever the group is committed, given up, or the database closed and opened again.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;

use common::{SMALL, World, disk_rows, memory_rows, step, tables};
use jobbie_broker::apply::apply_proposal;
use jobbie_broker::tables::mem::MemTables;
use jobbie_broker::tables::schema::{Due, DueKey, Finished, FinishedKey, Lane, Ready, ReadyKey, Timer};
use jobbie_broker::tables::{Key, Tables};
use jobbie_broker::{JobNo, Name, QueueKey, StateKind, Timestamp};
use jobbie_store::keyspaces::{Keyspaces, Position};
use jobbie_store::tables::FjallTables;
use proptest::prelude::*;

/// Does the same to both and compares what comes out.
macro_rules! both {
    ($memory:ident, $disk:ident, |$t:ident| $act:block) => {{
        let expected = {
            let $t = &mut $memory;
            $act
        };
        let found = {
            let $t = &mut $disk;
            $act
        };
        assert_eq!(found, expected);
    }};
}

/// What happens between two entries.
#[derive(Clone, Copy, Debug)]
enum Between {
    Nothing,
    Commit,
    /// The group is given up and applied again from the last commit.
    Discard,
    Reopen,
}

fn between() -> impl Strategy<Value = Between> {
    prop_oneof![
        4 => Just(Between::Nothing),
        6 => Just(Between::Commit),
        1 => Just(Between::Discard),
        1 => Just(Between::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_commands(
        window in 1usize..5,
        entries in prop::collection::vec((prop::collection::vec(step(), 1..5), between()), 1..60),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let (mut keyspaces, mut disk) = tables(dir.path(), window);
        let (mut memory, mut committed) = (MemTables::new(), MemTables::new());
        let mut world = World::new();
        let mut group = Vec::new();
        for (steps, between) in &entries {
            let proposal = world.proposal(steps);
            let index = world.index;
            let expected = apply_proposal(&mut memory, index, &proposal).unwrap();
            let found = apply_proposal(&mut disk, index, &proposal).unwrap();
            prop_assert_eq!(&found, &expected);
            for outcome in expected {
                world.learn(std::slice::from_ref(&outcome.reply), &outcome.events);
            }
            group.push((index, proposal));
            match between {
                Between::Nothing => continue,
                Between::Commit | Between::Reopen => {
                    disk.commit(Position { term: 1, index }, None).unwrap();
                    committed = memory.clone();
                    group.clear();
                }
                Between::Discard => {
                    disk.discard();
                    let mut again = committed.clone();
                    for (index, proposal) in &group {
                        let expected = apply_proposal(&mut again, *index, proposal).unwrap();
                        prop_assert_eq!(apply_proposal(&mut disk, *index, proposal).unwrap(), expected);
                    }
                }
            }
            if matches!(between, Between::Reopen) {
                drop((disk, keyspaces));
                keyspaces = Keyspaces::open(dir.path(), SMALL).unwrap();
                disk = FjallTables::load(keyspaces.clone(), window).unwrap();
                prop_assert_eq!(keyspaces.mark(&keyspaces.view()).unwrap().applied, Some(Position { term: 1, index }));
            }
            prop_assert_eq!(disk_rows(&keyspaces), memory_rows(&committed));
        }
    }

    #[test]
    fn random_rows(
        window in 1usize..4,
        steps in prop::collection::vec((0u8..12, 0u64..24, 0u8..3, 0usize..6), 1..250),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let (_keyspaces, mut disk) = tables(dir.path(), window);
        let (mut memory, mut committed) = (MemTables::new(), MemTables::new());
        let queues = ["a", "b"].map(|queue| QueueKey::new(&Name::from("default"), &Name::from(queue)));
        let mut index = 0;
        for (what, n, kind, limit) in steps {
            let queue = &queues[usize::from(kind) % 2];
            let ready = ReadyKey { queue: queue.clone(), rank: 100 + kind, job: JobNo(n) };
            let due = DueKey { lane: [Lane::Timers, Lane::Leases][usize::from(kind) % 2], at: Timestamp(n / 3), timer: Timer::Ready, job: JobNo(n) };
            let finished = FinishedKey { queue: queue.clone(), state: StateKind::TERMINAL[usize::from(kind)], at: Timestamp(n), job: JobNo(n) };
            match what {
                0 | 1 => both!(memory, disk, |t| { t.put::<Ready>(&ready, &()).unwrap() }),
                2 => both!(memory, disk, |t| { t.delete::<Ready>(&ready).unwrap() }),
                3 => both!(memory, disk, |t| { t.put::<Due>(&due, &()).unwrap(); t.put::<Finished>(&finished, &()).unwrap() }),
                4 => both!(memory, disk, |t| { t.delete::<Due>(&due).unwrap(); t.delete::<Finished>(&finished).unwrap() }),
                5 => both!(memory, disk, |t| { t.scan::<Finished>(&FinishedKey::state_prefix(queue, finished.state), None, limit).unwrap() }),
                6 => both!(memory, disk, |t| { t.scan::<Ready>(&queue.bytes(), Some(&ready), limit).unwrap() }),
                7 => both!(memory, disk, |t| { t.first_due(due.lane, Timestamp(n)).unwrap() }),
                8 | 9 => both!(memory, disk, |t| {
                    let first = t.first_ready(queue).unwrap();
                    if let Some(key) = &first { t.delete::<Ready>(key).unwrap() }
                    first
                }),
                10 => {
                    index += 1;
                    disk.commit(Position { term: 1, index }, None).unwrap();
                    committed = memory.clone();
                }
                _ if limit == 0 => {
                    disk.discard();
                    memory = committed.clone();
                }
                _ => both!(memory, disk, |t| { t.scan::<Finished>(&[], Some(&finished), limit).unwrap() }),
            }
        }
    }
}

#[test]
fn every_row_of_a_group_is_seen_before_it_is_committed() {
    let dir = tempfile::tempdir().unwrap();
    let (keyspaces, mut disk) = tables(dir.path(), 4);
    let key = ReadyKey::new(QueueKey::new(&Name::from("default"), &Name::from("a")), 50, JobNo(1));
    disk.put::<Ready>(&key, &()).unwrap();
    assert_eq!(disk.get::<Ready>(&key).unwrap(), Some(()));
    assert!(disk_rows(&keyspaces).is_empty());
    disk.commit(Position { term: 1, index: 1 }, None).unwrap();
    let rows: BTreeMap<_, _> =
        disk_rows(&keyspaces).into_iter().map(|(space, key, row)| ((space, key), row)).collect();
    assert_eq!(rows.len(), 1);
}
