// SPDX-License-Identifier: Apache-2.0
//! What this node says of itself.

use jobbie_broker::Timestamp;
use jobbie_store::Durability;

use super::{PortError, Ports};

/// What is known at start and does not change.
pub(crate) struct NodeFacts {
    pub node_id: u64,
    pub durability: Durability,
    pub started_at: Timestamp,
}

/// A node as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeInfo {
    /// Its random identity.
    pub node_id: u64,
    /// What an acknowledged write means here.
    pub durability: Durability,
    /// When the process started.
    pub started_at: Timestamp,
    /// The last log index applied.
    pub applied_index: u64,
    /// The Raft term.
    pub term: u64,
    /// The leader's identity, if one is known.
    pub leader: Option<u64>,
    /// True if this node leads and has applied an entry of its own term.
    pub leads: bool,
    /// Bytes on disk.
    pub disk: jobbie_store::query::DiskUse,
    /// Room on the file system.
    pub room: super::DiskRoom,
}

impl Ports {
    /// What this node is and does now.
    ///
    /// # Errors
    /// [`PortError::Fault`] if the disk cannot be asked.
    pub async fn info(&self) -> Result<NodeInfo, PortError> {
        let disk = self.read_everything(|reader| Ok(reader.disk())).await?;
        let inner = self.inner();
        let leadership = *inner.leadership.borrow();
        Ok(NodeInfo {
            node_id: inner.node.node_id,
            durability: inner.node.durability,
            started_at: inner.node.started_at,
            applied_index: inner.reader.applied_index(),
            term: leadership.term,
            leader: leadership.leader,
            leads: leadership.leads,
            disk,
            room: inner.disk.room(),
        })
    }

    /// Waits until this node leads and answers.
    pub async fn leading(&self) {
        // The sender lives as long as these ports; without it there is nothing to wait for.
        let _ = self.inner().leadership.clone().wait_for(|leadership| leadership.leads).await;
    }

    /// True if calls can be answered: there is a leader and its log is applied.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.inner().leadership.borrow().leads && !*self.inner().stopping.borrow()
    }
}
