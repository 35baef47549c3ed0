// SPDX-License-Identifier: Apache-2.0
//! The mailbox of a supervised actor: a bounded queue of its own that runs inside actix's context.
//!
//! actix's mailbox is no bound (each `Addr` clone has its own slot) and cannot be emptied from outside, so it
//! stays unused. [`Mailbox`] is an `ActorFuture` spawned into the context before the actor starts; it hands
//! messages to the actor's ordinary `Handler`s. `ctx.wait` and `ctx.stop` work as in plain actix.
//!
//! - `M1` the first turn of the mailbox comes after `started()` and after what `started()` put into `ctx.wait`:
//!   that is the moment the actor is ready and its slot opens.
//! - `M2` after the epoch is closed no further message is begun.
//! - `M3` each turn answers the watchdog's ping, without help of the actor.
//!
//! ```text
//! Port::ask ─► admitted? ─► queue ─► Mailbox (in the actor's context) ─► Handler::handle ─► reply
//! ```

use std::{
    pin::Pin,
    sync::{Arc, atomic::AtomicBool},
    task::Poll,
};

use actix::{
    Actor, ActorContext, AsyncContext, Context, Handler, Message,
    dev::{MessageResponse, OneshotSender},
    fut::ActorFuture,
};
use tokio::sync::mpsc;

use super::epoch::{Epoch, Place};

/// A message on its way to an actor of type `A`.
pub(super) trait Envelope<A: Actor>: Send {
    fn open(self: Box<Self>, epoch: &Epoch, actor: &mut A, ctx: &mut A::Context);
}

pub(super) type Letters<A> = mpsc::UnboundedSender<Box<dyn Envelope<A>>>;

/// A message of a caller, with its place and the way back.
pub(super) struct Letter<M: Message> {
    pub(super) message: M,
    pub(super) reply: Option<OneshotSender<M::Result>>,
    pub(super) begun: Option<Arc<AtomicBool>>,
    pub(super) place: Place,
}

impl<A, M> Envelope<A> for Letter<M>
where
    A: Actor<Context = Context<A>> + Handler<M>,
    M: Message + Send,
    M::Result: Send,
{
    fn open(self: Box<Self>, epoch: &Epoch, actor: &mut A, ctx: &mut A::Context) {
        let Self { message, reply, begun, place } = *self;
        // A caller that went away no longer wants the work done; actix does the same.
        if reply.as_ref().is_some_and(|reply| reply.is_closed()) {
            return;
        }
        if begun.is_some_and(|begun| !epoch.begin(&begun)) {
            return;
        }
        actor.handle(message, ctx).handle(ctx, reply);
        drop(place);
    }
}

/// Asks the actor to stop; queued behind everything admitted before it, so stopping drains the mailbox.
pub(super) struct StopLetter;

impl<A: Actor<Context = Context<A>>> Envelope<A> for StopLetter {
    fn open(self: Box<Self>, _: &Epoch, _: &mut A, ctx: &mut A::Context) {
        ctx.stop();
    }
}

/// Runs inside the actor's context and feeds it.
pub(super) struct Mailbox<A: Actor> {
    epoch: Epoch,
    letters: mpsc::UnboundedReceiver<Box<dyn Envelope<A>>>,
    opened: Option<Box<dyn FnOnce()>>,
}

impl<A: Actor<Context = Context<A>>> Mailbox<A> {
    /// Puts a mailbox into `ctx`; `opened` is called once the actor is ready.
    pub(super) fn install(
        ctx: &mut Context<A>,
        epoch: Epoch,
        letters: mpsc::UnboundedReceiver<Box<dyn Envelope<A>>>,
        opened: impl FnOnce() + 'static,
    ) {
        ctx.spawn(Self { epoch, letters, opened: Some(Box::new(opened)) });
    }
}

impl<A: Actor<Context = Context<A>>> ActorFuture<A> for Mailbox<A> {
    type Output = ();

    fn poll(
        mut self: Pin<&mut Self>,
        actor: &mut A,
        ctx: &mut A::Context,
        task: &mut std::task::Context<'_>,
    ) -> Poll<()> {
        self.epoch.pong(task.waker());
        if let Some(opened) = self.opened.take() {
            opened();
        }
        // `waiting` is true after `ctx.wait` and `ctx.stop`; the context polls us again when that is over.
        // tokio's own budget ends a long run of messages, so that siblings on the arbiter get their turn.
        while !ctx.waiting() && self.epoch.is_current() {
            match self.letters.poll_recv(task) {
                Poll::Ready(Some(letter)) => {
                    self.epoch.count_taken();
                    letter.open(&self.epoch, actor, ctx);
                }
                Poll::Ready(None) => return Poll::Ready(()),
                Poll::Pending => break,
            }
        }
        Poll::Pending
    }
}
