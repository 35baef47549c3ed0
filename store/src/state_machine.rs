// SPDX-License-Identifier: Apache-2.0
//! The state, as Raft drives it: committed entries in, replies and events out, snapshots both ways.
//!
//! ```text
//! entries ready ──► broker::apply_proposal, one after the other ──► changed rows in memory
//!                                                                      │         │ in the background,
//!                 queue rows and applied index visible ◄───────────────┘         │ or when a reader needs it
//!                          │                                                     ▼
//!                 sink told ──► replies sent                          one fjall batch with the last log id
//! ```
//!
//! A1: an entry is applied exactly once to a state, because whatever is written of it is written in one batch
//! with its log id. A crash takes the state back to the last batch; the entries behind it are applied again,
//! with the same replies, events and event numbers.
//! A2: a fault stops here for good. Nothing is skipped, no later entry is applied and nothing is written any
//! more: openraft ends with the error, and the process with it.

mod group;
mod live;
mod writer;

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::Stream;
use jobbie_broker::apply::apply_proposal;
use jobbie_broker::{Event, Timestamp};
use openraft::entry::EntryPayload;
use openraft::storage::{ApplyResponder, EntryResponder, RaftStateMachine};
use openraft::{OptionalSend, RaftSnapshotBuilder};

use crate::fault_point::{FaultPoint, hit};
use crate::keyspaces::{Fault, Mark, Members, Position};
use crate::open::StateDirs;
use crate::raft::{Applied, LogId, SnapshotMeta, StoredMembership, TypeConfig};
use crate::snapshot::{SnapshotDir, SnapshotFile};
use crate::tables::View;
use group::Group;
pub(crate) use live::{Live, Shared};
use writer::Writer;

/// What one Raft entry brought about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppliedEntry {
    /// The entry's index.
    pub index: u64,
    /// The time it was applied at.
    pub at: Timestamp,
    /// What happened, in order.
    pub events: Vec<Event>,
}

/// A group of entries that were applied and committed to the state together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AppliedGroup {
    /// The index of its first entry.
    pub first: u64,
    /// The index of its last entry.
    pub last: u64,
    /// When applying it began.
    pub began: Instant,
    /// How long applying it took.
    pub took: Duration,
}

/// Who hears of applied entries.
pub trait ApplySink: Send + Sync + 'static {
    /// Called once per group with the entries that carried commands, after their batch is committed and
    /// before their replies are sent. Must not block: the next group waits for it.
    fn applied(&self, entries: Vec<AppliedEntry>);

    /// Called once per group, before the replies of its entries are sent. Must not block.
    fn measured(&self, group: &AppliedGroup) {
        let _ = group;
    }
}

/// A snapshot as openraft passes it on.
pub type Snapshot = openraft::type_config::alias::SnapshotOf<TypeConfig, SnapshotFile>;

/// The state, as Raft drives it.
pub struct StateMachine {
    live: Arc<Live>,
    writer: Writer,
    mark: Mark,
    shared: Arc<Shared>,
    states: StateDirs,
    sink: Arc<dyn ApplySink>,
    failed: bool,
}

/// What an entry leaves to be done once its group is committed.
type Pending = (ApplyResponder<TypeConfig>, Applied);

impl StateMachine {
    pub(crate) fn new(
        mark: Mark,
        shared: Arc<Shared>,
        states: StateDirs,
        sink: Arc<dyn ApplySink>,
    ) -> io::Result<Self> {
        shared.mark(mark.applied.map(|at| at.index));
        let writer = Writer::start(shared.clone())?;
        Ok(Self { live: shared.live(), writer, mark, shared, states, sink, failed: false })
    }

    fn apply_group(&mut self, group: Group) -> Result<(), Fault> {
        let mut tables = self.live.tables()?;
        tables.begin_group();
        let log_bytes = group.bytes;
        let mut replies: Vec<Pending> = Vec::with_capacity(group.entries.len());
        let mut applied: Vec<AppliedEntry> = Vec::with_capacity(group.entries.len());
        let mut members = None;
        let (began, mut first) = (Instant::now(), None);
        let mut last = self.mark.applied;
        for (entry, responder) in group.entries {
            let at = Position::from(&entry.log_id);
            if last.is_some_and(|last| at.index <= last.index) {
                let last = last.map_or(0, |last| last.index);
                let text =
                    format!("entry {} is to be applied, but the state has come to {last} already", at.index);
                return Err(Fault::Contradiction(text));
            }
            last = Some(at);
            first.get_or_insert(at.index);
            let mut answer = Applied::default();
            match &entry.payload {
                EntryPayload::Blank => {}
                EntryPayload::Membership(membership) => {
                    members = Some(Members::new(Some(&entry.log_id), membership))
                }
                EntryPayload::Normal(request) => {
                    let outcomes = apply_proposal(&mut *tables, at.index, request.proposal())?;
                    let mut events = Vec::new();
                    for outcome in outcomes {
                        answer.replies.push(outcome.reply);
                        if events.is_empty() {
                            events = outcome.events
                        } else {
                            events.extend(outcome.events)
                        }
                    }
                    applied.push(AppliedEntry { index: at.index, at: tables.meta().last_at, events });
                }
            }
            replies.extend(responder.map(|responder| (responder, answer)));
        }
        let Some(at) = last else { return Err(Fault::Contradiction("a group without entries".to_owned())) };
        let committed = tables.end_group(at, members.as_ref(), log_bytes);
        let (full, behind) = (tables.is_full(), tables.is_behind());
        drop(tables);
        let is_first = self.mark.applied.replace(at).is_none();
        if let Some(members) = members {
            self.mark.membership = members;
        }
        self.shared.publish(committed, at.index);
        let first = first.unwrap_or(at.index);
        self.sink.measured(&AppliedGroup { first, last: at.index, began, took: began.elapsed() });
        // First the news: whoever begins to listen after an answer does not hear of what it answered.
        if !applied.is_empty() {
            self.sink.applied(applied);
        }
        for (responder, answer) in replies {
            responder.send(answer);
        }
        if full {
            self.writer.wake();
        }
        // Else memory has no bound when rows change faster than they can be written. And the first group ever is
        // written at once: a state that has come nowhere would not show that its log is gone.
        if behind || is_first { self.live.write() } else { Ok(()) }
    }

    fn refuse_after_fault(&self) -> io::Result<()> {
        if self.failed {
            return Err(io::Error::other("applying has failed before; the process must be started again"));
        }
        Ok(())
    }
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotData = SnapshotFile;
    type SnapshotBuilder = SnapshotBuilder;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        Ok((self.mark.applied.map(LogId::from), self.mark.membership.stored()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<TypeConfig>>> + Unpin + OptionalSend,
    {
        self.refuse_after_fault()?;
        while let Some(group) = Group::next(&mut entries).await? {
            if let Err(fault) = self.apply_group(group) {
                tracing::error!(error = %fault, applied = ?self.mark.applied, "applying failed");
                self.failed = true;
                return Err(fault.into());
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder {
        let (live, dir) = (self.live.clone(), self.shared.snapshots.clone());
        let shown = blocking(move || {
            // The mark is read from the view: it says how far the view has come, whatever is applied now.
            let view = live.view()?;
            let mark = live.keyspaces.mark(view.snapshot())?;
            Ok((live, view, mark))
        });
        SnapshotBuilder { shown: shown.await, dir }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: SnapshotFile) -> io::Result<()> {
        self.refuse_after_fault()?;
        let asked = Mark {
            applied: meta.last_log_id.as_ref().map(Position::from),
            membership: (&meta.last_membership).into(),
        };
        if asked != *snapshot.mark() {
            let text = format!(
                "snapshot {} is of {:?}, not of {asked:?}",
                snapshot.path().display(),
                snapshot.mark()
            );
            return Err(Fault::Contradiction(text).into());
        }
        let (states, dir) = (self.states.clone(), self.shared.snapshots.clone());
        let loaded = blocking(move || {
            let built = states.build(&snapshot)?;
            hit(FaultPoint::InstallBuilt).map_err(Fault::io("install", snapshot.path()))?;
            // First the file, then the pointer: whichever is missing after a crash is made up from the other.
            dir.adopt(&snapshot)?;
            hit(FaultPoint::InstallAdopted).map_err(Fault::io("install", snapshot.path()))?;
            states.point_to(&built)?;
            let tables = states.tables(built.clone())?;
            Ok((built, tables))
        });
        let (keyspaces, tables) = loaded.await?;
        self.live = self.shared.replace(keyspaces, tables, asked.applied.map(|at| at.index));
        self.mark = asked;
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot>> {
        let newest = self.shared.snapshots.newest()?;
        Ok(newest.map(passed_on))
    }
}

impl Drop for StateMachine {
    /// An orderly end leaves nothing to be applied again.
    fn drop(&mut self) {
        if !self.failed
            && let Err(fault) = self.live.write()
        {
            tracing::warn!(error = %fault, "the end of the log will be applied again at the next start");
        }
    }
}

/// Writes one snapshot, of the moment at which it was made.
pub struct SnapshotBuilder {
    shown: io::Result<(Arc<Live>, View, Mark)>,
    dir: SnapshotDir,
}

impl RaftSnapshotBuilder<TypeConfig> for SnapshotBuilder {
    type SnapshotData = SnapshotFile;

    async fn build_snapshot(&mut self) -> io::Result<Snapshot> {
        let taken =
            std::mem::replace(&mut self.shown, Err(io::Error::other("this snapshot was built already")));
        let ((live, view, mark), dir) = (taken?, self.dir.clone());
        let file = blocking(move || dir.write(&live.keyspaces, view.snapshot(), &mark)).await?;
        Ok(passed_on(file))
    }
}

fn passed_on(file: SnapshotFile) -> Snapshot {
    let mark = file.mark();
    let meta = SnapshotMeta {
        last_log_id: mark.applied.map(LogId::from),
        last_membership: mark.membership.stored(),
    };
    Snapshot { meta, snapshot: file }
}

async fn blocking<R: Send + 'static>(
    work: impl FnOnce() -> Result<R, Fault> + Send + 'static,
) -> io::Result<R> {
    let done = tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?;
    Ok(done?)
}
