// SPDX-License-Identifier: Apache-2.0
//! The log through openraft's traits: encoding, reopening, streams. The suite of openraft itself is in
//! `openraft_suite.rs`.

#![allow(clippy::unwrap_used)] // a test may

mod log_support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use bytes::Bytes;
use futures_util::StreamExt;
use jobbie_broker::{Proposal, Timestamp};
use jobbie_store::Durability;
use jobbie_store::log::{Item, Log, LogOptions, Record};
use jobbie_store::log_storage::LogStore;
use jobbie_store::raft::{Entry, LogId, Request, Vote};
use openraft::errors::LeaderChanged;
use openraft::impls::{BasicNode, leader_id_std};
use openraft::storage::{LeaderBoundedStreamError, RaftLogStorage, RaftLogStorageExt};
use openraft::vote::RaftLeaderId;
use openraft::{EntryPayload, Membership, RaftLogReader};

fn log_id(term: u64, index: u64) -> LogId {
    LogId { leader_id: leader_id_std::LeaderId { term, voted_for: 0 }.to_committed(), index }
}

fn vote(term: u64, node: u64, committed: bool) -> Vote {
    Vote { leader_id: leader_id_std::LeaderId { term, voted_for: node }, committed }
}

fn proposal() -> Proposal {
    Proposal { at: Timestamp::default(), seed: 7, rules: 1, submissions: Vec::new() }
}

fn membership() -> Membership<u64, BasicNode> {
    let nodes = [(1, "a:1"), (2, "b:2"), (258, "ü:3")];
    let nodes: BTreeMap<u64, BasicNode> = nodes.map(|(id, addr)| (id, BasicNode::new(addr))).into();
    Membership::new(vec![BTreeSet::from([1, 2]), BTreeSet::from([1])], nodes).unwrap()
}

/// One of each kind, again and again.
fn entry(term: u64, index: u64) -> Entry {
    let payload = match index % 3 {
        0 => EntryPayload::Blank,
        1 => EntryPayload::Normal(Request::new(proposal())),
        _ => EntryPayload::Membership(membership()),
    };
    Entry { log_id: log_id(term, index), payload }
}

/// Requests cannot be compared; their bytes can.
fn same(a: &[Entry], b: &[Entry]) -> bool {
    let records = |entries: &[Entry]| entries.iter().map(Item::to_record).collect::<Vec<Record>>();
    records(a) == records(b)
}

fn open(dir: &Path) -> LogStore {
    let options = LogOptions { segment_bytes: 16 << 10, cache_bytes: 2 << 10, durability: Durability::Fsync };
    LogStore::open(dir, options, None).unwrap()
}

#[test]
fn bodies_have_these_bytes() {
    let body = |payload| Entry { log_id: log_id(3, 9), payload }.to_record();
    let blank = body(EntryPayload::Blank);
    assert_eq!((blank.term, blank.index, blank.body), (3, 9, Bytes::new()));

    let request = Request::new(proposal());
    assert_eq!(body(EntryPayload::Normal(request.clone())).body, *request.bytes());
    assert_eq!(request.bytes()[0], 1, "the version of the broker's format");

    let expected = [
        &[1, 2][..],                                             // version, two configurations
        &[2, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0], // 1 and 2
        &[1, 0, 1, 0, 0, 0, 0, 0, 0, 0],                         // 1
        &[3, 0],                                                 // three nodes
        &[1, 0, 0, 0, 0, 0, 0, 0, 3, 0, b'a', b':', b'1'],
        &[2, 0, 0, 0, 0, 0, 0, 0, 3, 0, b'b', b':', b'2'],
        &[2, 1, 0, 0, 0, 0, 0, 0, 4, 0, 0xC3, 0xBC, b':', b'3'],
    ]
    .concat();
    let record = body(EntryPayload::Membership(membership()));
    assert_eq!(record.body, expected);

    for length in 0..expected.len() {
        let cut = Record { body: record.body.slice(..length), ..record.clone() };
        assert!(Entry::from_record(cut).is_err(), "cut to {length} bytes");
    }
    let newer = Record { body: [&[2], &expected[1..]].concat().into(), ..record };
    assert!(Entry::from_record(newer).unwrap_err().to_string().contains("format version 2"));
}

#[tokio::test]
async fn a_vote_has_these_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    store.save_vote(&vote(258, 7, true)).await.unwrap();
    store.shutdown();
    let raw = Log::<Record>::open(dir.path(), log_support::small(), None).unwrap();
    let expected = [1, 2, 1, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 1];
    assert_eq!(raw.vote().unwrap(), expected[..]);
}

#[tokio::test]
async fn everything_is_there_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let entries: Vec<Entry> = (1..=300).map(|i| entry(2, i)).collect();
    store.save_vote(&vote(2, 1, true)).await.unwrap();
    for chunk in entries.chunks(7) {
        store.blocking_append(chunk.to_vec()).await.unwrap();
    }
    store.save_committed(Some(log_id(2, 290))).await.unwrap();
    store.purge(log_id(2, 100)).await.unwrap();
    store.truncate_after(Some(log_id(2, 298))).await.unwrap();
    for round in 0..2 {
        let state = store.get_log_state().await.unwrap();
        assert_eq!(state.last_purged_log_id, Some(log_id(2, 100)), "round {round}");
        assert_eq!(state.last_log_id, Some(log_id(2, 298)), "round {round}");
        assert_eq!(store.read_vote().await.unwrap(), Some(vote(2, 1, true)));
        assert_eq!(store.read_committed().await.unwrap(), Some(log_id(2, 290)));
        let read = store.try_get_log_entries(..).await.unwrap();
        assert!(same(&read, &entries[100..298]), "round {round}");
        let ids = store.get_key_log_ids(log_id(2, 101)..=log_id(2, 298)).await.unwrap();
        assert_eq!(ids, [log_id(2, 298)]);
        store.shutdown();
        assert!(store.save_vote(&vote(3, 1, false)).await.is_err(), "it is shut down");
        store = open(dir.path());
    }
}

/// Entries of some size, more than are read at once.
async fn large(store: &mut LogStore) -> u64 {
    let big = |index| {
        let mut proposal = proposal();
        let submission = jobbie_broker::Submission {
            by: "someone".into(),
            namespace: "n".repeat(100).into(),
            scope: jobbie_broker::Scope::ALL,
            command: jobbie_broker::command::Promote { limit: 1 }.into(),
        };
        proposal.submissions = vec![submission; 500];
        Entry { log_id: log_id(1, index), payload: EntryPayload::Normal(Request::new(proposal)) }
    };
    let size = big(1).to_record().body.len() as u64;
    let count = (10 << 20) / size;
    store.blocking_append((1..=count).map(big)).await.unwrap();
    count
}

#[tokio::test]
async fn streams_read_in_chunks_and_limited_reads_stop() {
    let dir = tempfile::tempdir().unwrap();
    let options = LogOptions { segment_bytes: 3 << 20, cache_bytes: 1 << 20, durability: Durability::Fsync };
    let mut store = LogStore::open(dir.path(), options, None).unwrap();
    let count = large(&mut store).await;
    store.save_vote(&vote(1, 1, true)).await.unwrap();

    let mut reader = store.get_log_reader().await;
    let indexes: Vec<u64> = reader.entries_stream(..).await.map(|e| e.unwrap().log_id.index).collect().await;
    assert!(indexes.into_iter().eq(1..=count));

    let some = store.limited_get_log_entries(1, count + 1).await.unwrap();
    assert!(some.len() > 1 && (some.len() as u64) < count, "{} of {count}", some.len());

    // A purge in the middle is an error, not a hole.
    let mut stream = Box::pin(reader.entries_stream(..).await);
    stream.next().await.unwrap().unwrap();
    store.purge(log_id(1, count - 1)).await.unwrap();
    let rest: Vec<_> = stream.collect().await;
    assert!(rest.last().unwrap().is_err());
    assert!(rest.len() as u64 + 1 < count);
}

#[tokio::test]
async fn a_leaders_stream_ends_when_the_vote_changes() {
    let dir = tempfile::tempdir().unwrap();
    let options = LogOptions { segment_bytes: 3 << 20, cache_bytes: 1 << 20, durability: Durability::Fsync };
    let mut store = LogStore::open(dir.path(), options, None).unwrap();
    let count = large(&mut store).await;
    store.save_vote(&vote(1, 1, true)).await.unwrap();
    let mut reader = store.get_log_reader().await;
    let led = vote(1, 1, true);
    let mut stream = Box::pin(reader.leader_bounded_stream(led.leader_id, ..).await);
    stream.next().await.unwrap().unwrap();
    store.save_vote(&vote(2, 2, false)).await.unwrap();
    let rest: Vec<_> = stream.collect().await;
    assert!((rest.len() as u64) < count);
    let Some(Err(LeaderBoundedStreamError::LeaderChanged(changed))) = rest.last() else {
        panic!("no end: {rest:?}")
    };
    assert_eq!(*changed, LeaderChanged::new(led.leader_id, Some(vote(2, 2, false))));
    assert!(rest[..rest.len() - 1].iter().all(Result::is_ok));

    let before: Vec<_> = reader.leader_bounded_stream(led.leader_id, 5..5).await.collect().await;
    assert!(matches!(before[..], [Err(LeaderBoundedStreamError::LeaderChanged(_))]));
}
