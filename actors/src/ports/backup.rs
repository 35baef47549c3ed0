// SPDX-License-Identifier: Apache-2.0
//! A backup: a snapshot that has everything that was applied before it was asked for.
//!
//! It is the snapshot that Raft takes for itself, so a backup and what a follower is sent are made by the same code,
//! and one that is recent enough is not made again.

use std::time::Duration;

use jobbie_store::SnapshotFile;
use openraft::type_config::async_runtime::watch::WatchReceiver;

use super::{PortError, Ports, read};

/// A snapshot that was being written when this one was asked for may be too old: it is asked for again after this.
const AGAIN: Duration = Duration::from_millis(500);

impl Ports {
    /// A snapshot of at least everything that is applied now. It stays readable when a newer one takes its place.
    ///
    /// # Errors
    /// [`PortError::Overloaded`] while another call waits for one, [`PortError::Unavailable`] while Raft is not
    /// running, [`PortError::Fault`] if it cannot be read.
    pub async fn backup(&self) -> Result<SnapshotFile, PortError> {
        let inner = self.inner();
        let _turn = inner.backup.try_lock().map_err(|_| PortError::overloaded())?;
        let wanted = inner.reader.applied_index();
        let raft = inner.raft.get().ok_or(PortError::unavailable("the log"))?.clone();
        let mut metrics = raft.metrics();
        loop {
            let newest = read(&inner.reader, |reader| reader.snapshots().newest()).await?;
            let reach = newest.as_ref().and_then(|file| file.mark().applied).map(|at| at.index);
            if let Some(file) = newest.filter(|_| reach >= Some(wanted)) {
                return Ok(file);
            }
            raft.trigger().snapshot().await.map_err(|_| PortError::unavailable("the log"))?;
            let finished = async {
                loop {
                    {
                        let now = metrics.borrow_and_update();
                        if now.running_state.is_err() {
                            return Err(PortError::unavailable("the log"));
                        }
                        if now.snapshot.as_ref().map(|id| id.index) >= Some(wanted) {
                            return Ok(());
                        }
                    }
                    metrics.changed().await.map_err(|_| PortError::unavailable("the log"))?;
                }
            };
            if let Ok(ended) = tokio::time::timeout(AGAIN, finished).await {
                ended?;
            }
        }
    }
}
