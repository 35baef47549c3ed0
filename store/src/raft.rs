// SPDX-License-Identifier: Apache-2.0
//! The one place that pins down openraft's types: ids, what an entry carries, what applying one answers.
//!
//! Standard Raft leader ids are used (one leader per term), so a log id is a term and an index. Nothing of
//! openraft's own structs is written to disk as it is; `log_storage` and `snapshot` have their own encoding.

use std::fmt;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use jobbie_broker::{Proposal, Reply};
use openraft::impls::{BasicNode, leader_id_std};

/// The types that jobbie's Raft group is made of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct TypeConfig;

/// Standard Raft: one leader per term.
pub type LeaderId = leader_id_std::LeaderId<u64, u64>;

impl openraft::RaftTypeConfig for TypeConfig {
    type D = Request;
    type R = Applied;
    type NodeId = u64;
    type Node = BasicNode;
    type Term = u64;
    type LeaderId = LeaderId;
    type Vote = openraft::impls::Vote<LeaderId>;
    type Payload = openraft::EntryPayload<Request, u64, BasicNode>;
    type Entry = openraft::Entry<<LeaderId as openraft::vote::RaftLeaderId>::Committed, Self::Payload>;
    type AsyncRuntime = openraft::impls::TokioRuntime;
    type Responder<T>
        = Callback<T>
    where
        T: Send + 'static;
    type Batch<T>
        = openraft::impls::InlineBatch<T>
    where
        T: Send + 'static;
    type ErrorSource = openraft::impls::BoxedErrorSource;
}

/// Takes the outcome of a write straight to those who wait for it, without a task in between. Dropped
/// uncalled when Raft shuts down: the outcome is then unknown.
pub struct Callback<T>(Box<dyn FnOnce(T) + Send>);

impl<T> Callback<T> {
    /// Calls `f` once, on the task that applies entries: it must not block.
    pub fn new(f: impl FnOnce(T) + Send + 'static) -> Self {
        Self(Box::new(f))
    }
}

impl<T: Send + 'static> openraft::raft::responder::Responder<TypeConfig, T> for Callback<T> {
    fn on_complete(self, result: T) {
        (self.0)(result);
    }
}

/// A term and an index.
pub type LogId = openraft::type_config::alias::LogIdOf<TypeConfig>;
/// One record of the Raft log.
pub type Entry = openraft::type_config::alias::EntryOf<TypeConfig>;
/// A vote.
pub type Vote = openraft::type_config::alias::VoteOf<TypeConfig>;
/// The voters and learners, and the log id at which they became so.
pub type StoredMembership = openraft::type_config::alias::StoredMembershipOf<TypeConfig>;
/// What a snapshot says of itself.
pub type SnapshotMeta = openraft::type_config::alias::SnapshotMetaOf<TypeConfig>;

/// A proposal as it travels through Raft: the bytes for log and wire, and what they mean for apply, so that
/// the leader never decodes what it has just encoded.
#[derive(Clone)]
pub struct Request {
    bytes: Bytes,
    proposal: Arc<Proposal>,
}

impl Request {
    /// Encodes a proposal.
    #[must_use]
    pub fn new(proposal: Proposal) -> Self {
        Self { bytes: proposal.encode().into(), proposal: Arc::new(proposal) }
    }

    /// Reads the bytes of a request.
    ///
    /// # Errors
    /// `InvalidData` if they are of a newer format or no proposal.
    pub fn decode(bytes: Bytes) -> io::Result<Self> {
        let proposal = Proposal::decode(&bytes).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
        Ok(Self { bytes, proposal: Arc::new(proposal) })
    }

    /// The encoded proposal.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The proposal.
    #[must_use]
    pub fn proposal(&self) -> &Arc<Proposal> {
        &self.proposal
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Request({} commands, {} bytes)", self.proposal.submissions.len(), self.bytes.len())
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What applying one entry answers: one reply per submission, none for entries of Raft's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// The replies, in the order of the submissions.
    pub replies: Vec<Reply>,
}
