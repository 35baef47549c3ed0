// SPDX-License-Identifier: Apache-2.0
//! Starts openraft on a tokio runtime of its own and keeps both together.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jobbie_store::{Opened, StateMachine, TypeConfig};
use openraft::impls::BasicNode;
use openraft::{Config, SnapshotPolicy};
use tokio::runtime::Runtime;

use super::network::NoPeers;
use super::proposer::ProposerLoop;
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::queue::Queues;

/// A handle on openraft; cheap to clone, usable from any thread.
pub type Raft = openraft::Raft<TypeConfig, StateMachine>;

/// Threads for openraft: one for its core, one for applying entries.
const THREADS: usize = 2;
/// Between heartbeats of a leader.
const HEARTBEAT_MS: u64 = 100;
/// Without a heartbeat for this long (drawn anew each time) a follower asks for votes: slow disks stall a
/// leader for some hundred milliseconds.
const ELECTION_MS: (u64, u64) = (500, 1000);

/// Why Raft could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The operating system gives no threads.
    #[error("the raft runtime cannot be started: {0}")]
    Runtime(#[from] std::io::Error),
    /// openraft refuses: its text says why.
    #[error("raft cannot be started: {0}")]
    Raft(String),
}

/// openraft with the runtime it lives on.
pub struct RaftRuntime {
    runtime: Option<Runtime>,
    raft: Raft,
}

impl RaftRuntime {
    /// Starts openraft over an opened store and the proposer's loop in front of it. A new data directory
    /// becomes a group of one.
    ///
    /// # Errors
    /// If there are no threads or openraft refuses the stored state.
    pub(crate) fn start(
        opened: Opened,
        proposals: ProposerLoop,
        clock: Clock,
        metrics: Arc<Metrics>,
        queues: Queues,
    ) -> Result<Self, StartError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("raft")
            .enable_all()
            .build()?;
        let raft = runtime.block_on(start(opened)).map_err(StartError::Raft)?;
        runtime.spawn(proposals.run(raft.clone(), clock, metrics, queues));
        Ok(Self { runtime: Some(runtime), raft })
    }

    /// The handle.
    #[must_use]
    pub const fn raft(&self) -> &Raft {
        &self.raft
    }

    /// Stops openraft; whoever still waits for an entry learns that its outcome is unknown. Blocks up to
    /// `patience`.
    pub fn stop(mut self, patience: Duration) {
        if let Some(runtime) = self.runtime.take() {
            let raft = self.raft.clone();
            let stopped = runtime.block_on(async { tokio::time::timeout(patience, raft.shutdown()).await });
            if !matches!(stopped, Ok(Ok(()))) {
                tracing::warn!("raft did not stop in time; what was acknowledged is safe in the log");
            }
            runtime.shutdown_timeout(patience);
        }
    }
}

impl Drop for RaftRuntime {
    /// As a crash would: nobody waits for anything.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn start(opened: Opened) -> Result<Raft, String> {
    let config = Config {
        cluster_name: "jobbie".to_owned(),
        heartbeat_interval: HEARTBEAT_MS,
        election_timeout_min: ELECTION_MS.0,
        election_timeout_max: ELECTION_MS.1,
        enable_pre_vote: Some(true),
        quorum_loss_probe_interval: Some(ELECTION_MS.1 * 2),
        // Snapshots and purges are triggered by the size of the log, in `actor`. The policy's own purge
        // beside a manual one trips an assertion in openraft's debug builds.
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: u64::MAX,
        ..Config::default()
    };
    let config = Arc::new(config.validate().map_err(|e| e.to_string())?);
    let id = opened.node_id;
    let raft = Raft::new(id, config, NoPeers, opened.log, opened.machine).await.map_err(|e| e.to_string())?;
    if raft.is_initialized().await.map_err(|e| e.to_string())? {
        // The only voter need not wait for an election timeout.
        raft.trigger().elect(false).await.map_err(|e| e.to_string())?;
    } else {
        let group = BTreeMap::from([(id, BasicNode::default())]);
        raft.initialize(group).await.map_err(|e| e.to_string())?;
    }
    Ok(raft)
}
