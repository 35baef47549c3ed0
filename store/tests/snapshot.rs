// SPDX-License-Identifier: Apache-2.0
//! Snapshots: one and the tail of the log are the whole log, and a damaged file is refused.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;

use common::{apply, life, log_id, memory_rows, open, rows, voted};
use jobbie_store::{Fault, SnapshotFile};
use openraft::Membership;
use openraft::RaftSnapshotBuilder;
use openraft::entry::RaftEntry;
use openraft::storage::RaftStateMachine;

#[tokio::test]
async fn a_snapshot_and_the_tail_are_the_whole_log() {
    let (mut entries, memory) = life(300, 1);
    let tail = entries.split_off(200);
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (mut leader, _) = open(one.path()).unwrap();
    apply(&mut leader.machine, entries).await.unwrap();
    let mut builder = leader.machine.get_snapshot_builder().await;
    let at_the_snapshot = rows(&leader.reader);
    // What is applied after the builder was made is not in the snapshot.
    apply(&mut leader.machine, tail.clone()).await.unwrap();
    let snapshot = builder.build_snapshot().await.unwrap();
    assert_eq!(snapshot.meta.last_log_id, Some(log_id(1, 200)));
    assert_eq!(rows(&leader.reader), memory_rows(&memory));
    assert_eq!(leader.reader.check().unwrap(), Vec::new());

    let (mut follower, told) = open(two.path()).unwrap();
    voted(&mut follower).await;
    let before = follower.reader.clone();
    let mut incoming = follower.reader.snapshots().receive().unwrap();
    let mut piece = [0; 1000];
    let mut offset = 0;
    loop {
        let read = snapshot.snapshot.read_at(offset, &mut piece).unwrap();
        if read == 0 {
            break;
        }
        incoming.write(&piece[..read]).unwrap();
        offset += read as u64;
    }
    let received = incoming.finish().unwrap();
    follower.machine.install_snapshot(&snapshot.meta, received).await.unwrap();
    assert_eq!(rows(&before), at_the_snapshot, "a reader from before sees the new state");
    assert_eq!(before.applied_index(), 200);
    assert_eq!(follower.machine.applied_state().await.unwrap().0, Some(log_id(1, 200)));
    apply(&mut follower.machine, tail).await.unwrap();
    assert_eq!(rows(&before), memory_rows(&memory));
    assert_eq!(before.all_queues(), leader.reader.all_queues());
    assert_eq!(before.meta(), leader.reader.meta());
    assert_eq!(told.0.lock().unwrap().len(), 100, "events only of what was applied here");

    // The replaced state is gone, the new one opens again.
    drop((follower, before));
    let states: Vec<_> = fs::read_dir(two.path().join("state")).unwrap().collect();
    assert_eq!(states.len(), 2, "{states:?}");
    let (again, _) = open(two.path()).unwrap();
    assert_eq!(rows(&again.reader), memory_rows(&memory));
    assert_eq!(again.report.snapshot, Some(200));
}

#[tokio::test]
async fn only_the_newest_is_kept_and_an_open_one_stays_readable() {
    let (entries, _) = life(20, 2);
    let dir = tempfile::tempdir().unwrap();
    let (mut opened, _) = open(dir.path()).unwrap();
    let mut early = opened.machine.get_snapshot_builder().await;
    let mut handles = Vec::new();
    for entry in entries {
        apply(&mut opened.machine, vec![entry]).await.unwrap();
        handles.push(opened.machine.get_snapshot_builder().await.build_snapshot().await.unwrap());
    }
    // One that was begun long ago and ends last does not take the place of the newest.
    assert_eq!(early.build_snapshot().await.unwrap().meta.last_log_id, None);
    assert_eq!(fs::read_dir(dir.path().join("snapshot")).unwrap().count(), 1);
    let current = opened.machine.get_current_snapshot().await.unwrap().unwrap();
    assert_eq!(current.meta, handles.last().unwrap().meta);
    for handle in handles {
        handle.snapshot.verify().unwrap();
    }
}

#[tokio::test]
async fn the_membership_comes_with_it() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (mut leader, _) = open(one.path()).unwrap();
    let nodes =
        [(7, "a:1"), (8, "b:2"), (9, "c:3")].map(|(id, addr)| (id, openraft::impls::BasicNode::new(addr)));
    let voters = vec![[7, 8].into(), [8].into()];
    let membership = Membership::new(voters, std::collections::BTreeMap::from(nodes)).unwrap();
    let entry = jobbie_store::raft::Entry::new_membership(log_id(3, 4), membership.clone());
    apply(&mut leader.machine, vec![entry]).await.unwrap();
    let snapshot = leader.machine.get_snapshot_builder().await.build_snapshot().await.unwrap();
    let (mut follower, _) = open(two.path()).unwrap();
    voted(&mut follower).await;
    follower.machine.install_snapshot(&snapshot.meta, snapshot.snapshot).await.unwrap();
    drop(follower);
    let (mut follower, _) = open(two.path()).unwrap();
    let (applied, stored) = follower.machine.applied_state().await.unwrap();
    assert_eq!((applied, stored.log_id()), (Some(log_id(3, 4)), &Some(log_id(3, 4))));
    assert_eq!(stored.membership(), &membership);
}

#[tokio::test]
async fn another_snapshot_than_announced_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (mut opened, _) = open(dir.path()).unwrap();
    apply(&mut opened.machine, life(5, 3).0).await.unwrap();
    let snapshot = opened.machine.get_snapshot_builder().await.build_snapshot().await.unwrap();
    let mut meta = snapshot.meta.clone();
    meta.last_log_id = Some(log_id(1, 6));
    let error = opened.machine.install_snapshot(&meta, snapshot.snapshot).await.unwrap_err();
    assert!(error.to_string().contains("not of"), "{error}");
    assert_eq!(opened.reader.applied_index(), 5);
}

#[tokio::test]
async fn a_damaged_file_is_refused_with_the_place() {
    let dir = tempfile::tempdir().unwrap();
    let (mut opened, _) = open(dir.path()).unwrap();
    apply(&mut opened.machine, life(400, 4).0).await.unwrap();
    let snapshot = opened.machine.get_snapshot_builder().await.build_snapshot().await.unwrap();
    let good = fs::read(snapshot.snapshot.path()).unwrap();
    let state = rows(&opened.reader);
    let path = dir.path().join("damaged");
    let check = |bytes: &[u8]| -> Result<(), Fault> {
        fs::write(&path, bytes).unwrap();
        SnapshotFile::open(&path)?.verify().map(drop)
    };
    check(&good).unwrap();
    let blocks = boundaries(&good);
    assert!(blocks.len() > 4, "there is more than one block: {blocks:?}");

    // Cut at every boundary and one byte to either side of it.
    for cut in blocks.iter().flat_map(|at| [at - 1, *at, at + 1]).filter(|cut| *cut < good.len()) {
        match check(&good[..cut]) {
            Err(Fault::Snapshot { offset, .. }) => assert!(offset <= cut as u64, "{offset} of {cut}"),
            other => panic!("cut at {cut}: {other:?}"),
        }
    }
    // A byte flipped: in every head, and here and there in between.
    let flips = blocks
        .iter()
        .flat_map(|at| (*at..at + 13).filter(|at| *at < good.len()))
        .chain((0..good.len()).step_by(1009));
    for flip in flips {
        let mut bad = good.clone();
        bad[flip] ^= 0x41;
        match check(&bad) {
            Err(Fault::Snapshot { offset, .. }) => assert!(offset <= flip as u64, "{offset} of {flip}"),
            Err(Fault::SnapshotFormat { .. }) => assert!((8..12).contains(&flip), "{flip}"),
            other => panic!("flipped at {flip}: {other:?}"),
        }
    }
    // A block dropped, doubled, and something behind the end.
    let (first, second) = (blocks[1], blocks[2]);
    let dropped = [&good[..first], &good[second..]].concat();
    let doubled = [&good[..second], &good[first..]].concat();
    let longer = [&good[..], b"x"].concat();
    for bad in [dropped, doubled, longer] {
        assert!(matches!(check(&bad), Err(Fault::Snapshot { .. })));
    }

    // Installing one leaves everything as it was.
    let mut bad = good.clone();
    bad[blocks[2] + 20] ^= 1;
    fs::write(&path, bad).unwrap();
    let damaged = SnapshotFile::open(&path).unwrap();
    let error = opened.machine.install_snapshot(&snapshot.meta, damaged).await.unwrap_err();
    assert!(error.to_string().contains("checksum"), "{error}");
    assert_eq!(rows(&opened.reader), state);
    assert_eq!(fs::read_dir(dir.path().join("state")).unwrap().count(), 2, "nothing half built is left");
}

/// Where the header, each block and the footer begin, and the end.
fn boundaries(file: &[u8]) -> Vec<usize> {
    let length = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap()) as usize;
    let mut at = 12;
    let mut found = vec![at];
    at += 8 + length(at);
    while file[at] == b'B' {
        found.push(at);
        at += 13 + length(at + 1);
    }
    found.extend([at, file.len()]);
    found
}
