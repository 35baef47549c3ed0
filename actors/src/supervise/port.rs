// SPDX-License-Identifier: Apache-2.0
//! What is handed out instead of an actix address: it survives restarts, is bounded, and always answers.
//!
//! - `P1` an `ask` never hangs because its receiver died or hangs for good: it resolves to an error.
//! - `P2` [`PortError::Unavailable`] and [`PortError::Overloaded`] mean that no handler has seen the message and
//!   none will; [`PortError::Lost`] means that a handler began it and the outcome is unknown.
//! - `P3` a reply of a fenced life is dropped.

use std::{
    fmt,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
};

use actix::Message;
use tokio::sync::oneshot;

use super::epoch::Epoch;

/// Why a port has no reply. None of them is a reply of the actor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PortError {
    /// The mailbox is full. Nothing has happened; try again later.
    #[error("the mailbox is full")]
    Overloaded,
    /// The actor is starting, restarting, stopping or closed. Nothing has happened; try again later.
    #[error("the actor is not available")]
    Unavailable,
    /// The actor began with the message and died, was fenced, or dropped it: it may have happened.
    #[error("the actor was lost while it handled the message")]
    Lost,
}

/// Sends messages of one type to whoever sits in a slot at that moment. Clone, `Send` and `Sync`.
pub struct Port<M: Message>(Arc<dyn Deliver<M>>);

/// What stands behind a port.
pub(super) trait Deliver<M: Message>: Send + Sync {
    fn ask(&self, message: M) -> Result<Delivery<M::Result>, PortError>;
    fn tell(&self, message: M) -> Result<(), PortError>;
}

/// An admitted message whose reply is awaited.
pub(super) struct Delivery<R> {
    pub(super) answer: oneshot::Receiver<R>,
    pub(super) epoch: Epoch,
    pub(super) begun: Arc<AtomicBool>,
}

impl<M> Port<M>
where
    M: Message + Send + 'static,
    M::Result: Send,
{
    pub(super) fn new(behind: Arc<dyn Deliver<M>>) -> Self {
        Self(behind)
    }

    /// Sends a message and resolves to the reply. The message is sent by the call itself, not by the first
    /// poll, so the order of calls is the order of messages. A message whose future is dropped before its turn
    /// is skipped. There is no timeout: put one around it where a wait must end.
    ///
    /// # Errors
    /// See [`PortError`].
    #[must_use = "an `ask` that is dropped is cancelled; use `tell` for a message without a reply"]
    pub fn ask(
        &self,
        message: M,
    ) -> impl Future<Output = Result<M::Result, PortError>> + Send + 'static + use<M> {
        let sent = self.0.ask(message);
        async move {
            let Delivery { answer, epoch, begun } = sent?;
            let answer = tokio::select! {
                biased;
                answer = answer => answer.ok(),
                () = epoch.closed() => None,
            };
            match answer {
                Some(answer) if !epoch.is_fenced() => Ok(answer),
                _ if begun.load(SeqCst) => Err(PortError::Lost),
                _ => Err(PortError::Unavailable),
            }
        }
    }

    /// Sends a message without waiting for a reply. `Ok` means admitted: it is lost if the actor dies first.
    ///
    /// # Errors
    /// [`PortError::Overloaded`] or [`PortError::Unavailable`].
    pub fn tell(&self, message: M) -> Result<(), PortError> {
        self.0.tell(message)
    }

    /// A port that answers by a function, as a test double.
    pub fn answering(answer: impl Fn(M) -> M::Result + Send + Sync + 'static) -> Self {
        Self::new(Arc::new(Double(move |message| Ok(answer(message)))))
    }

    /// A port that always fails, as a test double and for a feature that is not there.
    pub fn failing(error: PortError) -> Self {
        Self::new(Arc::new(Double(move |_| Err(error))))
    }
}

struct Double<F>(F);

impl<M, F> Deliver<M> for Double<F>
where
    M: Message,
    F: Fn(M) -> Result<M::Result, PortError> + Send + Sync,
{
    fn ask(&self, message: M) -> Result<Delivery<M::Result>, PortError> {
        let answer = (self.0)(message)?;
        let (reply, receiver) = oneshot::channel();
        // The receiver is held two lines above, so the send cannot fail.
        let _ = reply.send(answer);
        Ok(Delivery { answer: receiver, epoch: Epoch::detached(), begun: Arc::default() })
    }

    fn tell(&self, message: M) -> Result<(), PortError> {
        (self.0)(message).map(drop)
    }
}

impl<M: Message> Clone for Port<M> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<M: Message> fmt::Debug for Port<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Port<{}>", std::any::type_name::<M>())
    }
}
