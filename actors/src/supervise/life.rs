// SPDX-License-Identifier: Apache-2.0
//! How a supervisor starts one life of a child, waits for it, and stops it.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::mpsc,
    time::{Instant, timeout_at},
};

use super::{
    child::{Birth, Ending, KillSwitch, Stop},
    epoch::Epoch,
    event::Event,
    family::Seat,
    spec::Kind,
    supervisor::{Parent, Supervisor},
    view::State,
    watchdog::Watched,
};

/// How long a killed child may take to be dropped before its thread counts as blocked. Dropping is memory work.
const KILL_GRACE: Duration = Duration::from_secs(1);

/// The current life of a child, as its supervisor holds it.
pub(super) struct Life {
    pub(super) epoch: Epoch,
    control: Control,
}

enum Control {
    Leaf { stop: Stop, kill: Arc<KillSwitch>, seat: Seat },
    Supervisor(mpsc::UnboundedSender<Event>),
}

impl Life {
    /// Closes the epoch of a child that cannot be talked to, and drops it as soon as its thread allows.
    fn fence(&self) {
        self.epoch.fence();
        match &self.control {
            Control::Leaf { stop, kill, .. } => {
                // Closes the slot.
                stop();
                kill.pull("fenced");
            }
            Control::Supervisor(events) => drop(events.send(Event::Halt)),
        }
    }
}

/// A life that its supervisor lets go is over. After its end this does nothing; it matters if the supervisor
/// itself panics.
impl Drop for Life {
    fn drop(&mut self) {
        self.fence();
    }
}

/// What came of a start.
pub(super) enum Started {
    Ready,
    Ended(Ending),
    Evicted(String),
    /// The supervisor itself is to end.
    Halted(Ending),
}

impl Supervisor {
    /// Starts a life and waits until it is ready.
    pub(super) async fn start(&mut self, id: u64) -> Started {
        let Some(child) = self.children.get_mut(&id) else { return Started::Ready };
        let (spec, node) = (Arc::clone(&child.spec), Arc::clone(&child.node));
        let epoch = node.starting();
        let (control, limit) = match &spec.kind {
            Kind::Supervisor(group) => {
                let parent = Parent { id, epoch: epoch.number(), events: self.sender.clone() };
                let shared = self.shared.clone();
                let supervisor = Self::new(Arc::clone(group), Arc::clone(&node), shared, parent);
                let (events, killer) = (supervisor.sender.clone(), supervisor.sender.clone());
                node.killable(move || drop(killer.send(Event::Kill)));
                supervisor.spawn();
                // Its children have their own limits.
                (Control::Supervisor(events), None)
            }
            Kind::Actor(launch) | Kind::Task(launch) => {
                let seat = match self.shared.families.seat(spec.family) {
                    Ok(seat) => seat,
                    Err(error) => {
                        return Started::Ended(Ending::Crashed(format!("no arbiter thread: {error}")));
                    }
                };
                let kill = Arc::new(KillSwitch::default());
                let killer = Arc::clone(&kill);
                node.killable(move || killer.pull("killed on request"));
                let blocked = seat.clone();
                node.hangable(move |span| blocked.block(id, span));
                self.shared.watchdog.watch(
                    id,
                    Watched::new(
                        spec.name.clone(),
                        epoch.clone(),
                        seat.clone(),
                        spec.hang_limit,
                        matches!(spec.kind, Kind::Actor(_)),
                        self.sender.clone(),
                    ),
                );
                let stop = launch.launch(Birth {
                    id,
                    epoch: epoch.clone(),
                    seat: seat.clone(),
                    kill: Arc::clone(&kill),
                    supervisor: self.sender.clone(),
                    alive: Arc::clone(&self.shared.counters.alive),
                });
                (Control::Leaf { stop, kill, seat }, Some(spec.start_timeout))
            }
        };
        child.life = Some(Life { epoch, control });
        self.await_ready(id, limit).await
    }

    async fn await_ready(&mut self, id: u64, limit: Option<Duration>) -> Started {
        let deadline = limit.map(|limit| Instant::now() + limit);
        loop {
            match self.receive(deadline).await {
                None => {
                    self.discard(id).await;
                    return Started::Ended(Ending::Crashed("did not become ready in time".to_owned()));
                }
                Some(Event::Halt) => return Started::Halted(Ending::Stopped),
                Some(Event::Kill) => return Started::Halted(Ending::killed()),
                Some(event) if self.concerns(&event, id) => match event {
                    Event::Ready { .. } => {
                        if let Some(child) = self.children.get(&id) {
                            child.node.set(State::Running);
                        }
                        return Started::Ready;
                    }
                    Event::Ended { ending, .. } => return Started::Ended(ending),
                    Event::Evicted { error, .. } => return Started::Evicted(error),
                    Event::Hung { error, .. } => {
                        self.fence(id);
                        return Started::Ended(Ending::Crashed(error));
                    }
                    _ => {}
                },
                Some(other) => self.backlog.push_back(other),
            }
        }
    }

    /// Whether the event is about the current life of the child.
    fn concerns(&self, event: &Event, id: u64) -> bool {
        event.about().is_some_and(|(who, epoch)| who == id && self.is_current(id, epoch))
    }

    /// The next event from outside; `None` after the deadline.
    async fn receive(&mut self, deadline: Option<Instant>) -> Option<Event> {
        match deadline {
            Some(deadline) => timeout_at(deadline, self.inbox.recv()).await.ok().flatten(),
            None => self.inbox.recv().await,
        }
    }

    /// Stops a child in order and waits for its end; after its timeout it is dropped.
    pub(super) async fn stop(&mut self, id: u64) {
        self.ask_to_stop(id);
        self.await_stop(id).await;
    }

    fn ask_to_stop(&self, id: u64) {
        match self.children.get(&id).and_then(|child| child.life.as_ref()).map(|life| &life.control) {
            Some(Control::Leaf { stop, .. }) => stop(),
            Some(Control::Supervisor(events)) => drop(events.send(Event::Halt)),
            None => {}
        }
    }

    async fn await_stop(&mut self, id: u64) {
        let Some(child) = self.children.get(&id) else { return };
        let limit = match child.life.as_ref().map(|life| &life.control) {
            Some(Control::Leaf { .. }) => Some(child.spec.stop_timeout),
            Some(Control::Supervisor(_)) => None,
            None => return,
        };
        match self.await_end(id, limit).await {
            Some(ending) => self.buried(id, ending.error()),
            None => {
                self.discard(id).await;
                self.buried(id, Some("did not stop in time"));
            }
        }
        if let Some(child) = self.children.get(&id) {
            child.node.set(State::Stopped);
        }
    }

    /// Waits for the end of a child's current life; `None` after the limit, and at once if it hangs or its
    /// thread does.
    async fn await_end(&mut self, id: u64, limit: Option<Duration>) -> Option<Ending> {
        let deadline = limit.map(|limit| Instant::now() + limit);
        // Its end may have been put aside while we waited for another.
        let mut kept = self.backlog.iter().position(|event| self.concerns(event, id));
        loop {
            let event = match kept.take().and_then(|at| self.backlog.remove(at)) {
                Some(event) => event,
                None => self.receive(deadline).await?,
            };
            match event {
                Event::Ready { .. } if self.concerns(&event, id) => {}
                Event::Ended { ending, id: who, epoch } if who == id && self.is_current(id, epoch) => {
                    return Some(ending);
                }
                Event::Hung { .. } | Event::Evicted { .. } if self.concerns(&event, id) => return None,
                other => self.backlog.push_back(other),
            }
        }
    }

    /// Fences the current life of a child.
    pub(super) fn fence(&self, id: u64) {
        if let Some(life) = self.children.get(&id).and_then(|child| child.life.as_ref()) {
            life.fence();
        }
    }

    /// Fences a child and waits a moment for its drop; if nothing happens its thread is blocked.
    async fn discard(&mut self, id: u64) {
        self.fence(id);
        if self.await_end(id, Some(KILL_GRACE)).await.is_some() {
            return;
        }
        let Some(child) = self.children.get(&id) else { return };
        if let Some(Life { control: Control::Leaf { seat, .. }, .. }) = &child.life {
            self.shared.watchdog.condemn(id, &child.spec.name, seat);
        }
    }

    /// Notes that the current life is over.
    pub(super) fn buried(&mut self, id: u64, error: Option<&str>) {
        self.shared.watchdog.unwatch(id);
        if let Some(child) = self.children.get_mut(&id) {
            child.life = None;
            child.node.ended(error);
        }
    }

    /// Stops all children: fixed ones one by one from the last, dynamic ones (independent of each other) at once.
    pub(super) async fn stop_all(&mut self) {
        let living: Vec<u64> = self.children.keys().rev().copied().collect();
        if self.group.dynamic.is_some() {
            living.iter().for_each(|id| self.ask_to_stop(*id));
            for id in living {
                self.await_stop(id).await;
            }
        } else {
            for id in living {
                self.stop(id).await;
            }
        }
        for child in self.children.values().filter(|child| child.life.is_none()) {
            child.node.set_unless_closed(State::Stopped);
        }
    }
}
