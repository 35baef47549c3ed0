// SPDX-License-Identifier: Apache-2.0
//! What others may ask of the actors: the only way from the doors to the rules and the disk.
//!
//! A port survives the restart of what is behind it. Full and restarting are answers, not waits; a write
//! whose outcome is not known says so and is never reported as failed.

mod error;
mod fetch;
mod heartbeat;
mod info;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use jobbie_broker::{Command, Name, Queue, QueueKey, Reply, Submission, Timestamp};
pub use jobbie_store::Durability;
pub use jobbie_store::blocking::forbid as forbid_blocking;
pub use jobbie_store::query::{self, Cursor, JobDetail, JobFilter, NamedQueue, Page, Reader};
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
pub use error::PortError;
pub(crate) use fetch::{Claim, Claimed, Owner};
pub(crate) use info::NodeFacts;
pub use info::NodeInfo;

use crate::clock::Clock;
use crate::dispatch::messages::Subscribe;
use crate::dispatch::rates::Rates;
use crate::dispatch::ring::EventRing;
use crate::queue::Queues;
use crate::raft_node::Leadership;
use crate::raft_node::proposer::Proposer;
use crate::scheduler::messages::Beat;
use crate::stream::Streams;
use crate::supervise::{Port, Tree};
use crate::trace::Tracer;

/// How long counters wait for dispatch: it gathers events for some milliseconds, and a restart takes about 10 ms.
const CATCH_UP: Duration = Duration::from_millis(100);

/// Who calls, and in which namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The principal: a key's name, `anonymous` when there are no keys, `broker` for upkeep.
    pub by: Name,
    /// The namespace.
    pub namespace: Name,
    /// Whose turn its commands take when more is waiting than fits into one entry.
    pub lane: Lane,
}

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

impl Caller {
    /// The broker itself, which tends to its own state.
    #[must_use]
    pub fn broker() -> Self {
        let namespace = jobbie_broker::id::DEFAULT_NAMESPACE.into();
        Self { by: "broker".into(), namespace, lane: Lane::BROKER }
    }
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
    /// [`PortError::Unknown`] if it may have happened, any other error if it has not.
    pub async fn propose(&self, caller: &Caller, command: impl Into<Command>) -> Result<Decided, PortError> {
        let submission = Submission {
            by: caller.by.clone(),
            namespace: caller.namespace.clone(),
            command: command.into(),
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

    /// Asks the applied state something, on a thread that may block.
    ///
    /// # Errors
    /// [`PortError::Fault`] if the disk fails.
    pub async fn read<R: Send + 'static>(
        &self,
        ask: impl FnOnce(&Reader) -> Result<R, jobbie_store::keyspaces::Fault> + Send + 'static,
    ) -> Result<R, PortError> {
        read(&self.inner.reader, ask).await
    }

    /// Every queue of a namespace with its settings and counters, sorted by name; from memory.
    #[must_use]
    pub fn queues(&self, namespace: &Name) -> Vec<NamedQueue> {
        self.inner.reader.queues(namespace)
    }

    /// One queue; from memory.
    #[must_use]
    pub fn queue(&self, key: &QueueKey) -> Option<Arc<Queue>> {
        self.inner.reader.queue(key)
    }

    /// How fast a queue moves.
    #[must_use]
    pub fn rates(&self, key: &QueueKey) -> QueueRates {
        self.inner.rates.of(key, self.now())
    }

    /// The news of some topics, from now on or from where an earlier subscription was.
    #[must_use]
    pub fn subscribe(&self, topics: Vec<Topic>, from: Option<EventId>) -> Subscription {
        Subscription::new(self.inner.subscribe.clone(), self.inner.ring.clone(), topics, from)
    }

    /// Opens a job stream.
    ///
    /// # Errors
    /// If the leases of the worker cannot be read.
    pub async fn open_stream(&self, caller: Caller, request: StreamRequest) -> Result<JobStream, PortError> {
        JobStream::open(self.clone(), caller, request).await
    }

    /// How fast all queues of a namespace move together.
    #[must_use]
    pub fn throughput(&self, namespace: &Name) -> QueueRates {
        self.inner.rates.of_all(namespace, self.now())
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

    /// All metrics as Prometheus text. What was answered before is counted, unless dispatch is restarting.
    ///
    /// # Errors
    /// [`PortError::Fault`] if they cannot be read.
    pub async fn metrics_text(&self) -> Result<String, PortError> {
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
            })
        };
        self.read(ask).await
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

    /// The live supervisor tree; `None` while it is being built.
    #[must_use]
    pub fn supervisors(&self) -> Option<NodeView> {
        self.inner.tree.get().map(Tree::view)
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
