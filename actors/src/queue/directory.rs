// SPDX-License-Identifier: Apache-2.0
//! Which queues have a line and an actor: opened by the first who waits there, retired when nobody has for a while.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, Weak};

use jobbie_broker::job::Due;
use jobbie_broker::{Command, QueueKey, StateKind, Submission};
use jobbie_store::Reader;

use super::actor::QueueActor;
use super::line::{Chance, Claiming, Claims, Coming, Line};
use super::messages::Stir;
use super::waiter::Waiter;
use crate::clock::Clock;
use crate::raft_node::proposer::Proposer;
use crate::supervise::{Children, Port, PortError, Slot, StartError, actor};

/// Messages that may wait at one queue. Each says the same, so one that does not fit is not missed.
const MAILBOX: usize = 64;

/// Queues that somebody waits at: what a fetch may name is bounded, what many fetches name is not.
const MOST: usize = 20_000;

/// The queues where somebody waits. Cheap to clone.
#[derive(Clone)]
pub struct Queues {
    inner: Arc<Inner>,
}

struct Inner {
    children: Children,
    reader: Reader,
    clock: Clock,
    proposer: Proposer,
    lines: RwLock<HashMap<QueueKey, Arc<Line>>>,
    /// Whether there are lines, for enqueues that nobody waits for.
    any: AtomicBool,
    /// Starts and retirements one after the other.
    changing: tokio::sync::Mutex<()>,
}

/// The claims that go into the log together with some enqueues, behind them.
#[derive(Default)]
pub(crate) struct HandOff {
    /// The claims.
    pub claims: Claims,
    /// Dropped when the entry is decided.
    pub coming: Vec<Coming>,
}

impl Queues {
    /// No queues yet.
    #[must_use]
    pub fn new(reader: Reader, clock: Clock, proposer: Proposer) -> Self {
        Self {
            inner: Arc::new(Inner {
                children: Children::new(),
                reader,
                clock,
                proposer,
                lines: RwLock::default(),
                any: AtomicBool::new(false),
                changing: tokio::sync::Mutex::default(),
            }),
        }
    }

    /// For the dynamic supervisor of the tree.
    #[must_use]
    pub fn children(&self) -> &Children {
        &self.inner.children
    }

    fn line(&self, key: &QueueKey) -> Option<Arc<Line>> {
        self.inner.lines().get(key).cloned()
    }

    /// Whether somebody waits anywhere, or did a while ago.
    #[must_use]
    pub(crate) fn any(&self) -> bool {
        self.inner.any.load(Ordering::Acquire)
    }

    /// A chance to claim up to `count` jobs, if one of the queues may have some that nobody else has spoken for.
    #[must_use]
    pub(crate) fn try_claim(&self, keys: &[QueueKey], count: u32) -> Option<Option<Claiming>> {
        keys.iter().find_map(|key| match self.line(key) {
            Some(line) => line.try_claim(count).map(Some),
            None => self.may_hand_out(key).then_some(None),
        })
    }

    /// True if a claim on a queue where nobody waits may succeed.
    fn may_hand_out(&self, key: &QueueKey) -> bool {
        let row = self.inner.reader.queue(key);
        row.is_some_and(|row| row.count(StateKind::Pending) > 0 && row.admit(self.inner.clock.now()).is_ok())
    }

    /// Lets somebody wait at a queue, unless there is a chance to claim.
    ///
    /// # Errors
    /// If the queue's actor cannot start yet, or there are too many queues: nobody waits there then.
    pub(crate) async fn park(
        &self,
        key: &QueueKey,
        waiter: &Waiter,
        count: u32,
    ) -> Result<Chance, PortError> {
        loop {
            let line = match self.line(key) {
                Some(line) => line,
                None => self.open(key).await?,
            };
            match line.park(waiter, count) {
                // It was just retired, so it is not in the directory any more.
                Chance::Closed => {}
                chance => return Ok(chance),
            }
        }
    }

    /// The claims of those who wait for what these submissions enqueue; up to `most` of them.
    #[must_use]
    pub(crate) fn hand_off(&self, submissions: &[Submission], most: usize) -> HandOff {
        let mut handed = HandOff::default();
        if !self.any() {
            return handed;
        }
        for (key, jobs) in enqueued(submissions) {
            if let Some(line) = self.line(&key) {
                let (claims, coming) = line.hand_off(jobs, most.saturating_sub(handed.claims.len()));
                handed.claims.extend(claims);
                handed.coming.push(coming);
            }
        }
        handed
    }

    /// Something about a queue has changed: if somebody waits there, look whether they can be served.
    pub fn stir(&self, key: &QueueKey) {
        if let Some(line) = self.line(key) {
            line.stir();
        }
    }

    /// As [`Queues::stir`], for every queue.
    pub fn stir_all(&self) {
        for line in self.inner.lines().values() {
            line.stir();
        }
    }

    async fn open(&self, key: &QueueKey) -> Result<Arc<Line>, PortError> {
        let _changing = self.inner.changing.lock().await;
        if let Some(line) = self.line(key) {
            return Ok(line);
        }
        if self.inner.lines().len() >= MOST {
            return Err(PortError::Overloaded);
        }
        let slot = Slot::new(MAILBOX);
        let stir: Port<Stir> = slot.port();
        let line = Line::new(key.clone(), self.inner.reader.clone(), self.inner.clock.clone(), stir);
        // Weak, because the supervisor keeps the factory and the directory keeps the supervisor's handle.
        let (queues, own) = (Arc::downgrade(&self.inner), line.clone());
        let (clock, proposer) = (self.inner.clock.clone(), self.inner.proposer.clone());
        let child = actor(name(key), &slot, move |epoch| {
            QueueActor::new(epoch, own.clone(), clock.clone(), proposer.clone(), Retire(queues.clone()))
        })
        .family("queues");
        let mut started = self.inner.children.start(child.clone()).await;
        if started == Err(StartError::Exists) {
            // Its retirement fell into a restart of the supervisor, which has started it again without a line.
            let _ = self.inner.children.stop(&name(key)).await;
            started = self.inner.children.start(child).await;
        }
        if let Err(error) = started {
            tracing::warn!(queue = %key.queue, %error, "a queue's actor does not start yet");
            return Err(PortError::Unavailable);
        }
        self.inner.lines.write().unwrap_or_else(PoisonError::into_inner).insert(key.clone(), line.clone());
        self.inner.any.store(true, Ordering::Release);
        Ok(line)
    }
}

impl Inner {
    fn lines(&self) -> RwLockReadGuard<'_, HashMap<QueueKey, Arc<Line>>> {
        self.lines.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many jobs of each queue are about to be pending.
pub(super) fn enqueued(submissions: &[Submission]) -> BTreeMap<QueueKey, u64> {
    let mut enqueued: BTreeMap<QueueKey, u64> = BTreeMap::new();
    for submission in submissions {
        let Command::Enqueue(enqueue) = &submission.command else { continue };
        // The jobs of a call mostly go to one queue: they are looked up once.
        let same = |a: &jobbie_broker::job::JobSpec, b: &jobbie_broker::job::JobSpec| a.queue == b.queue;
        for run in enqueue.jobs.chunk_by(same) {
            let jobs = run.iter().filter(|job| matches!(job.due, Due::Now)).count() as u64;
            if jobs > 0 {
                let key = QueueKey::new(&submission.namespace, &run[0].queue);
                *enqueued.entry(key).or_default() += jobs;
            }
        }
    }
    enqueued
}

/// How a queue's actor retires.
#[derive(Clone)]
pub(crate) struct Retire(Weak<Inner>);

impl Retire {
    /// Stops the actor of a queue where nobody waits, unless somebody has come in the meantime.
    pub(super) async fn retire(self, line: &Arc<Line>) {
        let Some(inner) = self.0.upgrade() else { return };
        let _changing = inner.changing.lock().await;
        if !line.close() {
            return;
        }
        {
            let mut lines = inner.lines.write().unwrap_or_else(PoisonError::into_inner);
            if lines.get(line.key()).is_some_and(|known| !Arc::ptr_eq(known, line)) {
                // An actor that a restarted supervisor brought back; another one has taken its place.
                return;
            }
            lines.remove(line.key());
            inner.any.store(!lines.is_empty(), Ordering::Release);
        }
        // Not there means that its supervisor is restarting: then it starts an actor that retires again.
        let _ = inner.children.stop(&name(line.key())).await;
    }
}

/// The child's name in the tree.
fn name(key: &QueueKey) -> String {
    format!("{}/{}", key.namespace, key.queue)
}
