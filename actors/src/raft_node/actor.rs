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
use jobbie_store::query::DiskUse;
use jobbie_store::{Reader, TypeConfig};
use openraft::RaftMetrics;
use openraft::type_config::async_runtime::watch::WatchReceiver;
use tokio::sync::watch;

use super::Leadership;
use super::runtime::Raft;
use crate::disk_guard::{DiskGuard, DiskRoom};
use crate::metrics::Metrics;
use crate::ports::read;
use crate::supervise::Epoch;

/// A snapshot is taken when the log has grown by this much, or by the size of the last snapshot if that is
/// more: the disk then holds at most about twice the state, and writing it is at most half of all writes.
pub const SNAPSHOT_AFTER: u64 = 512 * 1024 * 1024;
/// A log that is not longer is not cut to save space: two segments, the one in use and the one that is prepared.
const WORTH: u64 = 128 * 1024 * 1024;
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
    /// The room on the disk.
    disk: Arc<DiskGuard>,
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
        disk: Arc<DiskGuard>,
    ) -> Self {
        Self { epoch, raft, reader, leadership, metrics, snapshot_after, disk, purged: 0 }
    }

    fn snapshot_if_large(&self) {
        let (raft, reader, after) = (self.raft.clone(), self.reader.clone(), self.snapshot_after);
        let disk = self.disk.clone();
        actix::spawn(async move {
            let Ok(used) = read(&reader, |reader| Ok(reader.disk())).await else { return };
            if due(&used, &disk.room(), after)
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

/// Whether to take a snapshot, after which the log can be cut: when the log is long, and on a disk that is nearly
/// full also when that gives back more than it takes. One that would not fit is not begun: its failure would end
/// the process.
fn due(used: &DiskUse, room: &DiskRoom, after: u64) -> bool {
    let needed = used.state_bytes.max(used.snapshot_bytes);
    let long = used.log_bytes > after.max(used.snapshot_bytes);
    let gives_back = room.full && used.log_bytes > needed.saturating_mul(2).max(WORTH);
    (long || gives_back) && room.free > needed
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

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn is_due(log: u64, state: u64, free: u64, full: bool) -> bool {
        let used = DiskUse { log_bytes: log * MIB, state_bytes: state * MIB, ..DiskUse::default() };
        let room = DiskRoom { free: free * MIB, total: 9000 * MIB, reserve: 256 * MIB, full };
        due(&used, &room, 512 * MIB)
    }

    #[test]
    fn a_snapshot_is_taken_of_a_long_log_if_it_fits() {
        assert!(is_due(600, 100, 5000, false));
        assert!(!is_due(500, 100, 5000, false), "the log is short");
        assert!(!is_due(600, 100, 90, true), "its failure would end the process");
    }

    #[test]
    fn a_nearly_full_disk_has_its_log_cut_early_if_that_gives_back_more_than_it_takes() {
        assert!(is_due(300, 20, 100, true));
        assert!(!is_due(300, 20, 100, false));
        assert!(!is_due(300, 200, 250, true), "a snapshot of 200 MiB to save 300");
        assert!(!is_due(100, 1, 100, true), "the log is hardly more than its segment in use");
    }
}
