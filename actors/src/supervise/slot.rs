// SPDX-License-Identifier: Apache-2.0
//! The stable place of an actor: made once, before the tree starts; the actor inside comes and goes.
//!
//! A [`Slot`] is given to the child spec (which fills it at each start) and to everybody who needs ports of the
//! actor. It must not be given to two child specs.
//!
//! ```text
//! Slot ──current──► epoch 1 ✗ (crashed)      Port<M> ─┐
//!      └─current──► epoch 2 ◄────────────────────────┴─ resolved anew for each message
//! ```

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use actix::{Actor, Context, Handler, Message};
use arc_swap::ArcSwapOption;
use tokio::sync::oneshot;

use super::{
    epoch::Epoch,
    mailbox::{Letter, Letters},
    port::{Deliver, Delivery, Port, PortError},
};

/// The stable place of an actor of type `A`. Clones are the same place.
pub struct Slot<A: Actor>(Arc<Place<A>>);

struct Place<A: Actor> {
    capacity: usize,
    current: ArcSwapOption<Occupant<A>>,
    /// The latest life; guards `current` against an older one that comes late.
    latest: Mutex<Option<Epoch>>,
}

struct Occupant<A: Actor> {
    epoch: Epoch,
    letters: Letters<A>,
}

impl<A: Actor<Context = Context<A>>> Slot<A> {
    /// An empty slot. `capacity` is the number of messages that may wait in the mailbox at a time, over all
    /// ports and senders; one more is [`PortError::Overloaded`]. A message counts until its handler has
    /// returned; a future the handler returned does not count, so an actor bounds its parked work itself.
    pub fn new(capacity: usize) -> Self {
        Self(Arc::new(Place { capacity, current: ArcSwapOption::empty(), latest: Mutex::new(None) }))
    }

    /// A port for messages of type `M`.
    pub fn port<M>(&self) -> Port<M>
    where
        A: Handler<M>,
        M: Message + Send + 'static,
        M::Result: Send,
    {
        Port::new(self.0.clone())
    }

    /// Whether an actor is in the slot and takes messages.
    pub fn is_open(&self) -> bool {
        self.0.current.load().is_some()
    }

    /// Announces a new life; earlier ones can no longer open the slot.
    pub(super) fn begin(&self, epoch: &Epoch) {
        let mut latest = self.latest();
        *latest = Some(epoch.clone());
        self.0.current.store(None);
    }

    pub(super) fn open(&self, epoch: &Epoch, letters: Letters<A>) {
        let latest = self.latest();
        if latest.as_ref().is_some_and(|latest| latest.is_same(epoch)) && epoch.is_current() {
            self.0.current.store(Some(Arc::new(Occupant { epoch: epoch.clone(), letters })));
        }
    }

    /// Admits no further message for this life; what was admitted can still be answered.
    pub(super) fn shut(&self, epoch: &Epoch) {
        let latest = self.latest();
        if latest.as_ref().is_some_and(|latest| latest.is_same(epoch)) {
            self.0.current.store(None);
        }
    }

    fn latest(&self) -> MutexGuard<'_, Option<Epoch>> {
        self.0.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<A, M> Deliver<M> for Place<A>
where
    A: Actor<Context = Context<A>> + Handler<M>,
    M: Message + Send + 'static,
    M::Result: Send,
{
    fn ask(&self, message: M) -> Result<Delivery<M::Result>, PortError> {
        let current = self.current.load();
        let occupant = current.as_ref().ok_or(PortError::Unavailable)?;
        let place = occupant.epoch.admit(self.capacity).ok_or(PortError::Overloaded)?;
        let (reply, answer) = oneshot::channel();
        let begun = Arc::default();
        let delivery = Delivery { answer, epoch: occupant.epoch.clone(), begun: Arc::clone(&begun) };
        let letter = Letter { message, reply: Some(reply), begun: Some(begun), place };
        occupant.letters.send(Box::new(letter)).map_err(|_| PortError::Unavailable)?;
        Ok(delivery)
    }

    fn tell(&self, message: M) -> Result<(), PortError> {
        let current = self.current.load();
        let occupant = current.as_ref().ok_or(PortError::Unavailable)?;
        let place = occupant.epoch.admit(self.capacity).ok_or(PortError::Overloaded)?;
        let letter = Letter { message, reply: None, begun: None, place };
        occupant.letters.send(Box::new(letter)).map_err(|_| PortError::Unavailable)
    }
}

impl<A: Actor> Clone for Slot<A> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<A: Actor> fmt::Debug for Slot<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let epoch = self.0.current.load().as_ref().map(|occupant| occupant.epoch.number());
        f.debug_struct("Slot").field("capacity", &self.0.capacity).field("epoch", &epoch).finish()
    }
}
