// SPDX-License-Identifier: Apache-2.0
//! What others may ask of the actors: the only way from the doors to the rules and the disk.
//!
//! A port survives the restart of what is behind it. Full and restarting are answers, not waits; a write
//! whose outcome is not known says so and is never reported as failed.

mod backup;
mod caller;
mod error;
mod fetch;
mod heartbeat;
mod info;
mod view;
mod visible;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use jobbie_broker::{Command, Document, JobRef, Name, Queue, QueueKey, Reply, Submission, Timestamp};
pub use jobbie_store::blocking::forbid as forbid_blocking;
pub use jobbie_store::query::{self, Cursor, JobDetail, NamedQueue, Page, Reader};
pub use jobbie_store::{Durability, SnapshotFile};
use tokio::sync::watch;

pub use crate::dispatch::Topic;
pub use crate::dispatch::rates::QueueRates;
pub use crate::dispatch::ring::{EventId, NumberedEvent};
pub use crate::dispatch::subscription::{News, Subscription};
pub use crate::metrics::Metrics;
use crate::metrics::Sources;
pub use crate::stream::{JobStream, StreamNews, StreamRequest};
pub use crate::supervise::NodeView;
pub use crate::trace;
pub use caller::Caller;
pub use error::PortError;
pub(crate) use fetch::{Claim, Claimed, Owner};
pub(crate) use info::NodeFacts;
pub use info::NodeInfo;
pub use view::View;

use crate::clock::Clock;
use crate::disk_guard::DiskGuard;
pub use crate::disk_guard::DiskRoom;
use crate::dispatch::messages::Subscribe;
use crate::dispatch::rates::Rates;
use crate::dispatch::ring::EventRing;
use crate::queue::Queues;
use crate::raft_node::Leadership;
use crate::raft_node::proposer::Proposer;
use crate::raft_node::runtime::Raft;
use crate::scheduler::messages::Beat;
use crate::stream::Streams;
use crate::supervise::{Port, Tree};
use crate::trace::Tracer;

/// How long counters wait for dispatch: it gathers events for some milliseconds, and a restart takes about 10 ms.
const CATCH_UP: Duration = Duration::from_millis(100);

/// A place in the queue before the log: each client has a share, and in it each of its connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lane {
    /// The client; 0 is the broker itself.
    pub client: u64,
    /// The connection.
    pub connection: u64,
}

impl Lane {
    /// The broker's own upkeep, which is never refused for the sake of others.
    pub const BROKER: Self = Self { client: 0, connection: 0 };
}

/// An answer with the log index it was decided at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decided<R = Reply> {
    /// The index; callers see it as `X-Jobbie-Index`.
    pub index: u64,
    /// The answer.
    pub reply: R,
}

/// All ports together; cheap to clone.
#[derive(Clone)]
pub struct Ports {
    inner: Arc<Inner>,
}

/// What the ports lead to. Built once, by `node`.
pub(crate) struct Inner {
    pub clock: Clock,
    pub reader: Reader,
    pub proposer: Proposer,
    pub queues: Queues,
    pub beats: Port<Beat>,
    pub subscribe: Port<Subscribe>,
    pub ring: Arc<EventRing>,
    pub rates: Arc<Rates>,
    pub metrics: Arc<Metrics>,
    pub tracer: Tracer,
    pub leadership: watch::Receiver<Leadership>,
    pub stopping: watch::Sender<bool>,
    pub tree: OnceLock<Tree>,
    pub node: NodeFacts,
    pub streams: Streams,
    pub disk: Arc<DiskGuard>,
    pub raft: Arc<OnceLock<Raft>>,
    /// Held by the one call that waits for a snapshot.
    pub backup: tokio::sync::Mutex<()>,
}

impl Ports {
    pub(crate) fn new(inner: Inner) -> Self {
        Self { inner: Arc::new(inner) }
    }

    pub(crate) fn inner(&self) -> &Inner {
        &self.inner
    }

    /// Puts a command through Raft and the rules. When it answers, the outcome is committed and, in durable
    /// mode, on disk.
    ///
    /// # Errors
    /// [`PortError::Unknown`] if it may have happened, any other error if it has not;
    /// [`PortError::StorageFull`] only for commands that add jobs.
    pub async fn propose(&self, caller: &Caller, command: impl Into<Command>) -> Result<Decided, PortError> {
        let command = command.into();
        if self.inner.disk.room().full && command.adds_jobs() && !self.is_repeat(caller, &command).await? {
            self.inner.disk.admit()?;
        }
        let submission = Submission {
            by: caller.by.clone(),
            namespace: caller.namespace.clone(),
            scope: caller.scope.clone(),
            command,
        };
        let span = self.inner.tracer.child("propose");
        let name = submission.command.name();
        let decided = self.inner.proposer.propose(caller.lane, submission).await;
        if let Some(mut span) = span {
            span.set("jobbie.command", name);
            self.inner.tracer.proposed(span, &decided);
        }
        decided
    }

    /// True for an enqueue that was answered before: its answer is in the state and takes no room.
    async fn is_repeat(&self, caller: &Caller, command: &Command) -> Result<bool, PortError> {
        let Command::Enqueue(enqueue) = command else { return Ok(false) };
        let Caller { by, namespace, .. } = caller.clone();
        let id = match enqueue.jobs.as_slice() {
            [job] => job.id.clone().map(JobRef::Chosen),
            _ => None,
        };
        let request = enqueue.request.clone();
        self.read_everything(move |reader| {
            if let Some(request) = request
                && reader.is_remembered(&namespace, &by, &request)?
            {
                return Ok(true);
            }
            id.map_or(Ok(false), |id| Ok(reader.job_row(&namespace, &id)?.is_some()))
        })
        .await
    }

    /// The room on the disk, as of the last quarter of a second.
    #[must_use]
    pub fn disk_room(&self) -> DiskRoom {
        self.inner.disk.room()
    }

    /// Arms a fault point of the store (`POINT:N:crash|fail|full`), for tests of what that loses (nothing).
    ///
    /// # Errors
    /// With a sentence if the plan is none.
    pub fn arm_fault(&self, plan: &str) -> Result<(), String> {
        jobbie_store::fault_point::arm(Some(plan.parse()?));
        Ok(())
    }

    /// Asks the applied state something for a caller, on a thread that may block.
    ///
    /// # Errors
    /// [`PortError::Fault`] if the disk fails.
    pub async fn read<R: Send + 'static>(
        &self,
        caller: &Caller,
        ask: impl FnOnce(&View<'_>) -> Result<R, jobbie_store::keyspaces::Fault> + Send + 'static,
    ) -> Result<R, PortError> {
        let caller = caller.clone();
        self.read_everything(move |reader| ask(&View::new(reader, caller))).await
    }

    /// Asks the applied state something about everything in it, whoever may see that: for checks and for what
    /// concerns the whole node, never for the answer to a caller.
    ///
    /// # Errors
    /// [`PortError::Fault`] if the disk fails.
    pub async fn read_everything<R: Send + 'static>(
        &self,
        ask: impl FnOnce(&Reader) -> Result<R, jobbie_store::keyspaces::Fault> + Send + 'static,
    ) -> Result<R, PortError> {
        read(&self.inner.reader, ask).await
    }

    /// Every queue of a caller with its settings and counters, sorted by name; from memory.
    #[must_use]
    pub fn queues(&self, caller: &Caller) -> Vec<NamedQueue> {
        let mut queues = self.inner.reader.queues(&caller.namespace);
        queues.retain(|queue| caller.scope.allows(&queue.name));
        queues
    }

    /// One queue; from memory.
    ///
    /// # Errors
    /// [`PortError::Outside`].
    pub fn queue(&self, caller: &Caller, queue: &Name) -> Result<Option<Arc<Queue>>, PortError> {
        caller.may_touch(queue)?;
        Ok(self.inner.reader.queue(&QueueKey::new(&caller.namespace, queue)))
    }

    /// How fast a queue moves; not at all, if it is outside.
    #[must_use]
    pub fn rates(&self, caller: &Caller, queue: &Name) -> QueueRates {
        if !caller.scope.allows(queue) {
            return QueueRates::default();
        }
        self.inner.rates.of(&QueueKey::new(&caller.namespace, queue), self.now())
    }

    /// The news of some topics, from now on or from where an earlier subscription was, as far as they are the
    /// caller's business.
    #[must_use]
    pub fn subscribe(&self, caller: &Caller, topics: Vec<Topic>, from: Option<EventId>) -> Subscription {
        self.subscribe_to_all(topics, from).heard_by(caller.clone())
    }

    /// The same, whoever's business they are: for those who look for what they know already.
    pub(crate) fn subscribe_to_all(&self, topics: Vec<Topic>, from: Option<EventId>) -> Subscription {
        Subscription::new(self.inner.subscribe.clone(), self.inner.ring.clone(), topics, from)
    }

    /// Opens a job stream.
    ///
    /// # Errors
    /// [`PortError::Outside`], or if the leases of the worker cannot be read.
    pub async fn open_stream(&self, caller: Caller, request: StreamRequest) -> Result<JobStream, PortError> {
        request.queues.iter().try_for_each(|queue| caller.may_touch(queue))?;
        JobStream::open(self.clone(), caller, request).await
    }

    /// How fast all queues of a caller move together.
    #[must_use]
    pub fn throughput(&self, caller: &Caller) -> QueueRates {
        self.inner.rates.of_all(&caller.namespace, &caller.scope, self.now())
    }

    /// The documents of a feature, sorted by key; from memory.
    #[must_use]
    pub fn docs(&self, space: &Name) -> Vec<(Name, Arc<Document>)> {
        self.inner.reader.docs(space)
    }

    /// A number that changes after documents have: by the time a write is answered, it has.
    #[must_use]
    pub fn docs_changed(&self) -> watch::Receiver<u64> {
        self.inner.reader.docs_changed()
    }

    /// The leader's time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.inner.clock.now()
    }

    /// The counters and histograms that everything here writes to.
    #[must_use]
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.inner.metrics
    }

    /// Where spans go, if they are wanted.
    #[must_use]
    pub fn tracer(&self) -> &Tracer {
        &self.inner.tracer
    }

    /// The metrics as Prometheus text, with the queues of a caller. What was answered before is counted, unless
    /// dispatch is restarting.
    ///
    /// # Errors
    /// [`PortError::Fault`] if they cannot be read.
    pub async fn metrics_text(&self, caller: &Caller) -> Result<String, PortError> {
        let _ = tokio::time::timeout(CATCH_UP, self.inner.ring.caught_up()).await;
        let inner = self.inner.clone();
        let ask = move |reader: &Reader| {
            inner.metrics.render(&Sources {
                reader,
                tree: inner.tree.get(),
                waiting: inner.proposer.waiting(),
                now: inner.clock.now(),
                node_id: inner.node.node_id,
                durability: inner.node.durability,
                room: inner.disk.room(),
            })
        };
        let text = self.read_everything(ask).await?;
        Ok(if caller.scope.is_all() { text } else { visible::metrics(&text, &caller.scope) })
    }

    /// The last log index that is applied here.
    #[must_use]
    pub fn applied_index(&self) -> u64 {
        self.inner.reader.applied_index()
    }

    /// Becomes true when the process begins to stop: streams say `drain`, long polls end.
    #[must_use]
    pub fn stopping(&self) -> watch::Receiver<bool> {
        self.inner.stopping.subscribe()
    }

    /// Whether the process has begun to stop.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        *self.inner.stopping.borrow()
    }

    /// Tells everyone that the process begins to stop.
    pub fn begin_stopping(&self) {
        self.inner.stopping.send_replace(true);
    }

    /// The live supervisor tree, with the queues of a caller; `None` while it is being built.
    #[must_use]
    pub fn supervisors(&self, caller: &Caller) -> Option<NodeView> {
        let view = self.inner.tree.get()?.view();
        Some(if caller.scope.is_all() { view } else { visible::tree(view, &caller.scope) })
    }

    /// Makes an actor or a task of the tree block its thread, for tests of what notices it.
    ///
    /// # Errors
    /// With a sentence if there is no such child.
    pub fn hang_child(&self, path: &str, span: Duration) -> Result<(), String> {
        match self.inner.tree.get() {
            Some(tree) => tree.hang(path, span).map_err(|e| e.to_string()),
            None => Err("the tree is being built".into()),
        }
    }

    /// Makes a child of the tree crash, for tests of what that loses (nothing).
    ///
    /// # Errors
    /// With a sentence if there is no such child.
    pub fn crash_child(&self, path: &str) -> Result<(), String> {
        match self.inner.tree.get() {
            Some(tree) => tree.kill(path).map_err(|e| e.to_string()),
            None => Err("the tree is being built".into()),
        }
    }
}

/// Asks the applied state something, on a thread that may block: never on an actor's.
pub(crate) async fn read<R: Send + 'static>(
    reader: &Reader,
    ask: impl FnOnce(&Reader) -> Result<R, jobbie_store::keyspaces::Fault> + Send + 'static,
) -> Result<R, PortError> {
    let reader = reader.clone();
    match tokio::task::spawn_blocking(trace::carry_into(move || ask(&reader))).await {
        Ok(answer) => answer.map_err(|fault| PortError::Fault(fault.to_string())),
        Err(panicked) => Err(PortError::Fault(panicked.to_string())),
    }
}
