// SPDX-License-Identifier: Apache-2.0
//! Puts a node together: the store, the ports, and the children that the tree is made of.
//!
//! What is shared between lives of children (ports, ring, alarm, rates) is made here once; the children are
//! made by their supervisor, again for each life.

use std::io;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use jobbie_broker::Millis;
use jobbie_store::{OpenError, Opened, Reader};
use tokio::sync::watch;

use crate::applied::Hearers;
use crate::clock::Clock;
use crate::disk_guard::DiskGuard;
use crate::dispatch::rates::Rates;
use crate::dispatch::ring::EventRing;
use crate::dispatch::{Dispatch, DispatchParts};
use crate::metrics::Metrics;
use crate::ports::{Inner, NodeFacts, Ports};
use crate::queue::Queues;
use crate::raft_node::proposer::{Proposer, ProposerLoop};
use crate::raft_node::runtime::Raft;
use crate::raft_node::{Leadership, RaftNode, RaftRuntime, SNAPSHOT_AFTER};
use crate::scheduler::{Alarm, Scheduler, SchedulerParts};
use crate::seams::Extension;
use crate::stream::Streams;
use crate::supervise::{ChildSpec, Children, Slot, Tree, actor, task};
use crate::trace::Tracer;
use crate::tree::tree;

/// Messages that may wait for the scheduler, and subscriptions that may wait for dispatch.
const MAILBOX: usize = 4096;
/// How long Raft may take to finish what is in flight when the process stops.
const RAFT_PATIENCE: Duration = Duration::from_secs(3);

/// How a node is set up.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the data lies and what acknowledged means.
    pub store: jobbie_store::Options,
    /// Finished jobs are removed after this long; `None` keeps them for ever.
    pub retention: Option<Millis>,
    /// Of each queue's jobs in each terminal state that many stay, the ones that finished last; `None` keeps all.
    pub retention_count: Option<u64>,
    /// Bytes of free disk below which new jobs are refused; 0 never refuses.
    pub disk_reserve: u64,
    /// Bytes of log after which a snapshot is taken and the log behind it is removed.
    pub snapshot_after: u64,
    /// Where spans go; off unless somebody wants them.
    pub tracer: Tracer,
}

impl Settings {
    /// The defaults for a store: finished jobs stay, no disk space is kept back, and snapshots are taken as rarely
    /// as disk space allows.
    #[must_use]
    pub fn new(store: jobbie_store::Options) -> Self {
        Self {
            store,
            retention: None,
            retention_count: None,
            disk_reserve: 0,
            snapshot_after: SNAPSHOT_AFTER,
            tracer: Tracer::default(),
        }
    }
}

/// A node whose store is open and whose tree has not been started.
pub struct Node {
    ports: Ports,
    parts: Parts,
}

/// What the children of the tree are made of.
pub struct Parts {
    opened: Arc<Mutex<Option<(Opened, ProposerLoop)>>>,
    log: jobbie_store::log_storage::LogStore,
    raft: Arc<OnceLock<Raft>>,
    reader: Reader,
    clock: Clock,
    metrics: Arc<Metrics>,
    leadership: Arc<watch::Sender<Leadership>>,
    dispatch: (Slot<Dispatch>, DispatchParts),
    scheduler: (Slot<Scheduler>, SchedulerParts),
    watcher: Slot<RaftNode>,
    snapshot_after: u64,
    queues: Queues,
    disk: Arc<DiskGuard>,
}

impl Node {
    /// Opens the store, which recovers it, and prepares everything else. May take as long as the disk does.
    ///
    /// # Errors
    /// If the data directory cannot be opened.
    pub fn open(settings: &Settings) -> Result<Self, OpenError> {
        let ring = Arc::new(EventRing::default());
        let metrics = Arc::new(Metrics::default());
        let tracer = settings.tracer.clone();
        let hearers = Arc::new(Hearers::new(ring.clone(), metrics.clone(), tracer.clone()));
        let opened = jobbie_store::open(&settings.store, hearers.clone(), Some(metrics.clone()))?;
        let clock = Clock::system(opened.reader.meta().last_at);
        ring.start_after(opened.report.applied.unwrap_or(0));
        let (reader, log, node_id) = (opened.reader.clone(), opened.log.clone(), opened.node_id);
        let (proposer, proposals) = Proposer::new();
        let leadership = Arc::new(watch::Sender::new(Leadership::default()));
        let queues = Queues::new(reader.clone(), clock.clone(), proposer.clone());
        hearers.tell(queues.clone());
        let (alarm, rates) = (Arc::new(Alarm::default()), Arc::new(Rates::default()));
        let raft: Arc<OnceLock<Raft>> = Arc::default();
        let disk =
            Arc::new(DiskGuard::new(&settings.store.dir, settings.disk_reserve, metrics.storage_refused()));
        let (dispatch, scheduler) = (Slot::new(MAILBOX), Slot::new(MAILBOX));
        let ports = Ports::new(Inner {
            clock: clock.clone(),
            reader: reader.clone(),
            proposer: proposer.clone(),
            queues: queues.clone(),
            beats: scheduler.port(),
            subscribe: dispatch.port(),
            ring: ring.clone(),
            rates: rates.clone(),
            metrics: metrics.clone(),
            tracer,
            leadership: leadership.subscribe(),
            stopping: watch::Sender::new(false),
            tree: OnceLock::new(),
            node: NodeFacts { node_id, durability: settings.store.durability, started_at: clock.now() },
            streams: Streams::default(),
            disk: disk.clone(),
            raft: raft.clone(),
            backup: tokio::sync::Mutex::default(),
        });
        let dispatch_parts = DispatchParts {
            known: log.stats().last_index.unwrap_or(0),
            ring,
            alarm: alarm.clone(),
            rates: rates.clone(),
            metrics: metrics.clone(),
            clock: clock.clone(),
        };
        let scheduler_parts = SchedulerParts {
            clock: clock.clone(),
            reader: reader.clone(),
            proposer,
            alarm,
            leadership: leadership.subscribe(),
            retention: settings.retention,
            retention_count: settings.retention_count,
            rates,
        };
        let parts = Parts {
            opened: Arc::new(Mutex::new(Some((opened, proposals)))),
            log,
            raft,
            reader,
            clock,
            metrics,
            leadership,
            dispatch: (dispatch, dispatch_parts),
            scheduler: (scheduler, scheduler_parts),
            watcher: Slot::new(1),
            snapshot_after: settings.snapshot_after,
            queues,
            disk,
        };
        Ok(Self { ports, parts })
    }

    /// The ports; they answer "unavailable" until the tree runs.
    #[must_use]
    pub fn ports(&self) -> &Ports {
        &self.ports
    }

    /// The clock that everything here goes by, for tests of what happens in a day.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.parts.clock
    }

    /// Starts the tree with the children that others add: those of optional features, and the HTTP server.
    ///
    /// # Errors
    /// If the operating system gives no thread.
    pub fn start(self, extensions: &[Box<dyn Extension>], http: ChildSpec) -> io::Result<Tree> {
        let optional = extensions.iter().flat_map(|extension| extension.children(&self.ports)).collect();
        let tree = Tree::start(tree(&self.parts, optional, http))?;
        let first = self.ports.inner().tree.set(tree.clone()).is_ok();
        debug_assert!(first, "a node is started once: `start` consumes it");
        Ok(tree)
    }
}

impl Parts {
    /// The log: its threads are running; this watches them, and closes the log last of all.
    pub(crate) fn log(&self) -> ChildSpec {
        let log = self.log.clone();
        task("log", move |start| {
            let log = log.clone();
            async move {
                start.ready();
                let mut failure = log.failure();
                let failed = tokio::select! {
                    failed = failure.wait_for(Option::is_some) => {
                        failed.ok().and_then(|reason| reason.clone())
                    }
                    () = start.stopping() => None,
                };
                let closing = log.clone();
                let _ = tokio::task::spawn_blocking(move || closing.shutdown()).await;
                match failed {
                    Some(reason) => Err(format!("the log cannot be written: {reason}")),
                    None => Ok(()),
                }
            }
        })
        .family("raft-node")
    }

    /// openraft on its own runtime.
    pub(crate) fn raft_runtime(&self) -> ChildSpec {
        let (opened, handle) = (self.opened.clone(), self.raft.clone());
        let (clock, metrics, queues) = (self.clock.clone(), self.metrics.clone(), self.queues.clone());
        task("raft-runtime", move |start| {
            let (opened, handle) = (opened.clone(), handle.clone());
            let (clock, metrics, queues) = (clock.clone(), metrics.clone(), queues.clone());
            async move {
                let taken = opened.lock().unwrap_or_else(PoisonError::into_inner).take();
                let (opened, proposals) = taken.ok_or("raft is never started twice in one process")?;
                let started = tokio::task::spawn_blocking(move || {
                    RaftRuntime::start(opened, proposals, clock, metrics, queues)
                });
                let runtime = started.await.map_err(|e| e.to_string())?.map_err(|e| e.to_string())?;
                let _ = handle.set(runtime.raft().clone());
                start.ready();
                start.stopping().await;
                let stopped = tokio::task::spawn_blocking(move || runtime.stop(RAFT_PATIENCE));
                stopped.await.map_err(|e| e.to_string())
            }
        })
        .family("raft-node")
        .start_timeout(Duration::from_secs(600))
        .stop_timeout(RAFT_PATIENCE * 3)
    }

    /// The actor that watches openraft.
    pub(crate) fn raft_node(&self) -> ChildSpec {
        let (raft, reader) = (self.raft.clone(), self.reader.clone());
        let (leadership, metrics) = (self.leadership.clone(), self.metrics.clone());
        let (snapshot_after, disk) = (self.snapshot_after, self.disk.clone());
        actor("raft-node", &self.watcher, move |epoch| {
            let raft = raft.get().expect("raft-runtime is ready before raft-node starts").clone();
            RaftNode::new(
                epoch,
                raft,
                reader.clone(),
                leadership.clone(),
                metrics.clone(),
                snapshot_after,
                disk.clone(),
            )
        })
        .family("raft-node")
    }

    /// The dispatch actor.
    pub(crate) fn dispatch(&self) -> ChildSpec {
        let (slot, parts) = &self.dispatch;
        let parts = parts.clone();
        actor("dispatch", slot, move |epoch| Dispatch::new(epoch, parts.clone())).family("jobs")
    }

    /// The handle of the queue actors' supervisor.
    pub(crate) fn queues(&self) -> &Children {
        self.queues.children()
    }

    /// The watch over the free space of the disk.
    pub(crate) fn disk_guard(&self) -> ChildSpec {
        self.disk.child()
    }

    /// The scheduler actor.
    pub(crate) fn scheduler(&self) -> ChildSpec {
        let (slot, parts) = &self.scheduler;
        let parts = parts.clone();
        actor("scheduler", slot, move |epoch| Scheduler::new(epoch, parts.clone())).family("scheduler")
    }
}
