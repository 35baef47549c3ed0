// SPDX-License-Identifier: Apache-2.0
//! The live state of one node, written by its supervisor and read from any thread.
//!
//! A node outlives the restarts of its child. Locks are held for a few assignments only.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};

use tokio::sync::watch;

use super::{
    epoch::Epoch,
    restart::Strategy,
    spec::{ChildSpec, Group, Kind},
    view::{NodeKind, NodeView, State, below},
};

pub(super) struct Node {
    pub(super) name: String,
    kind: NodeKind,
    strategy: Option<String>,
    status: Mutex<Status>,
    children: Mutex<Kin>,
    /// Restarts of children that are gone, so that the sum over all that ever were never shrinks.
    gone_restarts: AtomicU64,
    changes: watch::Sender<()>,
}

/// Children in start order and by name; a dynamic supervisor may have one per queue.
#[derive(Default)]
struct Kin {
    ordered: BTreeMap<u64, Arc<Node>>,
    names: HashMap<String, u64>,
    born: u64,
}

impl Kin {
    fn push(&mut self, node: Arc<Node>) {
        self.born += 1;
        self.names.insert(node.name.clone(), self.born);
        self.ordered.insert(self.born, node);
    }

    fn get(&self, name: &str) -> Option<&Arc<Node>> {
        self.ordered.get(self.names.get(name)?)
    }
}

struct Status {
    state: State,
    lives: u64,
    last_error: Option<String>,
    since: u64,
    epoch: Option<Epoch>,
    kill: Option<Arc<dyn Fn() + Send + Sync>>,
    hang: Option<Arc<Hang>>,
}

/// Blocks the thread of a child for a while.
type Hang = dyn Fn(Duration) + Send + Sync;

impl Node {
    /// A node for a spec and all that is below it, as it is before the start.
    pub(super) fn plan(spec: &ChildSpec) -> Arc<Self> {
        Self::new(spec, &watch::Sender::new(()))
    }

    pub(super) fn new(spec: &ChildSpec, changes: &watch::Sender<()>) -> Arc<Self> {
        let (kind, group) = match &spec.kind {
            Kind::Actor(_) => (NodeKind::Actor, None),
            Kind::Task(_) => (NodeKind::Task, None),
            Kind::Supervisor(group) if group.dynamic.is_some() => (NodeKind::Dynamic, Some(group)),
            Kind::Supervisor(group) => (NodeKind::Supervisor, Some(group)),
        };
        let mut children = Kin::default();
        for child in group.iter().flat_map(|group| &group.children) {
            children.push(Self::new(child, changes));
        }
        Arc::new(Self {
            name: spec.name.clone(),
            kind,
            strategy: group.map(|group| describe(group)),
            status: Mutex::new(Status {
                state: State::Stopped,
                lives: 0,
                last_error: None,
                since: now(),
                epoch: None,
                kill: None,
                hang: None,
            }),
            children: Mutex::new(children),
            gone_restarts: AtomicU64::new(0),
            changes: changes.clone(),
        })
    }

    /// The node of a child; made if it is new (children of dynamic supervisors).
    pub(super) fn child(&self, spec: &ChildSpec) -> Arc<Self> {
        let mut children = self.children();
        if let Some(child) = children.get(&spec.name) {
            return Arc::clone(child);
        }
        let child = Self::new(spec, &self.changes);
        children.push(Arc::clone(&child));
        child
    }

    pub(super) fn forget(&self, name: &str) {
        let mut children = self.children();
        if let Some(born) = children.names.remove(name)
            && let Some(gone) = children.ordered.remove(&born)
        {
            self.gone_restarts.fetch_add(gone.status().lives.saturating_sub(1), Relaxed);
        }
        drop(children);
        self.changed();
    }

    /// Begins a new life.
    pub(super) fn starting(&self) -> Epoch {
        let mut status = self.status();
        status.lives += 1;
        let epoch = Epoch::new(status.lives);
        status.epoch = Some(epoch.clone());
        drop(status);
        self.set(State::Starting);
        epoch
    }

    pub(super) fn killable(&self, kill: impl Fn() + Send + Sync + 'static) {
        self.status().kill = Some(Arc::new(kill));
    }

    pub(super) fn hangable(&self, hang: impl Fn(Duration) + Send + Sync + 'static) {
        self.status().hang = Some(Arc::new(hang));
    }

    /// The current life is over.
    pub(super) fn ended(&self, error: Option<&str>) {
        let mut status = self.status();
        status.epoch = None;
        status.kill = None;
        status.hang = None;
        if let Some(error) = error {
            status.last_error = Some(error.to_owned());
        }
    }

    pub(super) fn set(&self, state: State) {
        let mut status = self.status();
        if status.state != state {
            status.state = state;
            status.since = now();
        }
        drop(status);
        self.changed();
    }

    /// For the end of the supervisor: a closed child is still shown as closed.
    pub(super) fn set_unless_closed(&self, state: State) {
        if self.status().state != State::Closed {
            self.set(state);
        }
    }

    /// Ends the current life as a crash would; false if there is none.
    pub(super) fn kill(&self, path: &str) -> bool {
        self.at(path, &|node| {
            let kill = node.status().kill.clone();
            kill.map(|kill| kill()).is_some()
        })
    }

    /// Blocks the thread of the current life; false if there is none, or no thread.
    pub(super) fn hang(&self, path: &str, span: Duration) -> bool {
        self.at(path, &|node| {
            let hang = node.status().hang.clone();
            hang.map(|hang| hang(span)).is_some()
        })
    }

    /// Does something to the node at a path below this one; false if there is none or it could not be done.
    fn at(&self, path: &str, act: &dyn Fn(&Self) -> bool) -> bool {
        if path.is_empty() {
            return act(self);
        }
        let children = self.snapshot();
        children.iter().any(|child| below(path, &child.name).is_some_and(|rest| child.at(rest, act)))
    }

    pub(super) fn view(&self) -> NodeView {
        let children = self.snapshot();
        let status = self.status();
        NodeView {
            name: self.name.clone(),
            kind: self.kind,
            state: status.state,
            restarts: status.lives.saturating_sub(1),
            last_error: status.last_error.clone(),
            mailbox_depth: (self.kind == NodeKind::Actor)
                .then(|| status.epoch.as_ref().map_or(0, Epoch::waiting)),
            since: status.since,
            strategy: self.strategy.clone(),
            children_restarts: (self.kind == NodeKind::Dynamic).then(|| self.gone_restarts.load(Relaxed)),
            children: children.iter().map(|child| child.view()).collect(),
        }
    }

    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    fn changed(&self) {
        self.changes.send_replace(());
    }

    fn status(&self) -> MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn snapshot(&self) -> Vec<Arc<Self>> {
        self.children().ordered.values().cloned().collect()
    }

    fn children(&self) -> MutexGuard<'_, Kin> {
        self.children.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn describe(group: &Group) -> String {
    let strategy = match group.strategy {
        Strategy::OneForOne => "one_for_one",
        Strategy::RestForOne => "rest_for_one",
    };
    let budget = group.budget();
    let restarts = match budget.max {
        0 => "0 restarts".to_owned(),
        max => format!("{max} in {} s", budget.within.as_secs_f64()),
    };
    let each = if group.each { " each" } else { "" };
    let closes = if group.closes { ", then closes the child" } else { "" };
    format!("{strategy}, {restarts}{each}{closes}")
}

/// Milliseconds since 1970; for people, so a wrong clock does no harm.
fn now() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
