// SPDX-License-Identifier: Apache-2.0
//! Which queues have an actor: started by the first who waits there, retired when nobody has for a while.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use jobbie_broker::QueueKey;
use jobbie_store::Reader;

use super::actor::QueueActor;
use super::messages::{Park, Stir};
use super::waiter::Waiter;
use crate::clock::Clock;
use crate::supervise::{Children, Port, PortError, Slot, StartError, actor};

/// Messages that may wait at one queue: beyond it, fetches are told to come back.
const MAILBOX: usize = 8192;

/// Queues that somebody waits at: what a fetch may name is bounded, what many fetches name is not.
const MOST: usize = 20_000;

/// The queue actors. Cheap to clone.
#[derive(Clone)]
pub struct Queues {
    inner: Arc<Inner>,
}

struct Inner {
    children: Children,
    reader: Reader,
    clock: Clock,
    doors: Mutex<HashMap<QueueKey, Door>>,
    /// Starts and retirements one after the other.
    changing: tokio::sync::Mutex<()>,
}

#[derive(Clone)]
struct Door {
    park: Port<Park>,
    stir: Port<Stir>,
}

impl Queues {
    /// No queues yet.
    #[must_use]
    pub fn new(reader: Reader, clock: Clock) -> Self {
        Self {
            inner: Arc::new(Inner {
                children: Children::new(),
                reader,
                clock,
                doors: Mutex::default(),
                changing: tokio::sync::Mutex::default(),
            }),
        }
    }

    /// For the dynamic supervisor of the tree.
    #[must_use]
    pub fn children(&self) -> &Children {
        &self.inner.children
    }

    fn doors(&self) -> MutexGuard<'_, HashMap<QueueKey, Door>> {
        self.inner.doors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets somebody wait at a queue.
    ///
    /// # Errors
    /// If the queue's actor is restarting or its mailbox is full: nobody waits there then.
    pub async fn park(&self, key: &QueueKey, waiter: &Waiter) -> Result<(), PortError> {
        let known = self.doors().get(key).cloned();
        let door = match known {
            Some(door) => door,
            None => self.open(key).await?,
        };
        door.park.tell(Park(waiter.ticket()))
    }

    /// Something about a queue has changed: if somebody waits there, look whether they can be woken.
    pub fn stir(&self, key: &QueueKey) {
        if let Some(door) = self.doors().get(key) {
            // A full mailbox holds a message that makes the actor look; a dead actor has nobody waiting.
            let _ = door.stir.tell(Stir);
        }
    }

    /// As [`Queues::stir`], for every queue.
    pub fn stir_all(&self) {
        for door in self.doors().values() {
            let _ = door.stir.tell(Stir);
        }
    }

    async fn open(&self, key: &QueueKey) -> Result<Door, PortError> {
        let _changing = self.inner.changing.lock().await;
        if let Some(door) = self.doors().get(key) {
            return Ok(door.clone());
        }
        if self.doors().len() >= MOST {
            return Err(PortError::Overloaded);
        }
        let slot = Slot::new(MAILBOX);
        let door = Door { park: slot.port(), stir: slot.port() };
        // Weak, because the supervisor keeps the factory and the directory keeps the supervisor's handle.
        let (queues, own, stir) = (Arc::downgrade(&self.inner), key.clone(), door.stir.clone());
        let (reader, clock) = (self.inner.reader.clone(), self.inner.clock.clone());
        let child = actor(name(key), &slot, move |epoch| {
            let (key, retire) = (own.clone(), Retire(queues.clone()));
            QueueActor::new(epoch, key, reader.clone(), clock.clone(), retire, stir.clone())
        })
        .family("queues");
        let mut started = self.inner.children.start(child.clone()).await;
        if started == Err(StartError::Exists) {
            // Its retirement fell into a restart of the supervisor, which has started it again without a door.
            let _ = self.inner.children.stop(&name(key)).await;
            started = self.inner.children.start(child).await;
        }
        if let Err(error) = started {
            tracing::warn!(queue = %key.queue, %error, "a queue's actor does not start yet");
            return Err(PortError::Unavailable);
        }
        self.doors().insert(key.clone(), door.clone());
        Ok(door)
    }
}

/// How a queue's actor retires.
#[derive(Clone)]
pub struct Retire(Weak<Inner>);

impl Retire {
    /// Stops the actor of a queue where nobody waits. Whoever came in the meantime is sent back to look by
    /// themselves and opens it again.
    pub(super) async fn retire(self, key: &QueueKey) {
        let Some(inner) = self.0.upgrade() else { return };
        let _changing = inner.changing.lock().await;
        inner.doors.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
        // Not there means that its supervisor is restarting: then it starts an actor that retires again.
        let _ = inner.children.stop(&name(key)).await;
    }
}

/// The child's name in the tree.
fn name(key: &QueueKey) -> String {
    format!("{}/{}", key.namespace, key.queue)
}
