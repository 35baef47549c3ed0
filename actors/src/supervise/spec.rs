// SPDX-License-Identifier: Apache-2.0
//! The tree as data: what children there are, how they are built, and what happens when they end.
//!
//! Nothing here starts anything. Factories are called again for each life, so they hold only what survives a
//! crash: ports, handles, configuration.

use std::{fmt, future::Future, sync::Arc, time::Duration};

use actix::{Actor, Context};

use super::{
    actor_child::ActorChild,
    child::Launch,
    children::Children,
    epoch::Epoch,
    restart::{Backoff, Budget, Policy, Strategy},
    slot::Slot,
    task_child::{TaskChild, TaskStart},
};

/// Long enough to open files and recover a log of usual size; a child that needs more says so.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// Half of the 10 s that `docker stop` grants, so that two slow children in a row still fit.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// Actors never block, so a turn of a second is already a bug; ten leave room for an overloaded machine.
const HANG_LIMIT: Duration = Duration::from_secs(10);
/// Where children run that name no family.
const FAMILY: &str = "main";

/// `n` seconds.
pub const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// A child: an actor, a task or a supervisor. Made by [`actor`] and [`task`], and from a [`SupervisorSpec`].
#[derive(Clone)]
pub struct ChildSpec {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) policy: Policy,
    pub(super) optional: bool,
    pub(super) family: &'static str,
    pub(super) start_timeout: Duration,
    pub(super) stop_timeout: Duration,
    pub(super) hang_limit: Option<Duration>,
}

#[derive(Clone)]
pub(super) enum Kind {
    Actor(Arc<dyn Launch>),
    Task(Arc<dyn Launch>),
    Supervisor(Arc<Group>),
}

/// What makes a supervisor.
#[derive(Clone, Default)]
pub(super) struct Group {
    pub(super) strategy: Strategy,
    pub(super) budget: Option<Budget>,
    pub(super) each: bool,
    pub(super) closes: bool,
    pub(super) backoff: Backoff,
    pub(super) children: Vec<Arc<ChildSpec>>,
    pub(super) dynamic: Option<Children>,
}

impl Group {
    pub(super) fn budget(&self) -> Budget {
        self.budget.unwrap_or(Budget::new(0, Duration::ZERO))
    }
}

/// An actor that is built by `factory` for each life and reached through `slot`. Permanent.
///
/// The factory runs on the arbiter. The actor is ready when `started()` has returned and whatever `started()`
/// put into `ctx.wait` has resolved: asynchronous initialisation goes there.
pub fn actor<A, F>(name: impl Into<String>, slot: &Slot<A>, factory: F) -> ChildSpec
where
    A: Actor<Context = Context<A>>,
    F: Fn(Epoch) -> A + Send + Sync + 'static,
{
    let child = ActorChild { slot: slot.clone(), factory: Arc::new(factory) };
    ChildSpec::new(name.into(), Kind::Actor(Arc::new(child)))
}

/// An async function that is called for each life. Permanent: it should end only when told to.
///
/// It must call [`TaskStart::ready`]. `Ok` is an orderly end, `Err` a failure.
pub fn task<F, T, E>(name: impl Into<String>, factory: F) -> ChildSpec
where
    F: Fn(TaskStart) -> T + Send + Sync + 'static,
    T: Future<Output = Result<(), E>> + 'static,
    E: fmt::Display + 'static,
{
    ChildSpec::new(name.into(), Kind::Task(Arc::new(TaskChild(Arc::new(factory)))))
}

/// A supervisor with the children that are added to it; one_for_one and no restarts unless said otherwise.
pub fn supervisor(name: impl Into<String>) -> SupervisorSpec {
    SupervisorSpec { name: name.into(), optional: false, group: Group::default() }
}

/// A supervisor whose children are started and stopped through `children` while the tree runs.
pub fn dynamic(name: impl Into<String>, children: &Children) -> SupervisorSpec {
    let mut spec = supervisor(name);
    spec.group.dynamic = Some(children.clone());
    spec
}

impl ChildSpec {
    fn new(name: String, kind: Kind) -> Self {
        Self {
            name,
            kind,
            policy: Policy::Permanent,
            optional: false,
            family: FAMILY,
            start_timeout: START_TIMEOUT,
            stop_timeout: STOP_TIMEOUT,
            hang_limit: Some(HANG_LIMIT),
        }
    }

    /// Restart only after a failure or a crash, not after an orderly end.
    pub fn transient(mut self) -> Self {
        self.policy = Policy::Transient;
        self
    }

    /// Never restart.
    pub fn temporary(mut self) -> Self {
        self.policy = Policy::Temporary;
        self
    }

    /// When the restarts are used up, close this child instead of giving up with all its siblings.
    pub fn optional(mut self) -> Self {
        self.optional = true;
        self
    }

    /// The arbiter thread to run on: all children of one family share it. Default `main`.
    pub fn family(mut self, family: &'static str) -> Self {
        self.family = family;
        self
    }

    /// How long the child may take to become ready. Default 30 s. Not for supervisors.
    pub fn start_timeout(mut self, limit: Duration) -> Self {
        self.start_timeout = limit;
        self
    }

    /// How long the child may take to stop before it is dropped. Default 5 s. Not for supervisors.
    pub fn stop_timeout(mut self, limit: Duration) -> Self {
        self.stop_timeout = limit;
        self
    }

    /// How long the child may stay in one turn, or leave a waiting message untouched (`ctx.wait` counts), before
    /// it is fenced and replaced. Default 10 s; `None` trusts it for ever. Not for supervisors.
    pub fn hang_limit(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.hang_limit = limit.into();
        self
    }
}

/// A supervisor in the making.
#[derive(Clone)]
pub struct SupervisorSpec {
    pub(super) name: String,
    optional: bool,
    pub(super) group: Group,
}

impl SupervisorSpec {
    /// A failed child is restarted alone. The default.
    pub fn one_for_one(mut self) -> Self {
        self.group.strategy = Strategy::OneForOne;
        self
    }

    /// A failed child is restarted together with all children declared after it.
    pub fn rest_for_one(mut self) -> Self {
        self.group.strategy = Strategy::RestForOne;
        self
    }

    /// At most `max` restarts within `within`, over all children. Then the supervisor stops its children and
    /// fails itself, which its parent handles by its own rules. Without a budget nothing is restarted.
    pub fn budget(mut self, max: u32, within: Duration) -> Self {
        self.group.budget = Some(Budget::new(max, within));
        self.group.each = false;
        self
    }

    /// As [`budget`](Self::budget), but each child has one of its own.
    pub fn budget_each(mut self, max: u32, within: Duration) -> Self {
        self.group.budget = Some(Budget::new(max, within));
        self.group.each = true;
        self
    }

    /// Treat each child as [`ChildSpec::optional`].
    pub fn closes_children(mut self) -> Self {
        self.group.closes = true;
        self
    }

    /// How the delay before a restart grows.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.group.backoff = backoff;
        self
    }

    /// Adds a child after the ones already there. Children start in this order and stop in reverse.
    ///
    /// # Panics
    /// There is a child of this name already, or the supervisor is dynamic: mistakes in the program.
    pub fn child(mut self, child: impl Into<ChildSpec>) -> Self {
        let child = child.into();
        assert!(self.group.dynamic.is_none(), "a dynamic supervisor gets its children at run time");
        assert!(
            self.group.children.iter().all(|other| other.name != child.name),
            "two children of {:?} are called {:?}",
            self.name,
            child.name
        );
        self.group.children.push(Arc::new(child));
        self
    }

    /// Adds several children, for example those of an extension.
    ///
    /// # Panics
    /// As [`child`](Self::child).
    pub fn children(self, children: impl IntoIterator<Item = ChildSpec>) -> Self {
        children.into_iter().fold(self, Self::child)
    }

    /// As [`ChildSpec::optional`], for this supervisor as a child of its parent.
    pub fn optional(mut self) -> Self {
        self.optional = true;
        self
    }
}

impl From<SupervisorSpec> for ChildSpec {
    fn from(spec: SupervisorSpec) -> Self {
        let mut child = Self::new(spec.name, Kind::Supervisor(Arc::new(spec.group)));
        child.optional = spec.optional;
        child
    }
}

impl fmt::Debug for ChildSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", super::node::Node::plan(self).view())
    }
}

impl fmt::Debug for SupervisorSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        ChildSpec::from(self.clone()).fmt(f)
    }
}
