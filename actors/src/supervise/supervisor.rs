// SPDX-License-Identifier: Apache-2.0
//! Runs one supervisor: starts its children in order, acts when one ends, stops them in reverse.
//!
//! It runs on the supervision thread and never blocks it; children run on arbiters and talk back by [`Event`].
//! While it waits for one child, events of others are kept in `backlog` and handled afterwards, in order.
//!
//! - `S1` a child is started only when no earlier sibling is due to start.
//! - `S2` an event of an older epoch changes nothing.
//! - `S3` when a supervisor reports its end, none of its children lives (hung ones are fenced).
//!
//! ```text
//! parent ◄─ Ready, Ended ─┐
//!                     Supervisor ── launch, stop, kill ──► child
//!                         ▲  ▲───── Ready, Ended ──────────┘
//!                         └──────── Hung, Evicted ─── watchdog
//! ```

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    convert::Infallible,
    panic::AssertUnwindSafe,
    sync::Arc,
};

use futures_util::FutureExt;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until},
};

use super::{
    child::{Ending, panic_text},
    children::{NoSuchChild, StartError},
    event::Event,
    life::{Life, Started},
    node::Node,
    restart::{Decision, Restarts, Scope},
    shared::Shared,
    spec::{ChildSpec, Group},
    view::State,
};

/// The way to whoever started this supervisor.
#[derive(Clone)]
pub(super) struct Parent {
    pub(super) id: u64,
    pub(super) epoch: u64,
    pub(super) events: mpsc::UnboundedSender<Event>,
}

pub(super) struct Supervisor {
    pub(super) group: Arc<Group>,
    pub(super) node: Arc<Node>,
    pub(super) shared: Shared,
    parent: Parent,
    pub(super) sender: mpsc::UnboundedSender<Event>,
    pub(super) inbox: mpsc::UnboundedReceiver<Event>,
    pub(super) backlog: VecDeque<Event>,
    pub(super) children: BTreeMap<u64, Child>,
    names: HashMap<String, u64>,
    /// Children to start and when.
    due: BTreeMap<u64, Instant>,
    restarts: Restarts,
}

/// One child. Its key in `children` grows with start order and is unique in the tree.
pub(super) struct Child {
    pub(super) spec: Arc<ChildSpec>,
    pub(super) node: Arc<Node>,
    restarts: Restarts,
    pub(super) life: Option<Life>,
}

impl Supervisor {
    pub(super) fn new(group: Arc<Group>, node: Arc<Node>, shared: Shared, parent: Parent) -> Self {
        let (sender, inbox) = mpsc::unbounded_channel();
        let restarts = Restarts::new(group.budget(), group.backoff);
        Self {
            group,
            node,
            shared,
            parent,
            sender,
            inbox,
            backlog: VecDeque::new(),
            children: BTreeMap::new(),
            names: HashMap::new(),
            due: BTreeMap::new(),
            restarts,
        }
    }

    /// Runs it as a task of the supervision thread.
    pub(super) fn spawn(self) {
        let Parent { id, epoch, events } = self.parent.clone();
        actix_rt::spawn(async move {
            // A supervisor is not expected to panic; if it does, dropping it fences its children.
            let ending = AssertUnwindSafe(self.run()).catch_unwind().await;
            let ending = ending.unwrap_or_else(|panic| Ending::Crashed(panic_text(&*panic)));
            // Fails only if the parent is gone, and then nobody waits.
            let _ = events.send(Event::Ended { id, epoch, ending });
        });
    }

    async fn run(mut self) -> Ending {
        if let Some(dynamic) = &self.group.dynamic {
            dynamic.attach(Some(self.sender.clone()));
        }
        let Err(ending) = self.supervise().await;
        if let Some(dynamic) = &self.group.dynamic {
            dynamic.attach(None);
        }
        self.stop_all().await;
        ending
    }

    async fn supervise(&mut self) -> Result<Infallible, Ending> {
        let group = Arc::clone(&self.group);
        for spec in group.children.iter().cloned().chain(group.dynamic.iter().flat_map(|d| d.specs())) {
            let id = self.add(spec);
            self.due.insert(id, Instant::now());
        }
        let mut ready = false;
        loop {
            self.start_due().await?;
            if !ready && self.due.is_empty() {
                ready = true;
                let Parent { id, epoch, ref events } = self.parent;
                let _ = events.send(Event::Ready { id, epoch });
            }
            if let Some(event) = self.next_event().await {
                self.handle(event).await?;
            }
        }
    }

    fn add(&mut self, spec: Arc<ChildSpec>) -> u64 {
        let id = self.shared.next_id();
        let node = self.node.child(&spec);
        let restarts = Restarts::new(self.group.budget(), self.group.backoff);
        self.names.insert(spec.name.clone(), id);
        self.children.insert(id, Child { spec, node, restarts, life: None });
        id
    }

    /// Starts, in order, every child whose time has come.
    async fn start_due(&mut self) -> Result<(), Ending> {
        loop {
            let now = Instant::now();
            let Some(id) = self.due.iter().find(|(_, at)| **at <= now).map(|(id, _)| *id) else {
                return Ok(());
            };
            self.due.remove(&id);
            match self.start(id).await {
                Started::Ready => {}
                Started::Ended(ending) => self.ended(id, ending).await?,
                Started::Evicted(error) => self.evicted(id, &error).await,
                Started::Halted(ending) => return Err(ending),
            }
        }
    }

    /// The next event; `None` when it is time to start a child.
    async fn next_event(&mut self) -> Option<Event> {
        if let Some(event) = self.backlog.pop_front() {
            return Some(event);
        }
        let due = self.due.values().min().copied();
        tokio::select! {
            event = self.inbox.recv() => event,
            () = async { sleep_until(due.unwrap_or_else(Instant::now)).await }, if due.is_some() => None,
        }
    }

    async fn handle(&mut self, event: Event) -> Result<(), Ending> {
        match event {
            Event::Halt => return Err(Ending::Stopped),
            Event::Kill => return Err(Ending::killed()),
            Event::Ready { .. } => {}
            Event::Ended { id, epoch, ending } if self.is_current(id, epoch) => {
                self.ended(id, ending).await?;
            }
            Event::Hung { id, epoch, error } if self.is_current(id, epoch) => {
                self.fence(id);
                self.ended(id, Ending::Crashed(error)).await?;
            }
            Event::Evicted { id, epoch, error } if self.is_current(id, epoch) => {
                self.evicted(id, &error).await;
            }
            Event::Ended { .. } | Event::Hung { .. } | Event::Evicted { .. } => {}
            Event::Start { child, reply } => self.start_dynamic(*child, reply).await?,
            Event::Remove { name, reply } => self.remove_dynamic(&name, reply).await,
        }
        Ok(())
    }

    pub(super) fn is_current(&self, id: u64, epoch: u64) -> bool {
        let life = self.children.get(&id).and_then(|child| child.life.as_ref());
        life.is_some_and(|life| life.epoch.number() == epoch)
    }

    /// A child has ended by itself: restart, leave, close or give up.
    async fn ended(&mut self, id: u64, ending: Ending) -> Result<(), Ending> {
        self.buried(id, ending.error());
        let Some(child) = self.children.get_mut(&id) else { return Ok(()) };
        if matches!(ending, Ending::Crashed(_)) {
            self.shared.count_crash();
        }
        let restarts = if self.group.each { &mut child.restarts } else { &mut self.restarts };
        let now = self.shared.uptime();
        let decision = restarts.decide(
            child.spec.policy,
            self.group.strategy,
            ending.is_abnormal(),
            now,
            fastrand::u64(..),
        );
        let (name, error) = (child.spec.name.as_str(), ending.error().unwrap_or("stopped by itself"));
        match decision {
            Decision::Restart { after, scope } => {
                tracing::warn!(child = name, error, ?after, "child ended and will be restarted");
                self.restart(id, scope, Instant::now() + after).await;
                Ok(())
            }
            Decision::Leave => {
                tracing::info!(child = name, error, "child ended");
                child.node.set(State::Stopped);
                self.forget_dynamic(id);
                Ok(())
            }
            Decision::GiveUp if child.spec.optional || self.group.closes => {
                tracing::error!(child = name, error, "child is closed: too many restarts");
                child.node.set(State::Closed);
                self.forget_dynamic(id);
                Ok(())
            }
            Decision::GiveUp => {
                tracing::error!(child = name, error, "giving up: too many restarts");
                child.node.set(State::Closed);
                Err(Ending::Crashed(format!("{name} gave up: {error}")))
            }
        }
    }

    /// A child lost its thread through a sibling: restarted at once, not booked.
    async fn evicted(&mut self, id: u64, error: &str) {
        self.fence(id);
        self.buried(id, Some(error));
        self.restart(id, self.group.strategy.into(), Instant::now()).await;
    }

    /// Stops the other living children of the scope and makes all of them due.
    async fn restart(&mut self, failed: u64, scope: Scope, at: Instant) {
        let covered: Vec<u64> = self
            .children
            .range(failed..)
            .take_while(|(id, _)| scope.covers(failed, **id))
            .filter(|(id, child)| **id == failed || child.life.is_some() || self.due.contains_key(*id))
            .map(|(id, _)| *id)
            .collect();
        for id in covered.iter().rev().filter(|id| **id != failed) {
            self.stop(*id).await;
        }
        for id in covered {
            self.due.insert(id, at);
            if let Some(child) = self.children.get(&id) {
                child.node.set(State::Restarting);
            }
        }
    }

    async fn start_dynamic(
        &mut self,
        spec: ChildSpec,
        reply: oneshot::Sender<Result<(), StartError>>,
    ) -> Result<(), Ending> {
        let Some(dynamic) = self.group.dynamic.clone() else { return Ok(()) };
        if self.names.contains_key(&spec.name) {
            let _ = reply.send(Err(StartError::Exists));
            return Ok(());
        }
        let spec = Arc::new(spec);
        let id = self.add(Arc::clone(&spec));
        let answer = loop {
            match self.start(id).await {
                Started::Ready => break Ok(()),
                Started::Evicted(error) => {
                    self.fence(id);
                    self.buried(id, Some(&error));
                }
                Started::Halted(ending) => return Err(ending),
                Started::Ended(ending) => {
                    self.buried(id, ending.error());
                    break Err(StartError::Failed(ending.error().unwrap_or("it ended at once").to_owned()));
                }
            }
        };
        match &answer {
            Ok(()) => dynamic.remember(spec),
            Err(_) => self.forget_dynamic(id),
        }
        // The caller may have gone away; the child stays.
        let _ = reply.send(answer);
        Ok(())
    }

    async fn remove_dynamic(&mut self, name: &str, reply: oneshot::Sender<Result<(), NoSuchChild>>) {
        let answer = match self.names.get(name).copied() {
            Some(id) => {
                self.due.remove(&id);
                self.stop(id).await;
                self.forget_dynamic(id);
                Ok(())
            }
            None => Err(NoSuchChild),
        };
        let _ = reply.send(answer);
    }

    fn forget_dynamic(&mut self, id: u64) {
        let Some(dynamic) = &self.group.dynamic else { return };
        if let Some(child) = self.children.remove(&id) {
            self.names.remove(&child.spec.name);
            dynamic.forget(&child.spec.name);
            self.node.forget(&child.spec.name);
        }
    }
}
