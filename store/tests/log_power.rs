// SPDX-License-Identifier: Apache-2.0
//! Power loss and kills at any operation, on a simulated disk: the log opens again, and what was promised
//! is there.

#![allow(clippy::unwrap_used)] // a test may

mod log_support;

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use jobbie_store::Durability;
use jobbie_store::log::{Callback, Kind, Log, LogOptions, Mark, Record};
use log_support::{Dice, SimDisk, all, entry, wait};

const DIR: &str = "/log";

fn options(durability: Durability) -> LogOptions {
    LogOptions { segment_bytes: 4 << 10, cache_bytes: 4 << 10, durability }
}

/// One state that the log was in: entries, purged, vote.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Stage {
    entries: Vec<Record>,
    purged: Option<Mark>,
    vote: Option<Bytes>,
}

impl Stage {
    fn last(&self) -> Option<Mark> {
        self.entries.last().map(Record::mark).or(self.purged)
    }

    fn of(log: &Log<Record>) -> Self {
        Self { entries: all(log), purged: log.bounds().0, vote: log.vote() }
    }
}

/// A body: sometimes with sectors of zeros, which must not confuse the verdict on a torn write.
fn record(dice: &mut Dice, term: u64, index: u64) -> Record {
    let mut record = entry(term, index, dice.roll(900) as usize);
    if dice.roll(8) == 0 {
        let mut body = record.body.to_vec();
        body.resize(body.len() + 1600, 0);
        record.body = body.into();
    }
    record
}

/// Calls without waiting, so that batches form; answers every state in order, and the last one that was
/// acknowledged (and the last vote that was).
fn work(log: &Log<Record>, dice: &mut Dice, start: Stage) -> (Vec<Stage>, usize) {
    let acknowledged = Arc::new(AtomicU64::new(0));
    let mut stages = vec![start];
    let mut term = stages[0].last().map_or(1, |m| m.term);
    for _ in 0..dice.roll(60) {
        let mut stage = stages.last().unwrap().clone();
        let number = stages.len() as u64;
        let seen = Arc::clone(&acknowledged);
        let done: Callback = Box::new(move |result| {
            if result.is_ok() {
                seen.fetch_max(number, Ordering::SeqCst);
            }
        });
        let called = match dice.roll(12) {
            0 => {
                let vote = Bytes::from(format!("vote {number}"));
                stage.vote = Some(vote.clone());
                log.save_vote(vote, done)
            }
            1 => {
                let left = dice.roll(stage.entries.len() as u64 + 1) as usize;
                stage.entries.truncate(left);
                term += 1;
                log.truncate_after(stage.last(), done)
            }
            2 if stage.entries.len() > 3 => {
                let upto = stage.entries[dice.roll(stage.entries.len() as u64) as usize].mark();
                stage.entries.retain(|e| e.index > upto.index);
                stage.purged = Some(upto);
                log.purge(upto, done)
            }
            3 => {
                // Let the writer catch up now and then, so that batches have all sizes.
                let (sender, receiver) = std::sync::mpsc::channel();
                let synced = log.sync(Box::new(move |_| sender.send(()).unwrap()));
                if synced.is_ok() {
                    receiver.recv().unwrap();
                }
                log.save_committed(stage.last()).ok();
                continue;
            }
            _ => {
                let next = stage.last().map_or(1, |m| m.index + 1);
                let new: Vec<Record> = (next..=next + dice.roll(5)).map(|i| record(dice, term, i)).collect();
                stage.entries.extend(new.clone());
                log.append(new, done)
            }
        };
        if called.is_err() {
            break;
        }
        stages.push(stage);
    }
    log.shutdown();
    (stages, acknowledged.load(Ordering::SeqCst) as usize)
}

/// Several lives of one log, each ended by a crash at some operation.
fn lives(seed: u64, durability: Durability, power: bool) {
    let mut dice = Dice(seed);
    let mut disk = SimDisk::default();
    let mut before: (Vec<Stage>, usize) = (vec![Stage::default()], 0);
    for life in 0..4 {
        let log = Log::<Record>::open_on(Arc::new(disk.clone()), Path::new(DIR), options(durability), None)
            .unwrap_or_else(|e| panic!("seed {seed}, life {life}: {e}"));
        let found = Stage::of(&log);
        // The records of one append are separate, so the last append may be there in part.
        let (stages, acknowledged) = &before;
        let is_between = |a: &Stage, b: &Stage| {
            found == *a
                || (found.purged == b.purged
                    && found.vote == b.vote
                    && a.entries.len() < found.entries.len()
                    && found.entries.len() < b.entries.len()
                    && b.entries.starts_with(&found.entries))
        };
        let from = if durability == Durability::Fsync || !power { *acknowledged } else { 0 };
        let fits =
            (from..stages.len()).any(|at| is_between(&stages[at], stages.get(at + 1).unwrap_or(&stages[at])));
        assert!(
            fits,
            "seed {seed}, life {life}: found {} entries, vote {:?}",
            found.entries.len(),
            found.vote
        );
        disk.set_fuel(dice.roll(300), dice.roll(257));
        before = work(&log, &mut dice, found);
        drop(log);
        disk = if power { disk.after_power_loss(&mut dice) } else { disk.after_kill() };
    }
}

/// Fewer lives in an unoptimised build would be found slow; these take some seconds.
const SEEDS: u64 = 400;

#[test]
fn power_loss_costs_nothing_that_was_acknowledged() {
    (0..SEEDS).for_each(|seed| lives(seed, Durability::Fsync, true));
}

#[test]
fn power_loss_in_relaxed_mode_leaves_an_earlier_state() {
    (0..SEEDS).for_each(|seed| lives(seed, Durability::Relaxed, true));
}

#[test]
fn a_kill_costs_nothing_that_was_acknowledged_in_either_mode() {
    (0..SEEDS / 2).for_each(|seed| lives(seed, Durability::Fsync, false));
    (0..SEEDS / 2).for_each(|seed| lives(seed, Durability::Relaxed, false));
}

#[test]
fn opening_may_be_cut_short_as_well() {
    for seed in 0..SEEDS {
        let mut dice = Dice(seed);
        let disk = SimDisk::default();
        let open = |disk: &SimDisk| {
            Log::<Record>::open_on(Arc::new(disk.clone()), Path::new(DIR), options(Durability::Fsync), None)
        };
        let log = open(&disk).unwrap();
        disk.set_fuel(40 + dice.roll(100), dice.roll(257));
        let (stages, acknowledged) = work(&log, &mut dice, Stage::default());
        let mut disk = disk.after_power_loss(&mut dice);
        for fuel in 0..12 {
            disk.set_fuel(fuel, dice.roll(257));
            drop(open(&disk));
            disk = disk.after_power_loss(&mut dice);
        }
        let found = Stage::of(&open(&disk).unwrap_or_else(|e| panic!("seed {seed}: {e}")));
        let enough =
            |stage: &Stage| found.entries.len() >= stage.entries.len() || found.purged > stage.purged;
        assert!(stages[acknowledged..].iter().any(enough), "seed {seed}");
    }
}

#[test]
fn a_second_crash_while_a_torn_end_is_zeroed_is_no_corruption() {
    let disk = SimDisk::default();
    let open = |disk: &SimDisk| {
        Log::<Record>::open_on(Arc::new(disk.clone()), Path::new(DIR), options(Durability::Fsync), None)
    };
    let log = open(&disk).unwrap();
    wait(|done| log.append(vec![entry(1, 1, 10)], done)).unwrap();
    disk.set_fuel(0, 200);
    wait(|done| log.append(vec![entry(1, 2, 10), entry(1, 3, 200)], done)).unwrap_err();
    for fuel in 0..12 {
        for cut in 0..=256 {
            let second = disk.after_kill();
            second.set_fuel(fuel, cut);
            drop(open(&second));
            let log = open(&second.after_kill()).unwrap_or_else(|e| panic!("fuel {fuel}, cut {cut}: {e}"));
            assert!(all(&log).starts_with(&[entry(1, 1, 10)]), "fuel {fuel}, cut {cut}");
        }
    }
}

#[test]
fn relaxed_mode_syncs_votes_before_it_calls_back() {
    let disk = SimDisk::default();
    let log =
        Log::<Record>::open_on(Arc::new(disk.clone()), Path::new(DIR), options(Durability::Relaxed), None)
            .unwrap();
    wait(|done| log.append(vec![entry(1, 1, 10)], done)).unwrap();
    wait(|done| log.save_vote(Bytes::from_static(b"vote"), done)).unwrap();
    // Everything that is not synced is lost, and the vote is there, with all that was before it.
    let mut dice = Dice(0);
    let after = disk.after_power_loss(&mut dice);
    let log =
        Log::<Record>::open_on(Arc::new(after), Path::new(DIR), options(Durability::Relaxed), None).unwrap();
    assert_eq!(log.vote(), Some(Bytes::from_static(b"vote")));
    assert_eq!(all(&log), [entry(1, 1, 10)]);
}

struct Announcer(Mutex<std::sync::mpsc::Sender<()>>);

impl jobbie_store::log::LogObserver for Announcer {
    fn synced(&self, _: std::time::Duration, _: usize, _: usize) {
        self.0.lock().unwrap().send(()).ok();
    }
}

#[test]
fn relaxed_mode_syncs_appends_by_itself() {
    let disk = SimDisk::default();
    let (sender, synced) = std::sync::mpsc::channel();
    let observer = Arc::new(Announcer(Mutex::new(sender)));
    let options = options(Durability::Relaxed);
    let log =
        Log::<Record>::open_on(Arc::new(disk.clone()), Path::new(DIR), options, Some(observer)).unwrap();
    wait(|done| log.append(vec![entry(1, 1, 10)], done)).unwrap();
    synced.recv_timeout(std::time::Duration::from_secs(10)).expect("nobody asked for a sync, and it came");
    assert_eq!(disk.unsynced(), 0);
    assert_eq!(log.stats().syncs, 1);
}

/// A failed write or sync: that call fails, so does every later one, and nothing is tried again.
fn fails_for_good(durability: Durability, break_it: impl Fn(&SimDisk)) {
    let disk = SimDisk::default();
    let log =
        Log::<Record>::open_on(Arc::new(disk.clone()), Path::new(DIR), options(durability), None).unwrap();
    wait(|done| log.append(vec![entry(1, 1, 10)], done)).unwrap();
    assert_eq!(log.failed(), None);
    let failure = log.failure();
    break_it(&disk);
    let first = wait(|done| log.save_vote(Bytes::from_static(b"vote"), done)).unwrap_err();
    assert!(log.failed().is_some_and(|reason| first.to_string().contains(&reason)), "{first}");
    assert!(failure.has_changed().unwrap());
    let fresh = entry(1, 2, 10);
    assert!(wait(|done| log.append(vec![fresh], done)).is_err());
    assert!(wait(|done| log.save_vote(Bytes::new(), done)).is_err());
    assert!(wait(|done| log.truncate_after(None, done)).is_err());
    assert!(wait(|done| log.purge(Mark { term: 1, index: 1 }, done)).is_err());
    assert!(log.save_committed(None).is_err());
    let result: io::Result<()> = wait(|done| log.sync(done));
    assert!(result.is_err());
    log.shutdown();
    assert!(log.failed().is_some());
}

#[test]
fn a_failed_sync_is_final() {
    fails_for_good(Durability::Fsync, SimDisk::fail_syncs);
    fails_for_good(Durability::Relaxed, SimDisk::fail_syncs);
}

#[test]
fn a_failed_write_is_final() {
    fails_for_good(Durability::Fsync, SimDisk::fail_writes);
    fails_for_good(Durability::Relaxed, SimDisk::fail_writes);
}

#[test]
fn a_failed_sync_in_the_background_is_final() {
    let disk = SimDisk::default();
    let options = options(Durability::Relaxed);
    let log = Log::<Record>::open_on(Arc::new(disk.clone()), Path::new(DIR), options, None).unwrap();
    let mut failure = log.failure();
    disk.fail_syncs();
    wait(|done| log.append(vec![entry(1, 1, 10)], done)).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(failure.wait_for(Option::is_some)).unwrap();
    let later = vec![Record { kind: Kind::Blank, term: 1, index: 2, body: Bytes::new() }];
    assert!(wait(|done| log.append(later, done)).is_err());
}

#[test]
fn a_callback_that_panics_fails_the_log_and_strands_nobody() {
    let disk = SimDisk::default();
    let options = options(Durability::Fsync);
    let log = Log::<Record>::open_on(Arc::new(disk), Path::new(DIR), options, None).unwrap();
    let mut failure = log.failure();
    log.append(vec![entry(1, 1, 10)], Box::new(|_| panic!("on purpose"))).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(failure.wait_for(Option::is_some)).unwrap();
    assert!(wait(|done| log.append(vec![entry(1, 2, 10)], done)).is_err());
}
