// SPDX-License-Identifier: Apache-2.0
//! A child that is an actix actor: built by a factory for each life, reached through its slot.
//!
//! Stopping it closes the slot, lets it handle what was admitted, then calls `ctx.stop()`.

use std::{
    future::Future,
    pin::Pin,
    task::{Context as TaskContext, Poll},
};

use actix::{Actor, ActorContext, Context, dev::ContextFut};
use tokio::sync::mpsc;

use super::{
    child::{Birth, Body, Launch, Stop, run},
    epoch::Epoch,
    mailbox::{Mailbox, StopLetter},
    slot::Slot,
};

pub(super) struct ActorChild<A: Actor, F> {
    pub(super) slot: Slot<A>,
    pub(super) factory: std::sync::Arc<F>,
}

impl<A, F> Launch for ActorChild<A, F>
where
    A: Actor<Context = Context<A>>,
    F: Fn(Epoch) -> A + Send + Sync + 'static,
{
    fn launch(&self, birth: Birth) -> Stop {
        let (letters, queue) = mpsc::unbounded_channel();
        let epoch = birth.epoch.clone();
        self.slot.begin(&epoch);
        let (slot, factory, opener) = (self.slot.clone(), self.factory.clone(), letters.clone());
        run(birth, move |birth| {
            let mut ctx = Context::new();
            let (ready, opened) = (birth.clone(), slot.clone());
            Mailbox::install(&mut ctx, birth.epoch.clone(), queue, move || {
                opened.open(&ready.epoch, opener);
                ready.ready();
            });
            let actor = factory(birth.epoch.clone());
            ActorBody { life: ctx.into_future(actor), epoch: birth.epoch.clone(), slot }
        });
        let slot = self.slot.clone();
        Box::new(move || {
            slot.shut(&epoch);
            // Fails only if the actor is gone, and then it has stopped.
            let _ = letters.send(Box::new(StopLetter));
        })
    }
}

struct ActorBody<A: Actor<Context = Context<A>>> {
    life: ContextFut<A, Context<A>>,
    epoch: Epoch,
    slot: Slot<A>,
}

impl<A: Actor<Context = Context<A>>> Body for ActorBody<A> {
    fn turn(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<(), String>> {
        Pin::new(&mut self.life).poll(cx).map(|()| self.epoch.take_failure().map_or(Ok(()), Err))
    }

    fn crashed(&mut self) {
        // Otherwise the drop of a live context would run `stopping()` and `stopped()`.
        self.life.ctx().terminate();
    }

    fn closed(&self, epoch: &Epoch) {
        self.slot.shut(epoch);
    }
}
