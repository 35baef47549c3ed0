// SPDX-License-Identifier: Apache-2.0
//! Threads that must not block, and the check in front of every call that does.
//!
//! An arbiter runs all actors of a family, and a thread of the HTTP server thousands of connections: one disk read
//! there is a pause for all of them. Such threads are marked when they start. Whatever may wait for the disk asks
//! [`may_block`] first, which counts, and says once for each kind of call, what was done on the wrong thread. The
//! check is one look at a thread-local, so it is in every build: a count above zero is a bug wherever it is seen.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

thread_local! {
    static MARK: Cell<Option<&'static str>> = const { Cell::new(None) };
}

static CALLS: AtomicU64 = AtomicU64::new(0);
static REPORTED: Mutex<BTreeSet<(&str, &str)>> = Mutex::new(BTreeSet::new());

/// Marks the current thread as one that must not block, for as long as it lives. `name` is for the log.
pub fn forbid(name: &'static str) {
    MARK.set(Some(name));
}

/// Calls of this process that blocked a thread which must not block.
#[must_use]
pub fn calls() -> u64 {
    CALLS.load(Ordering::Relaxed)
}

/// Stands in front of a call that may wait for the disk or the network.
#[inline]
pub fn may_block(what: &'static str) {
    if let Some(thread) = MARK.get() {
        wrong_thread(thread, what);
    }
}

#[cold]
fn wrong_thread(thread: &'static str, what: &'static str) {
    CALLS.fetch_add(1, Ordering::Relaxed);
    let new = REPORTED.lock().unwrap_or_else(PoisonError::into_inner).insert((thread, what));
    if new {
        tracing::error!(thread, what, "a call that may block was made on a thread that must not");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_marked_threads_are_counted() {
        let before = calls();
        may_block("a test");
        let marked = std::thread::spawn(|| {
            forbid("marked");
            may_block("a test");
            may_block("a test");
        });
        marked.join().unwrap();
        assert_eq!(calls(), before + 2);
    }
}
