// SPDX-License-Identifier: Apache-2.0
//! How far the state has come: the last applied log id in every keyspace, and the membership in one.
//!
//! These are our own shapes, not openraft's: its structs may change from version to version, the disk not.

use std::collections::{BTreeMap, BTreeSet};

use openraft::Membership;
use openraft::impls::BasicNode;
use openraft::vote::RaftLeaderIdExt;
use serde::{Deserialize, Serialize};

use crate::raft::{LogId, StoredMembership};

/// A log id as it lies on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Position {
    /// The term it was proposed in.
    pub term: u64,
    /// Its place in the log.
    pub index: u64,
}

impl From<&LogId> for Position {
    fn from(id: &LogId) -> Self {
        Self { term: id.leader_id.term, index: id.index }
    }
}

impl From<Position> for LogId {
    fn from(at: Position) -> Self {
        // The committed form of a standard leader id is the term alone; the node given here is dropped.
        Self::new(openraft::impls::leader_id_std::LeaderId::new_committed(at.term, 0), at.index)
    }
}

/// How far a state has come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The last applied entry.
    pub applied: Option<Position>,
    /// The last applied membership.
    pub membership: Members,
}

/// A membership as it lies on disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Members {
    /// The entry that brought it; `None` before the first.
    pub at: Option<Position>,
    /// Groups of voters: one, or two while it changes.
    pub voters: Vec<BTreeSet<u64>>,
    /// Every voter and learner with its address.
    pub nodes: BTreeMap<u64, String>,
}

impl Members {
    /// What openraft calls it.
    #[must_use]
    pub fn stored(&self) -> StoredMembership {
        let nodes = self.nodes.iter().map(|(id, addr)| (*id, BasicNode { addr: addr.clone() }));
        // `new` refuses a membership without voters, which is what there is before the first entry.
        let membership =
            Membership::new(self.voters.clone(), nodes.collect::<BTreeMap<_, _>>()).unwrap_or_default();
        StoredMembership::new(self.at.map(LogId::from), membership)
    }

    /// A membership that an entry brought.
    #[must_use]
    pub fn new(at: Option<&LogId>, membership: &Membership<u64, BasicNode>) -> Self {
        Self {
            at: at.map(Position::from),
            voters: membership.get_joint_config().clone(),
            nodes: membership.nodes().map(|(id, node)| (*id, node.addr.clone())).collect(),
        }
    }
}

impl From<&StoredMembership> for Members {
    fn from(stored: &StoredMembership) -> Self {
        Self::new(stored.log_id().as_ref(), stored.membership())
    }
}
