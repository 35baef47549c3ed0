// SPDX-License-Identifier: Apache-2.0
//! Every fault point at every passing: the process dies there, or the call fails from there on. Opened again,
//! the directory has at least what was acknowledged, at most what was asked for, and can go on to the end.
//!
//! The process that dies is this test binary, started again for one scenario. It writes down what it was
//! promised, line by line, in a file beside the directory: what a killed process has written is there.

#![allow(clippy::unwrap_used)] // a test may

mod common;

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::{Rows, Told, apply, life, log_id, memory_rows, rows};
use jobbie_broker::apply::apply_proposal;
use jobbie_broker::tables::mem::MemTables;
use jobbie_store::fault_point::{self, Act, FaultPoint, Plan};
use jobbie_store::raft::{Entry, SnapshotMeta};
use jobbie_store::{Durability, OpenError, Opened, Options, SnapshotFile};
use openraft::entry::{EntryPayload, RaftEntry};
use openraft::storage::{RaftLogStorage, RaftLogStorageExt, RaftSnapshotBuilder, RaftStateMachine};
use openraft::{RaftLogReader, Vote};

/// Entries in a life: few, because each passing of each point is a process.
const ENTRIES: u64 = 12;
/// Processes at a time.
const WORKERS: usize = 4;
/// What tells this binary that it is the process that dies: scenario, directory, plan.
const CHILD: &str = "FAULT_POINTS_CHILD";

fn options(dir: &Path) -> Options {
    Options {
        segment_bytes: 8 << 10,
        log_cache_bytes: 1 << 20,
        write_buffer_bytes: 8 << 20,
        block_cache_bytes: 1 << 20,
        durability: Durability::Fsync,
        ..Options::new(dir.join("data"))
    }
}

fn open(dir: &Path) -> Result<Opened, OpenError> {
    jobbie_store::open(&options(dir), Arc::new(Told::default()), None)
}

/// What was promised, as it is promised.
struct Book(File);

impl Book {
    fn open(dir: &Path) -> Self {
        Self(OpenOptions::new().create(true).append(true).open(dir.join("promised")).unwrap())
    }

    fn note(&mut self, what: &str, number: u64) {
        writeln!(self.0, "{what} {number}").unwrap();
    }

    /// The largest number that was noted.
    fn last(dir: &Path, what: &str) -> u64 {
        let text = fs::read_to_string(dir.join("promised")).unwrap_or_default();
        let numbers = text.lines().filter_map(|line| line.strip_prefix(what)?.trim().parse().ok());
        numbers.max().unwrap_or(0)
    }
}

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// A node that leads: entries, votes, an entry that is taken back, snapshots, purges.
async fn leads(dir: &Path) -> Outcome {
    let (entries, _) = life(ENTRIES, 3);
    let mut book = Book::open(dir);
    let mut opened = open(dir)?;
    opened.log.save_vote(&Vote::new(1, opened.node_id)).await?;
    book.note("vote", 1);
    opened.log.blocking_append([Entry::new_blank(log_id(1, 0))]).await?;
    for (index, entry) in (1..).zip(entries) {
        opened.log.blocking_append([entry.clone()]).await?;
        opened.log.save_committed(Some(log_id(1, index))).await?;
        apply(&mut opened.machine, vec![entry]).await?;
        book.note("entry", index);
        if index % 5 == 2 {
            opened.log.save_vote(&Vote::new(index, opened.node_id)).await?;
            book.note("vote", index);
        }
        if index % 5 == 3 {
            // An entry that another leader overwrites: it was never committed.
            opened.log.blocking_append([Entry::new_blank(log_id(1, index + 1))]).await?;
            opened.log.truncate_after(Some(log_id(1, index))).await?;
        }
        if index % 5 == 4 {
            opened.machine.get_snapshot_builder().await.build_snapshot().await?;
            opened.log.purge(log_id(1, index - 1)).await?;
        }
    }
    opened.log.shutdown();
    Ok(())
}

/// A node that is sent a snapshot and the entries behind it.
async fn follows(dir: &Path) -> Outcome {
    let (entries, _) = life(ENTRIES, 3);
    let mut book = Book::open(dir);
    let mut opened = open(dir)?;
    opened.log.save_vote(&Vote::new(1, 7)).await?;
    book.note("vote", 1);
    let upto = install(&mut opened, &dir.join("sent")).await?;
    book.note("entry", upto);
    for entry in entries.into_iter().skip(usize::try_from(upto)?) {
        let index = entry.log_id.index;
        opened.log.blocking_append([entry.clone()]).await?;
        apply(&mut opened.machine, vec![entry]).await?;
        book.note("entry", index);
    }
    opened.log.shutdown();
    Ok(())
}

/// A restore from an archive.
fn restores(dir: &Path) -> Outcome {
    let archive = dir.join("sent");
    jobbie_store::restore::restore(File::open(&archive)?, &archive, &options(dir))?;
    Ok(())
}

/// Receives and installs a snapshot, as openraft has it done; gives the index that it has come to.
async fn install(opened: &mut Opened, file: &Path) -> Result<u64, Box<dyn std::error::Error>> {
    let mut incoming = opened.reader.snapshots().receive()?;
    incoming.write(&fs::read(file)?)?;
    let received = incoming.finish()?;
    let mark = received.mark().clone();
    let last = mark.applied.unwrap();
    let meta =
        SnapshotMeta { last_log_id: Some(log_id(1, last.index)), last_membership: mark.membership.stored() };
    opened.machine.install_snapshot(&meta, received).await?;
    opened.log.purge(log_id(1, last.index)).await?;
    Ok(last.index)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// Not a test of its own: what the other tests start as a process.
#[test]
fn the_process_that_dies() {
    let Ok(what) = std::env::var(CHILD) else { return };
    let parts: Vec<&str> = what.splitn(3, '|').collect();
    let dir = Path::new(parts[1]);
    fault_point::arm((parts[2] != "none").then(|| parts[2].parse().unwrap()));
    let outcome = match parts[0] {
        "leads" => runtime().block_on(leads(dir)),
        "restores" => restores(dir),
        _ => runtime().block_on(follows(dir)),
    };
    let counts: Vec<String> = fault_point::passed().iter().map(u64::to_string).collect();
    fs::write(dir.join("passed"), counts.join(" ")).unwrap();
    if let Err(error) = outcome {
        fs::write(dir.join("error"), error.to_string()).unwrap();
    }
}

/// The tables after each number of entries.
fn stages(entries: &[Entry]) -> Vec<Rows> {
    let mut memory = MemTables::new();
    let mut stages = vec![memory_rows(&memory)];
    for entry in entries {
        let EntryPayload::Normal(request) = &entry.payload else { panic!("a life has only proposals") };
        for outcome in apply_proposal(&mut memory, entry.log_id.index, request.proposal()).unwrap() {
            drop(outcome);
        }
        stages.push(memory_rows(&memory));
    }
    stages
}

struct Walk {
    scenario: &'static str,
    entries: Vec<Entry>,
    stages: Vec<Rows>,
    /// The snapshot that a follower is sent.
    sent: Option<(tempfile::TempDir, PathBuf)>,
}

impl Walk {
    fn new(scenario: &'static str) -> Self {
        let (entries, _) = life(ENTRIES, 3);
        let stages = stages(&entries);
        let sent = (scenario != "leads").then(|| {
            let dir = tempfile::tempdir().unwrap();
            let path = runtime().block_on(async {
                let mut opened = open(dir.path()).unwrap();
                apply(&mut opened.machine, entries[..6].to_vec()).await.unwrap();
                let built = opened.machine.get_snapshot_builder().await.build_snapshot().await.unwrap();
                SnapshotFile::path(&built.snapshot).to_owned()
            });
            (dir, path)
        });
        Self { scenario, entries, stages, sent }
    }

    /// Runs the scenario in a process of its own; gives its directory and whether it ended by itself.
    fn run(&self, plan: Option<Plan>) -> (tempfile::TempDir, bool) {
        let dir = tempfile::tempdir().unwrap();
        if let Some((_, path)) = &self.sent {
            fs::copy(path, dir.path().join("sent")).unwrap();
        }
        let plan = plan.map_or("none".to_owned(), |plan| plan.to_string());
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["the_process_that_dies", "--exact"])
            .env(CHILD, format!("{}|{}|{plan}", self.scenario, dir.path().display()))
            .env("RUST_BACKTRACE", "0")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(!text.contains("panicked"), "{plan}: {text}{}", String::from_utf8_lossy(&output.stderr));
        (dir, output.status.success())
    }

    /// How often each point is passed when nothing happens.
    fn passings(&self) -> Vec<(FaultPoint, u64)> {
        let (dir, ended) = self.run(None);
        assert!(ended && !dir.path().join("error").exists(), "{:?}", fs::read(dir.path().join("error")));
        let counts = fs::read_to_string(dir.path().join("passed")).unwrap();
        FaultPoint::ALL.iter().copied().zip(counts.split(' ').map(|count| count.parse().unwrap())).collect()
    }

    /// Opens what is left, checks it, and goes on to the end.
    async fn check(&self, dir: &Path, plan: Plan) {
        let mut opened = open(dir).unwrap_or_else(|error| panic!("{plan}: {error}"));
        let applied = opened.report.applied;
        let known = applied.unwrap_or(0);
        let logged = opened.log.try_get_log_entries(0..u64::MAX).await.unwrap();
        let mut came_to = known;
        for entry in
            logged.into_iter().filter(|entry| Some(entry.log_id.index) > applied && entry.log_id.index > 0)
        {
            match &entry.payload {
                EntryPayload::Normal(_) => {
                    assert_eq!(entry.log_id.index, came_to + 1, "{plan}: a hole in the log");
                    came_to = entry.log_id.index;
                    apply(&mut opened.machine, vec![entry]).await.unwrap();
                }
                // The one that was to be taken back; it is the last.
                _ => opened.log.truncate_after(Some(log_id(1, came_to))).await.unwrap(),
            }
        }
        let promised = Book::last(dir, "entry");
        assert!(came_to >= promised, "{plan}: came to {came_to}, {promised} were promised");
        let vote = opened.log.read_vote().await.unwrap().map_or(0, |vote| vote.leader_id.term);
        assert!(vote >= Book::last(dir, "vote"), "{plan}: the vote of term {vote} is not the last one");
        assert_eq!(
            rows(&opened.reader),
            self.stages[usize::try_from(came_to).unwrap()],
            "{plan}: at {came_to}"
        );
        assert_eq!(opened.reader.check().unwrap(), Vec::new(), "{plan}");
        if self.sent.is_some() && came_to == 0 {
            opened.log.save_vote(&Vote::new(1, 7)).await.unwrap();
            came_to = install(&mut opened, &dir.join("sent")).await.unwrap();
        } else if opened.log.get_log_state().await.unwrap().last_log_id.is_none() {
            opened.log.save_vote(&Vote::new(1, 7)).await.unwrap();
            match came_to {
                0 => opened.log.blocking_append([Entry::new_blank(log_id(1, 0))]).await.unwrap(),
                // The state was taken over, the log not yet cut to it.
                _ => opened.log.purge(log_id(1, came_to)).await.unwrap(),
            }
        }
        for index in came_to + 1..=ENTRIES {
            let next = self.entries[usize::try_from(index).unwrap() - 1].clone();
            opened.log.blocking_append([next.clone()]).await.unwrap();
            apply(&mut opened.machine, vec![next]).await.unwrap();
        }
        assert_eq!(rows(&opened.reader), *self.stages.last().unwrap(), "{plan}: at the end");
        assert_eq!(opened.reader.check().unwrap(), Vec::new(), "{plan}");
    }

    /// What a killed restore leaves is no data directory; once it is emptied it can be restored again.
    fn check_restore(&self, dir: &Path, plan: Plan) {
        match open(dir) {
            Err(OpenError::Unfinished { .. }) => {}
            Err(error) => panic!("{plan}: {error}"),
            Ok(_) => panic!("{plan}: half a restore opens"),
        }
        fs::remove_dir_all(dir.join("data")).unwrap();
        restores(dir).unwrap();
        let opened = open(dir).unwrap();
        assert_eq!(rows(&opened.reader), self.stages[6], "{plan}");
    }

    /// Every passing of the points for which `wanted` holds; answers which points were never passed.
    fn all(&self, act: Act, wanted: impl Fn(FaultPoint) -> bool) -> Vec<FaultPoint> {
        let passings = self.passings();
        let of = |(point, count): &(FaultPoint, u64)| {
            let (point, last) = (*point, *count);
            (1..=last).map(move |nth| (Plan { point, nth, act }, last))
        };
        let plans: Vec<(Plan, u64)> =
            passings.iter().filter(|(point, _)| wanted(*point)).flat_map(of).collect();
        let next = AtomicUsize::new(0);
        // A process that dies mostly waits for its disk.
        std::thread::scope(|scope| {
            for _ in 0..WORKERS {
                scope.spawn(|| {
                    while let Some((plan, last)) = plans.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let (dir, ended) = self.run(Some(*plan));
                        // What the helper thread does may come too late to be passed again.
                        let may_end = act != Act::Crash || plan.nth + 2 > *last;
                        assert!(!ended || may_end, "{plan}: nobody died");
                        match self.scenario {
                            "restores" if ended => {}
                            "restores" => self.check_restore(dir.path(), *plan),
                            _ => runtime().block_on(self.check(dir.path(), *plan)),
                        }
                    }
                });
            }
        });
        passings.into_iter().filter(|(_, count)| *count == 0).map(|(point, _)| point).collect()
    }
}

#[test]
fn a_leader_dies_at_every_point_and_loses_nothing_that_it_promised() {
    let never = Walk::new("leads").all(Act::Crash, |_| true);
    let installs = [FaultPoint::InstallBuilt, FaultPoint::InstallAdopted];
    assert_eq!(never, installs, "points that no test passes are not tested");
}

#[test]
fn a_follower_dies_at_every_point_of_an_installation_and_can_be_sent_it_again() {
    let walk = Walk::new("follows");
    let parts = ["install", "current", "snapshot", "log-purge", "identity"];
    let never = walk.all(Act::Crash, |point| parts.iter().any(|part| point.name().starts_with(part)));
    assert!(
        !never.contains(&FaultPoint::InstallBuilt) && !never.contains(&FaultPoint::InstallAdopted),
        "{never:?}"
    );
}

#[test]
fn a_restore_dies_at_every_point_and_no_server_starts_on_what_it_leaves() {
    let never = Walk::new("restores").all(Act::Crash, |_| true);
    for point in [FaultPoint::SnapshotRename, FaultPoint::LogPurge, FaultPoint::CurrentRename] {
        assert!(!never.contains(&point), "{never:?}");
    }
}

/// P20 in the store: a call that fails is the end of all calls, and nothing that was promised is lost by it.
#[test]
fn a_call_fails_at_every_point_and_nothing_that_was_promised_is_lost() {
    Walk::new("leads")
        .all(Act::Fail, |point| !matches!(point, FaultPoint::LogSynced | FaultPoint::StateFlushed));
}

/// After a failed sync nobody is told that anything is durable, however often the next sync would succeed.
#[test]
fn a_failed_sync_is_the_last_one() {
    let dir = tempfile::tempdir().unwrap();
    let what = format!("leads|{}|log-sync:6:fail", dir.path().display());
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["the_process_that_dies", "--exact"])
        .env(CHILD, what)
        .stdout(std::process::Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    let error = fs::read_to_string(dir.path().join("error")).unwrap();
    assert!(error.contains("Input/output error") || error.contains("os error 5"), "{error}");
    assert!(Book::last(dir.path(), "entry") < ENTRIES);
}
