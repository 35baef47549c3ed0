// SPDX-License-Identifier: Apache-2.0
//! What callers and the writer share: the queue, and the log as callers see it.
//!
//! ```text
//! append ──► [ fold, cache, queue ] one lock ──► writer ──► disk, then the index of places
//! read   ──►   cache, else index of places, else wrong
//! ```
//!
//! A call takes effect for readers when it is queued, and on disk when the writer gets to it, in the same
//! order. Disk content never changes once written, so a reader that has found its places needs no lock.

use std::io;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;

use super::cache::Cache;
use super::record::{Mark, Record};
use super::summary::{Summary, Truncation};

/// Called by the writer thread once a call is as durable as it promised to be, or has failed.
pub type Callback = Box<dyn FnOnce(io::Result<()>) + Send>;

/// How long the last known commit may stay in memory when nothing else is written: as far as relaxed mode
/// may be behind. It is only a hint for restarts, so no write of its own is worth a wake-up.
const COMMITTED_LAG: Duration = Duration::from_millis(100);

/// One call for the writer.
pub(crate) enum Action {
    Append(Vec<Record>),
    Vote(Bytes),
    Truncate(Truncation),
    Purge(Mark),
    /// Nothing but what was called before, synced.
    Sync,
}

pub(crate) struct Op {
    pub action: Action,
    pub done: Callback,
}

/// Everything that waited.
#[derive(Default)]
pub(crate) struct Work {
    pub ops: Vec<Op>,
    pub committed: Option<Option<Mark>>,
    /// The last ticket among `ops`.
    pub ticket: u64,
    /// Whether this is the last work.
    pub closing: bool,
}

/// The log as callers see it.
pub(crate) struct View<I> {
    pub summary: Summary,
    pub cache: Cache<I>,
    ops: Vec<Op>,
    committed: Option<Option<Mark>>,
    ticket: u64,
    /// Why no more calls are taken.
    closed: Option<String>,
    shutdown: bool,
    /// Whether the writer sleeps, and whether it does so without an end.
    parked: bool,
    idle: bool,
}

pub(crate) struct Queue<I> {
    view: Mutex<View<I>>,
    wake: Condvar,
    failure: watch::Sender<Option<String>>,
}

impl<I> Queue<I> {
    pub(crate) fn new(summary: Summary, cache_bytes: usize) -> Self {
        let view = View {
            summary,
            cache: Cache::new(cache_bytes),
            ops: Vec::new(),
            committed: None,
            ticket: 0,
            closed: None,
            shutdown: false,
            parked: false,
            idle: false,
        };
        Self { view: Mutex::new(view), wake: Condvar::new(), failure: watch::Sender::new(None) }
    }

    pub(crate) fn view(&self) -> MutexGuard<'_, View<I>> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why the log has failed, and word of it when it does.
    pub(crate) fn failure(&self) -> watch::Receiver<Option<String>> {
        self.failure.subscribe()
    }

    /// Refuses every later call. The writer answers those that wait.
    pub(crate) fn fail(&self, reason: &str) {
        self.view().closed.get_or_insert_with(|| reason.to_string());
        self.failure.send_if_modified(|failure| {
            let first = failure.is_none();
            failure.get_or_insert_with(|| reason.to_string());
            first
        });
        self.wake.notify_all();
    }

    /// Whether the log has failed.
    pub(crate) fn failed(&self) -> Option<String> {
        self.failure.borrow().clone()
    }

    /// Takes what waits in a log that takes no more calls.
    pub(crate) fn drain(&self) -> Vec<Op> {
        std::mem::take(&mut self.view().ops)
    }

    /// Refuses every later call, and lets the writer finish.
    pub(crate) fn close(&self) {
        let mut view = self.view();
        view.shutdown = true;
        view.closed.get_or_insert_with(|| "the log is shut down".into());
        drop(view);
        self.wake.notify_all();
    }

    /// Wakes the writer if it sleeps.
    pub(crate) fn release(&self, mut view: MutexGuard<'_, View<I>>) {
        let parked = std::mem::take(&mut view.parked);
        view.idle = false;
        drop(view);
        if parked {
            self.wake.notify_one();
        }
    }

    /// Waits for work. After `lull`, that is after some work was done, a commit that is known but not
    /// written is fetched once nothing else has come for a while.
    pub(crate) fn next(&self, mut lull: bool, spare: Vec<Op>) -> Work {
        let mut view = self.view();
        loop {
            let late = !lull && view.committed.is_some();
            if !view.ops.is_empty() || late || view.shutdown || view.closed.is_some() {
                let ops = std::mem::replace(&mut view.ops, spare);
                view.parked = false;
                view.idle = false;
                return Work {
                    ops,
                    committed: view.committed.take(),
                    ticket: view.ticket,
                    closing: view.shutdown,
                };
            }
            view.parked = true;
            if lull {
                let (next, timeout) =
                    self.wake.wait_timeout(view, COMMITTED_LAG).unwrap_or_else(PoisonError::into_inner);
                view = next;
                lull = !timeout.timed_out();
            } else {
                view.idle = true;
                view = self.wake.wait(view).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }
}

impl<I> View<I> {
    /// The error of a closed log.
    pub(crate) fn ensure_open(&self) -> io::Result<()> {
        match &self.closed {
            None => Ok(()),
            Some(reason) => Err(io::Error::other(reason.clone())),
        }
    }

    /// The ticket of the next call.
    pub(crate) fn next_ticket(&self) -> u64 {
        self.ticket + 1
    }

    pub(crate) fn push(&mut self, action: Action, done: Callback) {
        self.ticket += 1;
        self.ops.push(Op { action, done });
    }

    /// Notes the commit for the next write; answers whether the writer has to be woken for it.
    pub(crate) fn set_committed(&mut self, committed: Option<Mark>) -> bool {
        self.summary.committed = committed;
        self.committed = Some(committed);
        self.idle
    }
}
