// SPDX-License-Identifier: Apache-2.0
//! A running tree: the handle that starts it, watches it and stops it.
//!
//! All supervision happens on one thread of its own with its own actix system, so no child can stop it from
//! acting. The library never ends the process: [`Tree::wait`] says how it should end.
//!
//! ```text
//! Tree ──commands──► supervision thread ── supervisors, watchdog
//!   ▲                        └─ launches on ──► arbiter per family ── children
//!   └── view ◄── nodes ◄─────┘
//! ```

use std::{io, sync::Arc, thread, time::Duration};

use tokio::sync::{mpsc, watch};

use super::{
    child::Ending,
    children::NoSuchChild,
    event::Event,
    family::Stalled,
    node::Node,
    shared::{Counters, Shared},
    spec::{ChildSpec, Kind, SupervisorSpec},
    supervisor::{Parent, Supervisor},
    view::{NodeView, State},
};

/// Exit code after giving up: EX_SOFTWARE of sysexits.h, "internal software error".
const GAVE_UP: u8 = 70;

/// How the tree ended and what the process should tell its parent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Exit {
    /// 0 after [`Tree::stop`], 70 after giving up.
    pub code: u8,
    /// For the log.
    pub reason: String,
}

/// A running tree. Clones are the same tree; when the last one is dropped it is told to stop.
#[derive(Clone)]
pub struct Tree(Arc<Handle>);

struct Handle {
    root: Arc<Node>,
    commands: mpsc::UnboundedSender<Command>,
    ready: watch::Receiver<bool>,
    exit: watch::Receiver<Option<Exit>>,
    counters: Counters,
}

enum Command {
    Stop,
    /// One look of the watchdog, as of a given time.
    #[cfg(test)]
    Check(tokio::time::Instant, tokio::sync::oneshot::Sender<()>),
}

impl Tree {
    /// Starts a tree on a thread of its own and returns at once; see [`ready`](Self::ready).
    ///
    /// # Errors
    /// The operating system refuses the thread.
    pub fn start(root: SupervisorSpec) -> io::Result<Self> {
        Self::start_with(root, true)
    }

    /// As [`start`](Self::start); without `watchful` hanging children are looked for only by
    /// `check_at`, so that tests control the time.
    pub(super) fn start_with(root: SupervisorSpec, watchful: bool) -> io::Result<Self> {
        let spec = ChildSpec::from(root);
        let root = Node::plan(&spec);
        let counters = Counters::default();
        let (commands, inbox) = mpsc::unbounded_channel();
        let (set_ready, ready) = watch::channel(false);
        let (set_exit, exit) = watch::channel(None);
        let handle = Handle { root: Arc::clone(&root), commands, ready, exit, counters: counters.clone() };
        thread::Builder::new().name("supervise".to_owned()).spawn(move || {
            actix_rt::System::new().block_on(async move {
                let exit = supervise(&spec, root, counters, inbox, set_ready, watchful).await;
                // What the factories hold is released before anybody hears of the end, so that whoever waited
                // can open the same files again.
                drop(spec);
                tracing::info!(code = exit.code, reason = exit.reason, "tree ended");
                set_exit.send_replace(Some(exit));
            });
        })?;
        Ok(Self(Arc::new(handle)))
    }

    /// Resolves when all children have started.
    ///
    /// # Errors
    /// The tree ended instead.
    pub async fn ready(&self) -> Result<(), Exit> {
        let mut ready = self.0.ready.clone();
        match ready.wait_for(|ready| *ready).await {
            Ok(_) => Ok(()),
            Err(_) => Err(self.wait().await),
        }
    }

    /// Resolves when the tree has ended: all children are down and the threads are gone.
    pub async fn wait(&self) -> Exit {
        let mut exit = self.0.exit.clone();
        let ended = exit.wait_for(Option::is_some).await.ok().and_then(|exit| exit.clone());
        ended.unwrap_or_else(|| Exit { code: GAVE_UP, reason: "the supervision thread died".to_owned() })
    }

    /// Stops all children bottom-up, each within its timeout, and waits for the end.
    pub async fn stop(&self) -> Exit {
        // Fails only if the tree has ended.
        let _ = self.0.commands.send(Command::Stop);
        self.wait().await
    }

    /// The tree as it is now. Cheap, from any thread, never waits for a child.
    pub fn view(&self) -> NodeView {
        self.0.root.view()
    }

    /// Resolves as soon as the tree looks as wanted. Without a timeout.
    pub async fn until(&self, mut wanted: impl FnMut(&NodeView) -> bool) {
        let mut changes = self.0.root.changes();
        loop {
            changes.mark_unchanged();
            if wanted(&self.view()) {
                return;
            }
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// How often turns took too long, by family of children.
    pub fn stalls(&self) -> Vec<(&'static str, Stalled)> {
        self.0.counters.loads.stalls()
    }

    /// Makes an actor or a task block its thread for a while, as a handler with an endless loop would. For tests
    /// of the watchdog.
    ///
    /// # Errors
    /// No such child, or it does not live at the moment.
    pub fn hang(&self, path: &str, span: Duration) -> Result<(), NoSuchChild> {
        if self.0.root.hang(path, span) { Ok(()) } else { Err(NoSuchChild) }
    }

    /// Makes a child end as by a crash: `jobs/dispatch`, or an empty path for the root. For tests of recovery.
    ///
    /// # Errors
    /// No such child, or it does not live at the moment.
    pub fn kill(&self, path: &str) -> Result<(), NoSuchChild> {
        if self.0.root.kill(path) { Ok(()) } else { Err(NoSuchChild) }
    }
}

impl std::fmt::Debug for Tree {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.view())
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let _ = self.commands.send(Command::Stop);
    }
}

#[cfg(test)]
impl Tree {
    /// Lives that have not ended, and how many have crashed so far.
    pub(super) fn counts(&self) -> (usize, u64) {
        use std::sync::atomic::Ordering::SeqCst;
        (self.0.counters.alive.load(SeqCst), self.0.counters.crashes.load(SeqCst))
    }

    /// One look of the watchdog as if it were `at`.
    pub(super) async fn check_at(&self, at: tokio::time::Instant) {
        let (done, looked) = tokio::sync::oneshot::channel();
        let _ = self.0.commands.send(Command::Check(at, done));
        let _ = looked.await;
    }
}

/// The life of the supervision thread.
async fn supervise(
    spec: &ChildSpec,
    root: Arc<Node>,
    counters: Counters,
    mut commands: mpsc::UnboundedReceiver<Command>,
    ready: watch::Sender<bool>,
    watchful: bool,
) -> Exit {
    let Kind::Supervisor(group) = &spec.kind else {
        unreachable!("the root is made from a SupervisorSpec");
    };
    let shared = Shared::new(counters);
    let (events, mut reports) = mpsc::unbounded_channel();
    let epoch = root.starting().number();
    let parent = Parent { id: shared.next_id(), epoch, events };
    let supervisor = Supervisor::new(Arc::clone(group), Arc::clone(&root), shared.clone(), parent);
    let (control, killer) = (supervisor.sender.clone(), supervisor.sender.clone());
    root.killable(move || drop(killer.send(Event::Kill)));
    supervisor.spawn();
    let watchdog = shared.watchdog.clone();
    let looking = watchdog.run();
    tokio::pin!(looking);
    let ending = loop {
        tokio::select! {
            report = reports.recv() => match report {
                Some(Event::Ended { ending, .. }) => break ending,
                Some(_) => {
                    root.set(State::Running);
                    ready.send_replace(true);
                }
                None => break Ending::Crashed("the root supervisor died".to_owned()),
            },
            command = commands.recv() => match command {
                #[cfg(test)]
                Some(Command::Check(at, done)) => {
                    watchdog.check(at);
                    let _ = done.send(());
                }
                Some(Command::Stop) | None => drop(control.send(Event::Halt)),
            },
            never = &mut looking, if watchful => match never {},
        }
    };
    shared.families.stop().await;
    root.ended(ending.error());
    root.set(if ending.is_abnormal() { State::Closed } else { State::Stopped });
    match ending {
        Ending::Stopped => Exit { code: 0, reason: "stopped".to_owned() },
        Ending::Failed(error) | Ending::Crashed(error) => Exit { code: GAVE_UP, reason: error },
    }
}
