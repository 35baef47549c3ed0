// SPDX-License-Identifier: Apache-2.0
//! An actor that does what a test tells it, and a diary of who did what.

use std::sync::{Arc, Mutex, mpsc};

use actix::prelude::*;

use crate::supervise::{Backoff, ChildSpec, Epoch, Slot, SupervisorSpec, actor, secs, supervisor};

/// What happened, in order.
#[derive(Clone, Default)]
pub(super) struct Diary(Arc<Mutex<Vec<String>>>);

impl Diary {
    pub(super) fn note(&self, line: impl Into<String>) {
        self.0.lock().unwrap().push(line.into());
    }

    pub(super) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

/// Counts, and misbehaves on request.
pub(super) struct Puppet {
    pub(super) name: &'static str,
    pub(super) diary: Diary,
    pub(super) epoch: Epoch,
    pub(super) count: u32,
    pub(super) panic_at_start: bool,
    pub(super) panic_at_stop: bool,
}

impl Actor for Puppet {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Self::Context) {
        assert!(!self.panic_at_start, "no start today");
        self.diary.note(format!("{} started", self.name));
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        assert!(!self.panic_at_stop, "no stop today");
        self.diary.note(format!("{} stopped", self.name));
    }
}

/// Counts up; replies with the count of this life.
#[derive(Message)]
#[rtype(result = "u32")]
pub(super) struct Count;

/// Panics.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Boom;

/// Ends by itself, in order or with a reason.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Quit(pub(super) Option<&'static str>);

/// Blocks the thread: says that it does, then waits for the release. Replies whether its epoch is current then.
#[derive(Message)]
#[rtype(result = "bool")]
pub(super) struct Block {
    pub(super) blocked: tokio::sync::oneshot::Sender<()>,
    pub(super) release: mpsc::Receiver<()>,
}

impl Block {
    /// The message, the news that it has begun, and the way to end it.
    pub(super) fn new() -> (Self, tokio::sync::oneshot::Receiver<()>, mpsc::Sender<()>) {
        let (blocked, begun) = tokio::sync::oneshot::channel();
        let (release, released) = mpsc::channel();
        (Self { blocked, release: released }, begun, release)
    }
}

/// Says that it has begun, then waits in `ctx.wait` for ever.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct WaitForEver(pub(super) tokio::sync::oneshot::Sender<()>);

impl Handler<Count> for Puppet {
    type Result = u32;
    fn handle(&mut self, _: Count, _: &mut Self::Context) -> u32 {
        self.count += 1;
        self.count
    }
}

impl Handler<Boom> for Puppet {
    type Result = ();
    fn handle(&mut self, _: Boom, _: &mut Self::Context) {
        panic!("boom");
    }
}

impl Handler<Quit> for Puppet {
    type Result = ();
    fn handle(&mut self, quit: Quit, ctx: &mut Self::Context) {
        match quit.0 {
            Some(reason) => self.epoch.fail(ctx, reason),
            None => ctx.stop(),
        }
    }
}

impl Handler<Block> for Puppet {
    type Result = bool;
    fn handle(&mut self, block: Block, _: &mut Self::Context) -> bool {
        let _ = block.blocked.send(());
        let _ = block.release.recv();
        let current = self.epoch.is_current();
        self.diary.note(format!("{} released, current: {current}", self.name));
        current
    }
}

impl Handler<WaitForEver> for Puppet {
    type Result = AtomicResponse<Self, ()>;
    fn handle(&mut self, wait: WaitForEver, _: &mut Self::Context) -> Self::Result {
        let _ = wait.0.send(());
        AtomicResponse::new(Box::pin(std::future::pending::<()>().into_actor(self)))
    }
}

/// A slot for a puppet.
pub(super) fn slot() -> Slot<Puppet> {
    Slot::new(16)
}

/// A puppet as a child.
pub(super) fn puppet(name: &'static str, slot: &Slot<Puppet>, diary: &Diary) -> ChildSpec {
    custom(name, slot, diary, |_| {})
}

/// A puppet that is changed after it is built.
pub(super) fn custom(
    name: &'static str,
    slot: &Slot<Puppet>,
    diary: &Diary,
    change: impl Fn(&mut Puppet) + Send + Sync + 'static,
) -> ChildSpec {
    let diary = diary.clone();
    actor(name, slot, move |epoch| {
        let diary = diary.clone();
        let mut puppet = Puppet { name, diary, epoch, count: 0, panic_at_start: false, panic_at_stop: false };
        change(&mut puppet);
        puppet
    })
}

/// A supervisor that restarts at once.
pub(super) fn group(name: &str, max: u32) -> SupervisorSpec {
    supervisor(name).budget(max, secs(3600)).backoff(Backoff::NONE)
}
