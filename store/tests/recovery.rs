// SPDX-License-Identifier: Apache-2.0
//! Opening again: whatever happened to the state, snapshot and log lead to the same rows, or it is refused.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use common::{SMALL, apply, files, life, log_id, memory_rows, open, rows, voted};
use jobbie_broker::codec;
use jobbie_broker::tables::Space;
use jobbie_broker::tables::mem::MemTables;
use jobbie_store::keyspaces::{Keyspaces, Position};
use jobbie_store::raft::Entry;
use jobbie_store::{Fault, OpenError, Opened, StateFound};
use openraft::entry::RaftEntry;
use openraft::storage::{RaftLogStorage, RaftLogStorageExt, RaftSnapshotBuilder, RaftStateMachine};
use openraft::{RaftLogReader, StorageHelper};

/// Puts entries into the log.
async fn logged(opened: &mut Opened, entries: &[Entry]) {
    // A log begins with the entry that makes the first members; what it says does not matter here.
    let first = std::iter::once(Entry::new_blank(log_id(1, 0)));
    opened.log.blocking_append(first.chain(entries.iter().cloned())).await.unwrap();
}

/// A directory with a life in it: 300 entries in the log, the first 150 purged, a snapshot at 200, the
/// state at 250. Gives the tables of the whole life.
async fn lived(dir: &Path, purge: bool) -> MemTables {
    let (entries, memory) = life(300, 7);
    let (mut opened, _) = open(dir).unwrap();
    logged(&mut opened, &entries).await;
    opened.log.save_committed(Some(log_id(1, 300))).await.unwrap();
    let mut entries = entries.into_iter();
    apply(&mut opened.machine, entries.by_ref().take(200).collect()).await.unwrap();
    opened.machine.get_snapshot_builder().await.build_snapshot().await.unwrap();
    apply(&mut opened.machine, entries.take(50).collect()).await.unwrap();
    if purge {
        opened.log.purge(log_id(1, 150)).await.unwrap();
    }
    opened.log.shutdown();
    memory
}

/// Opens and lets openraft bring the state up to what was committed.
async fn start(dir: &Path) -> Opened {
    let (mut opened, _) = open(dir).unwrap();
    StorageHelper::new(&mut opened.log, &mut opened.machine)
        .with_id(opened.node_id)
        .get_initial_state()
        .await
        .unwrap();
    opened
}

fn state(dir: &Path) -> PathBuf {
    let current = fs::read_to_string(dir.join("state/CURRENT")).unwrap();
    dir.join("state").join(current.trim())
}

async fn rebuilds(harm: impl FnOnce(&Path), expected: &str) {
    let dir = tempfile::tempdir().unwrap();
    let memory = lived(dir.path(), true).await;
    harm(dir.path());
    let opened = start(dir.path()).await;
    let StateFound::Rebuilt { reason, aside } = &opened.report.state else { panic!("{:?}", opened.report) };
    assert!(reason.contains(expected), "{reason}");
    assert!(aside.as_ref().is_none_or(|aside| aside.is_dir()));
    assert_eq!(opened.report.applied, Some(200));
    assert_eq!(rows(&opened.reader), memory_rows(&memory));
    assert_eq!(opened.reader.applied_index(), 300);
    drop(opened);
    let again = start(dir.path()).await;
    assert_eq!(again.report.state, StateFound::Intact);
    assert_eq!(rows(&again.reader), memory_rows(&memory));
}

#[tokio::test]
async fn a_state_that_is_as_it_was_left_is_used() {
    let dir = tempfile::tempdir().unwrap();
    let memory = lived(dir.path(), true).await;
    let opened = start(dir.path()).await;
    assert_eq!((opened.report.state.clone(), opened.report.applied), (StateFound::Intact, Some(250)));
    assert_eq!(rows(&opened.reader), memory_rows(&memory));
    assert_eq!(opened.reader.check().unwrap(), Vec::new());
}

#[tokio::test]
async fn a_state_that_is_gone_is_rebuilt() {
    rebuilds(|dir| fs::remove_dir_all(dir.join("state")).unwrap(), "there is no state").await;
}

#[tokio::test]
async fn a_pointer_that_is_gone_is_rebuilt() {
    rebuilds(|dir| fs::remove_file(dir.join("state/CURRENT")).unwrap(), "there is no state").await;
}

#[tokio::test]
async fn a_state_that_does_not_open_is_rebuilt() {
    let harm = |dir: &Path| {
        for file in files(&state(dir)) {
            fs::write(file, "not a database").unwrap();
        }
    };
    rebuilds(harm, "").await;
}

#[tokio::test]
async fn keyspaces_of_different_age_are_rebuilt() {
    let harm = |dir: &Path| {
        let keyspaces = Keyspaces::open(&state(dir), SMALL).unwrap();
        keyspaces.of(Space::Due).insert([0, 0], codec::encode(&Position { term: 1, index: 249 })).unwrap();
    };
    rebuilds(harm, "order at 1-249").await;
}

#[tokio::test]
async fn a_state_from_before_the_log_begins_is_rebuilt() {
    let harm = |dir: &Path| {
        let keyspaces = Keyspaces::open(&state(dir), SMALL).unwrap();
        for space in [Space::Jobs, Space::Bodies, Space::Due, Space::Meta] {
            keyspaces.of(space).insert([0, 0], codec::encode(&Position { term: 1, index: 100 })).unwrap();
        }
    };
    rebuilds(harm, "the log begins after 150").await;
}

#[tokio::test]
async fn without_snapshot_the_whole_log_is_enough_and_half_a_log_is_not() {
    for purge in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let memory = lived(dir.path(), purge).await;
        fs::remove_dir_all(dir.path().join("state")).unwrap();
        fs::remove_dir_all(dir.path().join("snapshot")).unwrap();
        if purge {
            let Err(error) = open(dir.path()) else { panic!("opened") };
            assert!(matches!(error, OpenError::Gap { applied: None, purged: 150, .. }), "{error}");
            assert!(error.to_string().contains("restore a backup"), "{error}");
        } else {
            let opened = start(dir.path()).await;
            assert!(matches!(opened.report.state, StateFound::Rebuilt { .. }));
            assert_eq!(rows(&opened.reader), memory_rows(&memory));
        }
    }
}

#[tokio::test]
async fn a_damaged_snapshot_matters_only_when_it_is_needed() {
    for purge in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let memory = lived(dir.path(), purge).await;
        fs::remove_dir_all(dir.path().join("state")).unwrap();
        let snapshot = files(&dir.path().join("snapshot")).remove(0);
        let mut bytes = fs::read(&snapshot).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&snapshot, bytes).unwrap();
        if purge {
            let Err(error) = open(dir.path()) else { panic!("opened") };
            assert!(matches!(error, OpenError::State(Fault::Snapshot { .. })), "{error}");
            assert!(snapshot.exists(), "it is left for whoever repairs this");
        } else {
            let opened = start(dir.path()).await;
            assert!(opened.report.damaged_snapshot.is_some());
            assert_eq!(rows(&opened.reader), memory_rows(&memory));
        }
    }
}

#[tokio::test]
async fn what_was_applied_is_not_applied_again_nor_told_again() {
    let dir = tempfile::tempdir().unwrap();
    let (entries, _) = life(30, 9);
    let (mut opened, told) = open(dir.path()).unwrap();
    logged(&mut opened, &entries).await;
    apply(&mut opened.machine, entries.clone()).await.unwrap();
    assert_eq!(told.0.lock().unwrap().len(), 30);
    drop(opened);
    let (mut opened, told) = open(dir.path()).unwrap();
    let error = apply(&mut opened.machine, entries).await.unwrap_err();
    assert!(error.to_string().contains("has come to 30"), "{error}");
    assert!(told.0.lock().unwrap().is_empty());
    let error = apply(&mut opened.machine, life(31, 9).0.split_off(30)).await.unwrap_err();
    assert!(error.to_string().contains("failed before"), "a fault is for good: {error}");
}

/// Copies a directory as a crash of the process leaves it: whatever was written, and nothing else. The log must
/// be shut down, or its files come and go meanwhile.
fn crashed(dir: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for from in files(dir) {
        let to = copy.path().join(from.strip_prefix(dir).unwrap());
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(from, to).unwrap();
    }
    copy
}

#[tokio::test]
async fn what_a_crash_has_cost_the_state_is_applied_again_and_told_under_the_same_numbers() {
    let dir = tempfile::tempdir().unwrap();
    let (entries, memory) = life(90, 9);
    let (mut opened, told) = open(dir.path()).unwrap();
    logged(&mut opened, &entries).await;
    opened.log.save_committed(Some(log_id(1, 90))).await.unwrap();
    // What is committed goes to disk with the next write; then the files of the log stand still.
    voted(&mut opened).await;
    opened.log.shutdown();
    let mut entries = entries.into_iter();
    // The first group of a directory is written at once.
    for (written, upto) in [(Some(30), 30), (Some(30), 60), (Some(60), 90)] {
        // A reader that needs the database has it written; what comes after is only in memory.
        if upto == 90 {
            rows(&opened.reader);
        }
        apply(&mut opened.machine, entries.by_ref().take(30).collect()).await.unwrap();
        assert_eq!(opened.reader.applied_index(), upto);
        let copy = crashed(dir.path());
        let (mut again, told_again) = open(copy.path()).unwrap();
        assert_eq!(again.report.applied, written);
        StorageHelper::new(&mut again.log, &mut again.machine)
            .with_id(again.node_id)
            .get_initial_state()
            .await
            .unwrap();
        let told_again = told_again.0.lock().unwrap();
        let told = told.0.lock().unwrap();
        let first = told_again.first().map_or(0, |entry| entry.index);
        assert_eq!(first, written.map_or(1, |index| index + 1));
        let of_both = told.iter().filter(|entry| entry.index >= first).collect::<Vec<_>>();
        assert_eq!(told_again.iter().take(of_both.len()).collect::<Vec<_>>(), of_both);
        assert_eq!(rows(&again.reader), memory_rows(&memory));
    }
}

#[tokio::test]
async fn a_snapshot_of_a_state_in_memory_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let (entries, memory) = life(100, 5);
    let (mut opened, _) = open(dir.path()).unwrap();
    logged(&mut opened, &entries).await;
    let (first, rest) = entries.split_at(1);
    apply(&mut opened.machine, first.to_vec()).await.unwrap();
    apply(&mut opened.machine, rest.to_vec()).await.unwrap();
    assert!(opened.reader.unwritten() > 0);
    opened.machine.get_snapshot_builder().await.build_snapshot().await.unwrap();
    // The log may go now: the state on disk is not behind the snapshot.
    opened.log.purge(log_id(1, 100)).await.unwrap();
    opened.log.shutdown();
    let copy = crashed(dir.path());
    let (again, _) = open(copy.path()).unwrap();
    assert_eq!((again.report.state.clone(), again.report.applied), (StateFound::Intact, Some(100)));
    assert_eq!(rows(&again.reader), memory_rows(&memory));
}

/// Else what half a group left behind would be written, or shown to somebody.
#[tokio::test]
async fn after_a_fault_nothing_is_written_and_nothing_is_answered() {
    let dir = tempfile::tempdir().unwrap();
    let (entries, _) = life(60, 9);
    let (mut opened, _) = open(dir.path()).unwrap();
    logged(&mut opened, &entries).await;
    apply(&mut opened.machine, entries[..30].to_vec()).await.unwrap();
    opened.reader.write().unwrap();
    let mut bad = entries[30..40].to_vec();
    bad.push(entries[3].clone());
    assert!(apply(&mut opened.machine, bad).await.is_err());
    assert!(matches!(opened.reader.rows(), Err(Fault::Stopped)));
    assert!(matches!(opened.reader.first_due(), Err(Fault::Stopped)));
    drop(opened);
    let (again, _) = open(dir.path()).unwrap();
    assert_eq!(again.report.applied, Some(30));
}

/// Else a node whose log is gone would begin anew, if it crashed before its state was written.
#[tokio::test]
async fn the_first_entry_is_in_the_state_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let (entries, _) = life(3, 9);
    let (mut opened, _) = open(dir.path()).unwrap();
    for entry in entries {
        apply(&mut opened.machine, vec![entry]).await.unwrap();
    }
    opened.log.shutdown();
    let copy = crashed(dir.path());
    fs::remove_dir_all(copy.path().join("log")).unwrap();
    let Err(error) = open(copy.path()) else { panic!("opened") };
    assert!(matches!(error, OpenError::LogMissing { applied: 1 }), "{error}");
}

/// Else a node would go on without its vote, and without what its state has not kept.
#[tokio::test]
async fn a_state_whose_log_is_gone_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (entries, _) = life(30, 9);
    let (mut opened, _) = open(dir.path()).unwrap();
    logged(&mut opened, &entries).await;
    apply(&mut opened.machine, entries).await.unwrap();
    drop(opened);
    fs::remove_dir_all(dir.path().join("log")).unwrap();
    let Err(error) = open(dir.path()) else { panic!("opened") };
    assert!(matches!(error, OpenError::LogMissing { applied: 30 }), "{error}");
}

#[test]
fn a_second_user_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let (first, _) = open(dir.path()).unwrap();
    let Err(error) = open(dir.path()) else { panic!("opened twice") };
    let text = error.to_string();
    assert!(
        text.contains(dir.path().to_str().unwrap()) && text.contains(&std::process::id().to_string()),
        "{text}"
    );
    let reader = first.reader.clone();
    drop(first);
    assert!(matches!(open(dir.path()), Err(OpenError::Locked { .. })), "a reader still uses it");
    drop(reader);
    open(dir.path()).unwrap();
}

#[tokio::test]
async fn a_directory_has_one_identity_and_keeps_it() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let id = open(one.path()).unwrap().0.node_id;
    assert_eq!(open(one.path()).unwrap().0.node_id, id);
    assert_ne!(open(two.path()).unwrap().0.node_id, id);
    assert_eq!(fs::metadata(one.path()).unwrap().permissions().mode() & 0o777, 0o700);

    fs::write(one.path().join("node"), "jobbie data directory\nformat 9\nwhatever\n").unwrap();
    let Err(error) = open(one.path()) else { panic!("opened") };
    assert!(error.to_string().contains("format 9, this build reads format 1"), "{error}");

    let mut log = open(two.path()).unwrap().0.log;
    assert!(log.try_get_log_entries(0..1).await.unwrap().is_empty());
    drop(log);
    fs::remove_file(two.path().join("node")).unwrap();
    assert!(matches!(open(two.path()), Err(OpenError::NoIdentity { .. })));
}
