// SPDX-License-Identifier: Apache-2.0
//! The tables on disk against the tables in memory: same replies, same events, same rows, whatever happens
//! and wherever a group ends, rows are written, the process crashes, or the database is closed and opened.
#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;
use std::sync::Arc;

use common::{SMALL, World, disk_rows, memory_rows, step, tables};
use jobbie_broker::apply::apply_proposal;
use jobbie_broker::tables::mem::MemTables;
use jobbie_broker::tables::schema::{Due, DueKey, Finished, FinishedKey, Lane, Ready, ReadyKey, Timer};
use jobbie_broker::tables::{Key, Tables};
use jobbie_broker::{JobNo, Name, Outcome, Proposal, QueueKey, StateKind, Timestamp};
use jobbie_store::keyspaces::{Fault, Keyspaces, Position};
use jobbie_store::tables::{FjallTables, Layer};
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
    /// The group goes on.
    Nothing,
    EndGroup,
    /// A layer is to be written, by somebody else.
    Take,
    /// It is written, but the tables do not know yet.
    Write,
    /// They do.
    Written,
    /// Whatever is not written is lost, and applied again.
    Crash,
    /// Everything is written, and opened again.
    Reopen,
}

fn between() -> impl Strategy<Value = Between> {
    prop_oneof![
        4 => Just(Between::Nothing),
        6 => Just(Between::EndGroup),
        2 => Just(Between::Take),
        2 => Just(Between::Write),
        2 => Just(Between::Written),
        1 => Just(Between::Crash),
        1 => Just(Between::Reopen),
    ]
}

/// The state on disk as it should be, and what came after.
struct Expected {
    window: usize,
    /// What the database holds.
    on_disk: MemTables,
    applied: Option<Position>,
    /// A layer that was taken, the state it leads to, and whether it is written.
    layer: Option<(Arc<Layer>, MemTables, Position, bool)>,
    /// Entries that are not on disk, with their outcomes.
    behind: Vec<(u64, Proposal, Vec<Outcome>)>,
}

impl Expected {
    fn end_group(disk: &mut FjallTables, index: u64) -> Position {
        let at = Position { term: 1, index };
        disk.end_group(at, None, 100);
        at
    }

    fn take(&mut self, disk: &mut FjallTables, memory: &MemTables, at: Position) {
        if self.layer.is_none()
            && let Some(turned) = disk.take_layer().unwrap()
        {
            self.layer = Some((turned.full, memory.clone(), at, false));
        }
    }

    fn write(&mut self, keyspaces: &Keyspaces) {
        if let Some((layer, memory, at, written @ false)) = &mut self.layer {
            layer.write(keyspaces).unwrap();
            *written = true;
            self.on_disk = memory.clone();
            self.applied = Some(*at);
            self.behind.retain(|(index, ..)| *index > at.index);
        }
    }

    fn written(&mut self, disk: &mut FjallTables) {
        if self.layer.as_ref().is_some_and(|(.., written)| *written) {
            self.layer = None;
            disk.set_written();
        }
    }

    /// Opens the database and applies what it has not.
    fn reopen(&mut self, dir: &Path) -> (Keyspaces, FjallTables) {
        self.layer = None;
        let keyspaces = Keyspaces::open(dir, SMALL).unwrap();
        assert_eq!(keyspaces.mark(&keyspaces.view()).unwrap().applied, self.applied);
        let mut disk = FjallTables::load(keyspaces.clone(), self.window).unwrap();
        let mut last = None;
        for (index, proposal, outcomes) in &self.behind {
            disk.begin_group();
            assert_eq!(&apply_proposal(&mut disk, *index, proposal).unwrap(), outcomes, "the same again");
            last = Some(*index);
        }
        last.map(|index| Self::end_group(&mut disk, index));
        (keyspaces, disk)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_commands(
        window in 1usize..5,
        entries in prop::collection::vec((prop::collection::vec(step(), 1..5), between()), 1..80),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let (mut keyspaces, mut disk) = tables(dir.path(), window);
        let mut memory = MemTables::new();
        let (on_disk, behind) = (MemTables::new(), Vec::new());
        let mut expected = Expected { window, on_disk, applied: None, layer: None, behind };
        let mut world = World::new();
        for (steps, between) in &entries {
            let proposal = world.proposal(steps);
            let index = world.index;
            let outcomes = apply_proposal(&mut memory, index, &proposal).unwrap();
            disk.begin_group();
            prop_assert_eq!(&apply_proposal(&mut disk, index, &proposal).unwrap(), &outcomes);
            for outcome in &outcomes {
                world.learn(std::slice::from_ref(&outcome.reply), &outcome.events);
            }
            expected.behind.push((index, proposal, outcomes));
            if matches!(between, Between::Nothing) {
                prop_assert!(matches!(disk.take_layer(), Err(Fault::Stopped)), "half a group is never written");
                continue;
            }
            let at = Expected::end_group(&mut disk, index);
            match between {
                Between::Nothing | Between::EndGroup => {}
                Between::Take => expected.take(&mut disk, &memory, at),
                Between::Write => expected.write(&keyspaces),
                Between::Written => expected.written(&mut disk),
                Between::Crash => {
                    drop((disk, keyspaces));
                    (keyspaces, disk) = expected.reopen(dir.path());
                }
                Between::Reopen => {
                    expected.write(&keyspaces);
                    expected.written(&mut disk);
                    expected.take(&mut disk, &memory, at);
                    expected.write(&keyspaces);
                    expected.written(&mut disk);
                    prop_assert_eq!(expected.applied, Some(at));
                    drop((disk, keyspaces));
                    (keyspaces, disk) = expected.reopen(dir.path());
                }
            }
            prop_assert_eq!(disk_rows(&keyspaces), memory_rows(&expected.on_disk));
        }
    }

    #[test]
    fn random_rows(
        window in 1usize..4,
        steps in prop::collection::vec((0u8..12, 0u64..24, 0u8..3, 0usize..6), 1..250),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let (keyspaces, mut disk) = tables(dir.path(), window);
        let mut memory = MemTables::new();
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
                    disk.end_group(Position { term: 1, index }, None, 0);
                    disk.write().unwrap();
                    assert_eq!(disk_rows(&keyspaces), memory_rows(&memory));
                }
                _ => both!(memory, disk, |t| { t.scan::<Finished>(&[], Some(&finished), limit).unwrap() }),
            }
        }
    }
}

#[test]
fn what_comes_and_goes_between_two_writes_is_never_written() {
    let dir = tempfile::tempdir().unwrap();
    let (keyspaces, mut disk) = tables(dir.path(), 4);
    let key = ReadyKey::new(QueueKey::new(&Name::from("default"), &Name::from("a")), 50, JobNo(1));
    disk.insert::<Ready>(&key, &()).unwrap();
    assert_eq!(disk.get::<Ready>(&key).unwrap(), Some(()));
    disk.delete::<Ready>(&key).unwrap();
    assert_eq!(disk.memory(), 0, "nothing is left of it");
    assert_eq!(disk.get::<Ready>(&key).unwrap(), None);
    disk.end_group(Position { term: 1, index: 1 }, None, 0);
    disk.write().unwrap();
    assert!(disk_rows(&keyspaces).is_empty());

    // A row that is in the database leaves a mark, also when it came back in between.
    disk.insert::<Ready>(&key, &()).unwrap();
    disk.end_group(Position { term: 1, index: 2 }, None, 0);
    disk.write().unwrap();
    disk.delete::<Ready>(&key).unwrap();
    disk.insert::<Ready>(&key, &()).unwrap();
    disk.delete::<Ready>(&key).unwrap();
    assert_eq!(disk.get::<Ready>(&key).unwrap(), None);
    disk.end_group(Position { term: 1, index: 3 }, None, 0);
    disk.write().unwrap();
    assert!(disk_rows(&keyspaces).is_empty());
}
