// SPDX-License-Identifier: Apache-2.0
//! The order of dispatch over queues much deeper than their windows, and what readers find of it.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeSet;

use common::{SMALL, tables};
use jobbie_broker::tables::schema::{Due, DueKey, Lane, Ready, ReadyKey, Timer};
use jobbie_broker::tables::{Key, Tables};
use jobbie_broker::{JobNo, Name, QueueKey, Timestamp};
use jobbie_store::keyspaces::{Keyspaces, Position};
use jobbie_store::tables::FjallTables;

const JOBS: u64 = 6000;
const WINDOW: usize = 16;

struct Deep {
    dir: tempfile::TempDir,
    tables: Option<FjallTables>,
    queue: QueueKey,
    model: BTreeSet<(u8, u64)>,
    index: u64,
}

impl Deep {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let tables = Some(tables(dir.path(), WINDOW).1);
        let queue = QueueKey::new(&Name::from("default"), &Name::from("deep"));
        Self { dir, tables, queue, model: BTreeSet::new(), index: 0 }
    }

    fn tables(&mut self) -> &mut FjallTables {
        self.tables.as_mut().unwrap()
    }

    fn key(&self, (rank, job): (u8, u64)) -> ReadyKey {
        ReadyKey { queue: self.queue.clone(), rank, job: JobNo(job) }
    }

    fn put(&mut self, job: (u8, u64)) {
        let key = self.key(job);
        self.tables().put::<Ready>(&key, &()).unwrap();
        self.model.insert(job);
    }

    fn delete(&mut self, job: (u8, u64)) {
        let key = self.key(job);
        self.tables().delete::<Ready>(&key).unwrap();
        self.model.remove(&job);
    }

    fn take(&mut self) -> Option<(u8, u64)> {
        let queue = self.queue.clone();
        let first = self.tables().first_ready(&queue).unwrap().map(|key| (key.rank, key.job.0));
        assert_eq!(first, self.model.first().copied());
        if let Some(job) = first {
            self.delete(job);
        }
        first
    }

    fn end_group(&mut self) {
        self.index += 1;
        let at = Position { term: 1, index: self.index };
        self.tables().end_group(at, None, 0);
    }

    fn write(&mut self) {
        self.end_group();
        self.tables().write().unwrap();
    }

    fn reopen(&mut self) {
        self.write();
        self.tables = None;
        let keyspaces = Keyspaces::open(self.dir.path(), SMALL).unwrap();
        self.tables = Some(FjallTables::load(keyspaces, WINDOW).unwrap());
    }
}

#[test]
fn the_order_holds_over_a_deep_queue() {
    let mut deep = Deep::new();
    for job in 0..JOBS {
        deep.put(([205, 155, 205][job as usize % 3], job));
        if job % 500 == 499 {
            if job % 1000 == 499 { deep.write() } else { deep.end_group() }
        }
    }
    let mut taken = Vec::new();
    let mut random = 1u64;
    let mut next = JOBS;
    while let Some(job) = deep.take() {
        taken.push(job);
        random = jobbie_broker::id::mix(random);
        match random % 16 {
            // Back into the queue, far below where its window has come to.
            0 if taken.len() > 40 => {
                let back = taken.swap_remove(random as usize / 16 % taken.len());
                deep.put(back);
            }
            // Another priority: a burst larger than a window before all others, or a single one behind.
            1 if next < JOBS + 2000 => {
                for _ in 0..(random / 16 % 40) {
                    deep.put((100, next));
                    next += 1;
                }
            }
            2 => deep.put((254, next + random % 1000)),
            // From the middle and from the end.
            3 => {
                let middle = deep.model.range((205, random % JOBS)..).next().copied();
                middle.into_iter().for_each(|job| deep.delete(job));
            }
            4 => {
                let last = deep.model.last().copied();
                last.into_iter().for_each(|job| deep.delete(job));
            }
            5 => deep.end_group(),
            6 => deep.write(),
            7 if random % 256 == 7 => deep.reopen(),
            _ => {}
        }
    }
    assert!(deep.model.is_empty());
    deep.reopen();
    assert_eq!(deep.take(), None);
    deep.put((205, 1));
    assert_eq!(deep.take(), Some((205, 1)));
}

#[test]
fn timers_come_in_order_whatever_comes_between() {
    let dir = tempfile::tempdir().unwrap();
    let (_keyspaces, mut tables) = tables(dir.path(), WINDOW);
    let mut model = BTreeSet::new();
    let timer = |at: u64, job: u64| DueKey {
        lane: Lane::Timers,
        at: Timestamp(at),
        timer: Timer::Ready,
        job: JobNo(job),
    };
    let mut random = 3u64;
    for job in 0..4000 {
        random = jobbie_broker::id::mix(random);
        let key = timer(1000 + random % 5000, job);
        tables.put::<Due>(&key, &()).unwrap();
        model.insert(key);
        if random.is_multiple_of(3)
            && let Some(first) = tables.first_due(Lane::Timers, Timestamp(1000 + job)).unwrap()
        {
            assert_eq!(Some(&first), model.first());
            tables.delete::<Due>(&first).unwrap();
            model.remove(&first);
        }
        if job % 100 == 99 {
            tables.end_group(Position { term: 1, index: job }, None, 0);
            if job % 300 == 99 {
                tables.write().unwrap();
            }
        }
    }
    while let Some(first) = tables.first_due(Lane::Timers, Timestamp::MAX).unwrap() {
        assert_eq!(model.pop_first(), Some(first));
        tables.delete::<Due>(&first).unwrap();
    }
    assert!(model.is_empty());
    assert_eq!(tables.first_due(Lane::Leases, Timestamp::MAX).unwrap(), None);
    assert_eq!(timer(1, 2).bytes().len(), 18, "what a window holds per timer is small");
}
