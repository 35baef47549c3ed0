// SPDX-License-Identifier: Apache-2.0
//! Everything that is read off the disk, fed with what is nearly right: segments of the log, snapshot files, and what
//! stands behind their checksums.
//!
//! Promises: nothing panics and no length that was read is believed; what a damaged log still gives out was written to
//! it; a snapshot that is accepted is the one that was written; what is decoded is encoded and decoded to the same.
#![allow(clippy::unwrap_used)]

mod common;
mod log_support;
#[path = "../../tests/support/mutate.rs"]
mod mutate;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use common::{apply, life, open};
use jobbie_broker::{Proposal, codec};
use jobbie_store::SnapshotFile;
use jobbie_store::log::disk::Disk;
use jobbie_store::log::{Item, Kind, Log, Mark, Record};
use jobbie_store::raft::Entry;
use log_support::{SimDisk, all, append_each, entry, small, vote, wait};
use mutate::fuzz;
use openraft::entry::RaftEntry as _;
use openraft::storage::RaftStateMachine as _;
use openraft::{BasicNode, Membership, RaftSnapshotBuilder as _};

/// Each input opens a log with its threads, or reads a file.
const ROUNDS: u64 = 4_000;

/// A log of one segment: its name and its bytes, and what is in it.
fn segment() -> (std::path::PathBuf, Vec<u8>, Vec<Record>) {
    let (disk, dir) = (SimDisk::default(), Path::new("/log"));
    let log = Log::<Record>::open_on(Arc::new(disk.clone()), dir, small(), None).unwrap();
    append_each(&log, (1..=6).map(|index| entry(1, index, 40 * index as usize)));
    wait(|done| log.save_vote(vote(2), done)).unwrap();
    wait(|done| log.truncate_after(Some(Mark { term: 1, index: 5 }), done)).unwrap();
    append_each(&log, (6..=8).map(|index| entry(2, index, 0)));
    log.save_committed(Some(Mark { term: 2, index: 7 })).unwrap();
    wait(|done| log.sync(done)).unwrap();
    let written: Vec<Record> =
        (1..=6).map(|index| entry(1, index, 40 * index as usize)).chain(all(&log)).collect();
    log.shutdown();
    let mut names = disk.names();
    names.retain(|name| name.extension().is_some_and(|kind| kind == "log"));
    let name = names.remove(0);
    let file = disk.open(&name).unwrap();
    let mut bytes = vec![0; usize::try_from(file.size().unwrap()).unwrap()];
    file.read_exact_at(&mut bytes, 0).unwrap();
    (name, bytes, written)
}

#[test]
fn segments_of_the_log() {
    let (name, bytes, written) = segment();
    fuzz("segment", &[&bytes], &[], ROUNDS, |bytes| {
        let disk = SimDisk::with(&name, bytes);
        let Ok(log) = Log::<Record>::open_on(Arc::new(disk), Path::new("/log"), small(), None) else {
            return false;
        };
        for record in all(&log) {
            assert!(written.contains(&record), "{record:?} was never written");
        }
        true
    });
}

#[tokio::test]
async fn snapshot_files() {
    let (entries, _) = life(10, 3);
    let dir = tempfile::tempdir().unwrap();
    let (mut opened, _) = open(dir.path()).unwrap();
    apply(&mut opened.machine, entries).await.unwrap();
    let snapshot = opened.machine.get_snapshot_builder().await.build_snapshot().await.unwrap().snapshot;
    let mut seed = vec![0; usize::try_from(snapshot.len()).unwrap()];
    assert_eq!(snapshot.read_at(0, &mut seed).unwrap(), seed.len());
    let path = dir.path().join("fuzzed");
    fuzz("snapshot", &[&seed], &["JOBBSNAP", "B", "F"], ROUNDS, |bytes| {
        std::fs::write(&path, bytes).unwrap();
        let accepted = SnapshotFile::open(&path).and_then(|file| file.verify()).is_ok();
        assert!(!accepted || bytes == seed, "a snapshot is accepted that was never written");
        accepted
    });
}

/// What stands behind the checksums: a bug or a newer build may have written it, and checksums are right then.
#[test]
fn entries_and_rows() {
    let (entries, memory) = life(40, 5);
    let records: Vec<Record> = entries.iter().map(Item::to_record).collect();
    let bodies: Vec<&[u8]> = records.iter().map(|record| &*record.body).collect();
    fuzz("proposal", &bodies, &[], 10 * ROUNDS, |bytes| {
        let Ok(proposal) = Proposal::decode(bytes) else { return false };
        assert_eq!(Proposal::decode(&proposal.encode()).unwrap(), proposal);
        true
    });
    let voters = Membership::new(
        vec![[1, 2].into()],
        BTreeMap::from([(1, BasicNode::new("a:1")), (2, BasicNode::new("b:2"))]),
    );
    let membership = Entry::new_membership(common::log_id(1, 7), voters.unwrap()).to_record().body;
    for (kind, seeds) in [(Kind::Normal, bodies), (Kind::Membership, vec![&*membership])] {
        let read = |body: Bytes| Entry::from_record(Record { kind, term: 1, index: 7, body });
        fuzz("entry", &seeds, &["\u{1}"], ROUNDS, |bytes| {
            let Ok(entry) = read(Bytes::copy_from_slice(bytes)) else { return false };
            let written = entry.to_record();
            assert_eq!(read(written.body.clone()).unwrap().to_record(), written);
            true
        });
    }
    let rows: Vec<Vec<u8>> = memory.rows().map(|(_, _, row)| row.to_vec()).collect();
    let jobs: Vec<&[u8]> = rows
        .iter()
        .filter(|row| codec::decode::<jobbie_broker::Job>(row).is_ok())
        .map(Vec::as_slice)
        .collect();
    assert!(jobs.len() > 5, "{} rows of jobs", jobs.len());
    fuzz("job row", &jobs, &[], 10 * ROUNDS, |bytes| {
        let Ok(job) = codec::decode::<jobbie_broker::Job>(bytes) else { return false };
        assert_eq!(codec::decode::<jobbie_broker::Job>(&codec::encode(&job)).unwrap(), job);
        true
    });
}
