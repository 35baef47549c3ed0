// SPDX-License-Identifier: Apache-2.0
//! openraft's own suite for storage, on the real log and the real state in a directory each.
#![allow(clippy::unwrap_used)]

mod common;

use jobbie_store::{LogStore, StateMachine, TypeConfig};
use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};

struct Builder;

impl StoreBuilder<TypeConfig, LogStore, StateMachine, tempfile::TempDir> for Builder {
    async fn build(&self) -> Result<(tempfile::TempDir, LogStore, StateMachine), StorageError<TypeConfig>> {
        let dir = tempfile::tempdir().unwrap();
        let (opened, _) = common::open(dir.path()).unwrap();
        Ok((dir, opened.log, opened.machine))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openrafts_suite() {
    Suite::test_all(Builder).await.unwrap();
}
