// SPDX-License-Identifier: Apache-2.0
//! The handle of a supervisor whose children are started at run time (one child per queue).
//!
//! The children belong to the supervisor, not to the handle: they are restarted with it, and a child that ends
//! for good (stopped, transient and done, or closed) is forgotten.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::{mpsc, oneshot};

use super::{event::Event, spec::ChildSpec};

/// Why a child could not be started.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// There is a child of this name.
    #[error("there is already a child of this name")]
    Exists,
    /// The supervisor does not run at the moment.
    #[error("the supervisor is not running")]
    NotRunning,
    /// The child ended before it was ready. It is forgotten; no restart is booked.
    #[error("the child did not start: {0}")]
    Failed(String),
}

/// No child of that name, or the supervisor does not run (which stops its children too).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no such child")]
pub struct NoSuchChild;

/// Starts and stops children of a dynamic supervisor. Made before the tree; clones are the same handle.
#[derive(Clone, Default)]
pub struct Children(Arc<Inner>);

#[derive(Default)]
struct Inner {
    supervisor: Mutex<Option<mpsc::UnboundedSender<Event>>>,
    /// What was started and not stopped: a restarted supervisor starts these again.
    specs: Mutex<BTreeMap<String, Arc<ChildSpec>>>,
}

impl Children {
    /// A handle for exactly one `dynamic` spec.
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts a child and waits until it is ready.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(&self, child: impl Into<ChildSpec>) -> Result<(), StartError> {
        let (reply, answer) = oneshot::channel();
        self.send(Event::Start { child: Box::new(child.into()), reply }).ok_or(StartError::NotRunning)?;
        answer.await.unwrap_or(Err(StartError::NotRunning))
    }

    /// Stops a child: it handles what it has admitted, within its stop timeout, and is forgotten.
    ///
    /// # Errors
    /// [`NoSuchChild`].
    pub async fn stop(&self, name: &str) -> Result<(), NoSuchChild> {
        let (reply, answer) = oneshot::channel();
        self.send(Event::Remove { name: name.to_owned(), reply }).ok_or(NoSuchChild)?;
        answer.await.unwrap_or(Err(NoSuchChild))
    }

    fn send(&self, event: Event) -> Option<()> {
        let supervisor = self.0.supervisor.lock().unwrap_or_else(PoisonError::into_inner);
        supervisor.as_ref()?.send(event).ok()
    }

    pub(super) fn attach(&self, supervisor: Option<mpsc::UnboundedSender<Event>>) {
        *self.0.supervisor.lock().unwrap_or_else(PoisonError::into_inner) = supervisor;
    }

    pub(super) fn specs(&self) -> Vec<Arc<ChildSpec>> {
        self.0.specs.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    pub(super) fn remember(&self, spec: Arc<ChildSpec>) {
        let name = spec.name.clone();
        self.0.specs.lock().unwrap_or_else(PoisonError::into_inner).insert(name, spec);
    }

    pub(super) fn forget(&self, name: &str) {
        self.0.specs.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }
}

impl std::fmt::Debug for Children {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.specs().iter().map(|spec| &spec.name)).finish()
    }
}
