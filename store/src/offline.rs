// SPDX-License-Identifier: Apache-2.0
//! A data directory that no server uses: its backup.
//!
//! The log is applied to its end first, as a start does, so that the backup has everything that was
//! acknowledged, whatever ended the last server.

use std::sync::Arc;

use openraft::StorageHelper;
use openraft::storage::{RaftLogStorage, RaftSnapshotBuilder, RaftStateMachine};

use crate::keyspaces::{Fault, Members};
use crate::log_storage::LogStore;
use crate::open::{OpenError, Opened, Options, open};
use crate::restore::Nobody;
use crate::snapshot::SnapshotFile;

/// Opens a directory as a server does, and brings its state up to what is committed. There must be one: a wrong
/// path is not made a directory.
///
/// # Errors
/// As [`open`], and if there is no data directory.
pub async fn open_offline(options: &Options) -> Result<Opened, OpenError> {
    if !options.dir.join("node").exists() {
        return Err(OpenError::Missing { dir: options.dir.clone() });
    }
    let mut opened = open(options, Arc::new(Nobody), None)?;
    let failed = |e: &dyn std::fmt::Display| OpenError::from(Fault::Contradiction(e.to_string()));
    let (_, membership) = opened.machine.applied_state().await.map_err(|e| failed(&e))?;
    let alone = Members::from(&membership).voters == [[opened.node_id].into()];
    if alone {
        // What the only voter has in its log is committed; that it is so may not have been noted.
        let last = last_entry(&mut opened.log).await.map_err(|e| failed(&e))?;
        opened.log.save_committed(last).await.map_err(|e| failed(&e))?;
    }
    let mut helper = StorageHelper::new(&mut opened.log, &mut opened.machine).with_id(opened.node_id);
    helper.get_initial_state().await.map_err(|e| failed(&e))?;
    Ok(opened)
}

async fn last_entry(log: &mut LogStore) -> std::io::Result<Option<crate::raft::LogId>> {
    Ok(log.get_log_state().await?.last_log_id)
}

/// A snapshot of all that is applied: the newest one if it has come that far, else a new one.
///
/// # Errors
/// If it cannot be written.
pub async fn snapshot(opened: &mut Opened) -> Result<SnapshotFile, Fault> {
    let (applied, _) = opened.machine.applied_state().await.map_err(Fault::io("read", "state"))?;
    let newest = opened.reader.snapshots().newest()?;
    let reach = |file: &SnapshotFile| file.mark().applied.map(|at| at.index);
    if let Some(file) = newest.filter(|file| reach(file) == applied.as_ref().map(|at| at.index)) {
        return Ok(file);
    }
    let mut builder = opened.machine.get_snapshot_builder().await;
    let built = builder.build_snapshot().await;
    Ok(built.map_err(Fault::io("write a snapshot to", opened.reader.snapshots().path()))?.snapshot)
}
