// SPDX-License-Identifier: Apache-2.0
//! The actor that watches openraft.
//!
//! It caches nothing but who leads, and tells everyone when that changes. It wakes up for openraft's
//! metrics. It is never restarted: openraft cannot go on after a fault of the disk or of applying, so when
//! it is dead this actor panics, the root gives up and the process ends with a message. What was
//! acknowledged is in the log.

use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, AsyncContext, Context, StreamHandler};
use futures_util::stream;
use jobbie_store::{Reader, TypeConfig};
use openraft::RaftMetrics;
use openraft::type_config::async_runtime::watch::WatchReceiver;
use tokio::sync::watch;

use super::Leadership;
use super::runtime::Raft;
use crate::metrics::Metrics;
use crate::ports::read;
use crate::supervise::Epoch;

/// A snapshot is taken when the log has grown by this much, or by the size of the last snapshot if that is
/// more: the disk then holds at most about twice the state, and writing it is at most half of all writes.
pub const SNAPSHOT_AFTER: u64 = 512 * 1024 * 1024;
/// How long news of openraft may be old.
const SETTLE: Duration = Duration::from_millis(5);
/// How often the size of the log is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// The watcher.
pub struct RaftNode {
    epoch: Epoch,
    raft: Raft,
    reader: Reader,
    leadership: Arc<watch::Sender<Leadership>>,
    metrics: Arc<Metrics>,
    /// Bytes of log after which a snapshot is taken.
    snapshot_after: u64,
    /// Log index up to which purging has been asked for.
    purged: u64,
}

/// openraft says something new of itself.
struct Changed(Box<RaftMetrics<TypeConfig>>);

impl RaftNode {
    /// A watcher of `raft` that publishes who leads.
    #[must_use]
    pub fn new(
        epoch: Epoch,
        raft: Raft,
        reader: Reader,
        leadership: Arc<watch::Sender<Leadership>>,
        metrics: Arc<Metrics>,
        snapshot_after: u64,
    ) -> Self {
        Self { epoch, raft, reader, leadership, metrics, snapshot_after, purged: 0 }
    }

    fn snapshot_if_large(&self) {
        let (raft, reader, after) = (self.raft.clone(), self.reader.clone(), self.snapshot_after);
        actix::spawn(async move {
            let Ok(disk) = read(&reader, |reader| Ok(reader.disk())).await else { return };
            if disk.log_bytes > after.max(disk.snapshot_bytes)
                && let Err(fatal) = raft.trigger().snapshot().await
            {
                tracing::warn!(error = %fatal, "a snapshot could not be asked for");
            }
        });
    }

    fn purge_behind(&mut self, snapshot: u64) {
        if snapshot > self.purged {
            self.purged = snapshot;
            let raft = self.raft.clone();
            actix::spawn(async move {
                if let Err(fatal) = raft.trigger().purge_log(snapshot).await {
                    tracing::warn!(error = %fatal, "the log could not be purged");
                }
            });
        }
    }
}

impl Actor for RaftNode {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let receiver = self.raft.metrics();
        // The first item is what is known now; then one for each change.
        ctx.add_stream(stream::unfold((receiver, true), |(mut receiver, first)| async move {
            if !first {
                receiver.changed().await.ok()?;
                // openraft speaks at every turn of its loop, thousands of times a second; only the latest counts.
                tokio::time::sleep(SETTLE).await;
            }
            let metrics = Box::new(receiver.borrow_and_update().clone());
            Some((Changed(metrics), (receiver, false)))
        }));
        ctx.run_interval(LOOK, |node, _| node.snapshot_if_large());
    }
}

impl StreamHandler<Changed> for RaftNode {
    fn handle(&mut self, Changed(metrics): Changed, _: &mut Self::Context) {
        if let Err(fatal) = &metrics.running_state {
            panic!("raft has stopped: {fatal}");
        }
        // After a hang the process is about to end: nobody may hear of a leadership that is over.
        if !self.epoch.is_current() {
            return;
        }
        let term = metrics.current_term;
        // Applied in this term, so everything of earlier terms is applied too.
        let settled = metrics.last_applied.is_some_and(|applied| **applied.committed_leader_id() == term);
        let leads = metrics.current_leader == Some(metrics.id) && settled;
        let leadership = Leadership { term, leader: metrics.current_leader, leads };
        self.leadership.send_if_modified(|old| std::mem::replace(old, leadership) != leadership);
        let applied = metrics.last_applied.as_ref().map_or(0, |applied| applied.index);
        let lag = metrics.last_log_index.unwrap_or(0).saturating_sub(applied);
        self.metrics.raft(leads, term, lag);
        if let Some(snapshot) = metrics.snapshot {
            self.purge_behind(snapshot.index);
        }
    }

    fn finished(&mut self, _: &mut Self::Context) {
        panic!("raft has stopped without a reason");
    }
}
