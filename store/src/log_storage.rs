// SPDX-License-Identifier: Apache-2.0
//! The log as openraft wants it, and how openraft's entries, memberships and votes become bytes.
//!
//! ```text
//! append       queued and readable at once; IOFlushed comes from the writer thread after the sync
//! save_vote    returns after the sync
//! truncate, purge   return after the sync (rare: a new leader, a snapshot)
//! save_committed    a note in memory that goes along with the next write
//! reads        decoded entries from the tail cache; older ones from disk, on a blocking thread
//! ```
//!
//! Nothing of openraft's is written as it is. Bodies, all numbers little endian:
//!
//! ```text
//! blank        nothing
//! normal       the request's own bytes, which start with the broker's format version
//! membership   1 · configs u8 · per config: voters u16, ids u64 … · nodes u16 · per node: id u64, length u16, address
//! vote         1 · term u64 · node u64 · committed u8
//! ```
//!
//! `store/tests/log_golden.rs` pins these bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, Range, RangeBounds};
use std::path::Path;
use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes};
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use openraft::errors::LeaderChanged;
use openraft::impls::{BasicNode, leader_id_std};
use openraft::storage::{IOFlushed, LeaderBoundedStreamError, LogState, RaftLogStorage};
use openraft::type_config::alias::LeaderIdOf;
use openraft::vote::RaftLeaderId;
use openraft::{EntryPayload, Membership, OptionalSend, RaftLogReader};
use tokio::sync::{oneshot, watch};

use crate::keyspaces::Position;
use crate::log::disk::Disk;
use crate::log::{Callback, Item, Kind, Log, Mark, Record};
pub use crate::log::{LogError, LogObserver, LogOptions, LogStats};
use crate::raft::{Entry, LogId, Request, TypeConfig, Vote};

/// The version of the encoding of memberships and votes.
const VERSION: u8 = 1;

/// How much is read at once for a stream or a limited read: enough that a lagging follower is fed at disk
/// speed, little enough that it holds up nobody's memory.
const CHUNK: usize = 4 << 20;

/// The log of a node. Clones share it.
#[derive(Clone)]
pub struct LogStore {
    log: Log<Entry>,
}

impl LogStore {
    /// Opens or makes the log in `dir`, and checks all of it. Blocks for as long as it takes to read it.
    ///
    /// # Errors
    /// If the log is corrupt, or the file system fails.
    pub fn open(
        dir: &Path,
        options: LogOptions,
        observer: Option<Arc<dyn LogObserver>>,
    ) -> Result<Self, LogError> {
        Ok(Self { log: Log::open(dir, options, observer)? })
    }

    /// The same on another disk; the seam for tests.
    ///
    /// # Errors
    /// If the log is corrupt, or the disk fails.
    pub fn open_on(
        disk: Arc<dyn Disk>,
        dir: &Path,
        options: LogOptions,
        observer: Option<Arc<dyn LogObserver>>,
    ) -> Result<Self, LogError> {
        Ok(Self { log: Log::open_on(disk, dir, options, observer)? })
    }

    /// Writes and syncs what waits, and ends the log's threads. Later calls fail. Blocks.
    pub fn shutdown(&self) {
        self.log.shutdown();
    }

    /// What the log takes up.
    #[must_use]
    pub fn stats(&self) -> LogStats {
        self.log.stats()
    }

    /// Why the log has failed, if it has. A failed log never recovers; the process has to end.
    #[must_use]
    pub fn failed(&self) -> Option<String> {
        self.log.failed()
    }

    /// Tells when the log fails.
    #[must_use]
    pub fn failure(&self) -> watch::Receiver<Option<String>> {
        self.log.failure()
    }

    /// Reads every living entry, for what checksums cannot say: that it is an entry of ours. Blocks.
    ///
    /// # Errors
    /// If one cannot be read.
    pub fn check_entries(&self) -> io::Result<u64> {
        let mut checked = 0;
        let mut next = 0;
        loop {
            let entries = self.log.read(next..u64::MAX, CHUNK)?;
            let Some(last) = entries.last() else { return Ok(checked) };
            checked += entries.len() as u64;
            next = last.log_id.index + 1;
        }
    }

    /// Has an empty log go on behind an entry that it never had, with a vote of its term for this node, so that
    /// the next term is a later one. Blocks until both are on disk.
    pub(crate) fn begin_behind(&self, at: Position, node: u64) -> io::Result<()> {
        let leader_id = leader_id_std::LeaderId { term: at.term, voted_for: node };
        let vote = encode_vote(&Vote { leader_id, committed: false });
        waited(|done| self.log.save_vote(vote, done))?;
        waited(|done| self.log.purge(Mark { term: at.term, index: at.index }, done))
    }

    /// Reads on this thread if all is in memory, else on one that may block.
    async fn read(&self, wanted: Range<u64>, budget: usize) -> io::Result<Vec<Entry>> {
        if self.log.is_cached(&wanted) {
            return self.log.read(wanted, budget);
        }
        let log = self.log.clone();
        tokio::task::spawn_blocking(move || log.read(wanted, budget)).await.map_err(io::Error::other)?
    }

    fn vote(&self) -> io::Result<Option<Vote>> {
        self.log.vote().map(|bytes| decode_vote(&bytes)).transpose()
    }

    /// Entries in chunks; a hole between two chunks, which only a purge can make, is an error.
    fn chunks(&self, wanted: Range<u64>) -> impl Stream<Item = io::Result<Vec<Entry>>> + Send + use<> {
        let store = self.clone();
        stream::try_unfold((store, wanted, None::<u64>), |(store, wanted, expected)| async move {
            let chunk = store.read(wanted.clone(), CHUNK).await?;
            let (Some(first), Some(last)) = (chunk.first(), chunk.last()) else { return Ok(None) };
            if let Some(expected) = expected.filter(|expected| *expected != first.log_id.index) {
                return Err(io::Error::other(format!("entry {expected} was purged while it was read")));
            }
            let next = last.log_id.index + 1;
            Ok(Some((chunk, (store, next..wanted.end, Some(next)))))
        })
    }
}

/// Runs a call of the log and waits for its callback.
async fn completed(call: impl FnOnce(Callback) -> io::Result<()>) -> io::Result<()> {
    let (sender, receiver) = oneshot::channel();
    call(Box::new(move |result| {
        sender.send(result).ok();
    }))?;
    receiver.await.map_err(|_| io::Error::other("the log is gone"))?
}

/// The same for who may block.
fn waited(call: impl FnOnce(Callback) -> io::Result<()>) -> io::Result<()> {
    let (sender, receiver) = std::sync::mpsc::channel();
    call(Box::new(move |result| {
        sender.send(result).ok();
    }))?;
    receiver.recv().map_err(|_| io::Error::other("the log is gone"))?
}

fn to_range(range: &impl RangeBounds<u64>) -> Range<u64> {
    let start = match range.start_bound() {
        Bound::Included(index) => *index,
        Bound::Excluded(index) => index.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(index) => index.saturating_add(1),
        Bound::Excluded(index) => *index,
        Bound::Unbounded => u64::MAX,
    };
    start..end
}

fn to_mark(id: &LogId) -> Mark {
    Mark { term: id.leader_id.term, index: id.index }
}

fn to_log_id(mark: Mark) -> LogId {
    LogId {
        leader_id: leader_id_std::LeaderId { term: mark.term, voted_for: 0 }.to_committed(),
        index: mark.index,
    }
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn leader_bounded_stream<RB>(
        &mut self,
        leader: LeaderIdOf<TypeConfig>,
        range: RB,
    ) -> impl Stream<Item = Result<Entry, LeaderBoundedStreamError<TypeConfig>>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let store = self.clone();
        let is_led = move || match store.vote() {
            Ok(Some(vote)) if vote.leader_id == leader && vote.committed => Ok(()),
            Ok(vote) => Err(LeaderBoundedStreamError::LeaderChanged(LeaderChanged::new(leader, vote))),
            Err(error) => Err(LeaderBoundedStreamError::IoError(error)),
        };
        // The vote is checked before the first read and after each, before its entries are given out.
        let before = is_led();
        let chunks = self.chunks(to_range(&range)).map_err(LeaderBoundedStreamError::IoError);
        let chunks = chunks.map(move |chunk| is_led().and(chunk));
        stream::iter(before.err().map(Err::<Vec<Entry>, _>))
            .chain(chunks)
            .scan(false, |ended, chunk| {
                let previous = std::mem::replace(ended, chunk.is_err());
                std::future::ready((!previous).then_some(chunk))
            })
            .map_ok(|chunk| stream::iter(chunk.into_iter().map(Ok)))
            .try_flatten()
    }

    async fn entries_stream<RB>(&mut self, range: RB) -> impl Stream<Item = io::Result<Entry>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        self.chunks(to_range(&range)).map_ok(|chunk| stream::iter(chunk.into_iter().map(Ok))).try_flatten()
    }

    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> io::Result<Vec<Entry>> {
        self.read(to_range(&range), usize::MAX).await
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        self.vote()
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        self.read(start..end, CHUNK).await
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<TypeConfig>> {
        let (purged, last) = self.log.bounds();
        Ok(LogState { last_purged_log_id: purged.map(to_log_id), last_log_id: last.map(to_log_id) })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        completed(|done| self.log.save_vote(encode_vote(vote), done)).await
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        self.log.save_committed(committed.as_ref().map(to_mark))
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        Ok(self.log.committed().map(to_log_id))
    }

    async fn append<E>(&mut self, entries: E, callback: IOFlushed<TypeConfig>) -> io::Result<()>
    where
        E: IntoIterator<Item = Entry> + OptionalSend,
        E::IntoIter: OptionalSend,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        self.log.append(entries, Box::new(move |result| callback.io_completed(result)))
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        completed(|done| self.log.truncate_after(last.as_ref().map(to_mark), done)).await
    }

    async fn purge(&mut self, upto: LogId) -> io::Result<()> {
        completed(|done| self.log.purge(to_mark(&upto), done)).await
    }
}

impl Item for Entry {
    fn to_record(&self) -> Record {
        let (kind, body) = match &self.payload {
            EntryPayload::Blank => (Kind::Blank, Bytes::new()),
            EntryPayload::Normal(request) => (Kind::Normal, request.bytes().clone()),
            EntryPayload::Membership(membership) => (Kind::Membership, encode_membership(membership)),
        };
        Record { kind, term: self.log_id.leader_id.term, index: self.log_id.index, body }
    }

    fn from_record(record: Record) -> io::Result<Self> {
        let log_id = to_log_id(record.mark());
        let payload = match record.kind {
            Kind::Blank => EntryPayload::Blank,
            Kind::Normal => EntryPayload::Normal(Request::decode(record.body)?),
            Kind::Membership => EntryPayload::Membership(decode_membership(&record.body)?),
            kind => return Err(invalid(format!("a record of kind {kind:?} is no entry"))),
        };
        Ok(Self { log_id, payload })
    }
}

fn encode_vote(vote: &Vote) -> Bytes {
    let mut out = Vec::with_capacity(18);
    out.put_u8(VERSION);
    out.put_u64_le(vote.leader_id.term);
    out.put_u64_le(vote.leader_id.voted_for);
    out.put_u8(u8::from(vote.committed));
    out.into()
}

fn decode_vote(mut bytes: &[u8]) -> io::Result<Vote> {
    version(&mut bytes)?;
    let leader_id = leader_id_std::LeaderId {
        term: bytes.try_get_u64_le().map_err(short)?,
        voted_for: bytes.try_get_u64_le().map_err(short)?,
    };
    let committed = bytes.try_get_u8().map_err(short)? != 0;
    ended(bytes)?;
    Ok(Vote { leader_id, committed })
}

fn encode_membership(membership: &Membership<u64, BasicNode>) -> Bytes {
    let mut out = Vec::new();
    out.put_u8(VERSION);
    let configs = membership.get_joint_config();
    out.put_u8(u8::try_from(configs.len()).expect("a joint configuration has two parts"));
    for config in configs {
        out.put_u16_le(u16::try_from(config.len()).expect("a cluster has fewer than 65,536 voters"));
        for id in config {
            out.put_u64_le(*id);
        }
    }
    let nodes: Vec<_> = membership.nodes().collect();
    out.put_u16_le(u16::try_from(nodes.len()).expect("a cluster has fewer than 65,536 nodes"));
    for (id, node) in nodes {
        out.put_u64_le(*id);
        out.put_u16_le(u16::try_from(node.addr.len()).expect("an address is shorter than 64 KiB"));
        out.put_slice(node.addr.as_bytes());
    }
    out.into()
}

fn decode_membership(mut bytes: &[u8]) -> io::Result<Membership<u64, BasicNode>> {
    version(&mut bytes)?;
    let mut configs = Vec::new();
    for _ in 0..bytes.try_get_u8().map_err(short)? {
        let mut voters = BTreeSet::new();
        for _ in 0..bytes.try_get_u16_le().map_err(short)? {
            voters.insert(bytes.try_get_u64_le().map_err(short)?);
        }
        configs.push(voters);
    }
    let mut nodes = BTreeMap::new();
    for _ in 0..bytes.try_get_u16_le().map_err(short)? {
        let id = bytes.try_get_u64_le().map_err(short)?;
        let length = usize::from(bytes.try_get_u16_le().map_err(short)?);
        let (addr, rest) =
            bytes.split_at_checked(length).ok_or_else(|| invalid("the record is too short"))?;
        let addr = std::str::from_utf8(addr).map_err(|e| invalid(e.to_string()))?.to_string();
        nodes.insert(id, BasicNode { addr });
        bytes = rest;
    }
    ended(bytes)?;
    Membership::new(configs, nodes).map_err(|e| invalid(e.to_string()))
}

fn version(bytes: &mut &[u8]) -> io::Result<()> {
    match bytes.try_get_u8().map_err(short)? {
        VERSION => Ok(()),
        other => {
            Err(invalid(format!("the record has format version {other}, this build reads version {VERSION}")))
        }
    }
}

fn ended(bytes: &[u8]) -> io::Result<()> {
    if bytes.is_empty() { Ok(()) } else { Err(invalid("the record is too long")) }
}

fn short(_: bytes::TryGetError) -> io::Error {
    invalid("the record is too short")
}

fn invalid(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}
