// SPDX-License-Identifier: Apache-2.0
//! Documents in memory against their rows: while they change, after a restart, after a snapshot.
#![allow(clippy::unwrap_used)]

mod common;

use common::{apply, life, open, voted};
use jobbie_broker::tables::mem::MemTables;
use jobbie_broker::tables::schema::Docs;
use jobbie_broker::{Document, Name, Tables};
use jobbie_store::Reader;
use openraft::RaftSnapshotBuilder;
use openraft::storage::RaftStateMachine;

fn rows(memory: &mut MemTables) -> Vec<(Name, Document)> {
    let rows = memory.scan::<Docs>(&[], None, usize::MAX).unwrap();
    rows.into_iter().map(|((_, key), document)| (key, document)).collect()
}

fn kept(reader: &Reader) -> Vec<(Name, Document)> {
    let docs = reader.docs(&"test".into()).into_iter();
    docs.map(|(key, document)| (key, Document::clone(&document))).collect()
}

#[tokio::test]
async fn documents_are_in_memory_as_in_their_rows_and_survive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (mut opened, _) = open(dir.path()).unwrap();
    voted(&mut opened).await;
    let (entries, mut memory) = life(400, 21);
    let changed = opened.reader.docs_changed();
    apply(&mut opened.machine, entries).await.unwrap();
    let expected = rows(&mut memory);
    assert!(expected.len() > 1, "{}", expected.len());
    assert_eq!(kept(&opened.reader), expected);
    assert!(changed.has_changed().unwrap());
    assert!(opened.reader.docs(&"tes".into()).is_empty() && opened.reader.docs(&"test2".into()).is_empty());
    drop((opened, changed));
    let (opened, _) = open(dir.path()).unwrap();
    assert_eq!(kept(&opened.reader), expected);
}

#[tokio::test]
async fn a_snapshot_brings_the_documents_of_another_node() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (mut from, _) = open(here.path()).unwrap();
    let (entries, mut memory) = life(400, 22);
    apply(&mut from.machine, entries).await.unwrap();
    let snapshot = from.machine.get_snapshot_builder().await.build_snapshot().await.unwrap();
    let (mut to, _) = open(there.path()).unwrap();
    let changed = to.reader.docs_changed();
    to.machine.install_snapshot(&snapshot.meta, snapshot.snapshot).await.unwrap();
    assert_eq!(kept(&to.reader), rows(&mut memory));
    assert!(changed.has_changed().unwrap(), "who keeps something made of documents hears of it");
}
