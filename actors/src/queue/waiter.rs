// SPDX-License-Identifier: Apache-2.0
//! Somebody who waits for a job, at one queue or several, with the claim that is put into the log for them when
//! there is one.
//!
//! - `W1` a waiter is served at most once: its claim is taken out of one shared place.
//! - `W2` a claim that has been taken is answered, or its outcome is not known; one that has not been taken can
//!   be withdrawn. No waiter is forgotten in between.

use std::sync::{Arc, Mutex, PoisonError};

use jobbie_broker::Submission;
use tokio::sync::oneshot;

use super::line::Claiming;
use crate::ports::{Claim, Claimed, Decided, Lane, Owner};
use crate::raft_node::proposer::Answer;

/// A claim that is not in the log yet, and who waits for its outcome.
pub(crate) struct Parked {
    submission: Submission,
    /// How many jobs it asks for; at least 1.
    count: u32,
    owner: Owner,
    answer: oneshot::Sender<Claim>,
}

/// A claim that is on its way into the log.
pub(crate) struct Proposed {
    /// Whose turn it is.
    pub lane: Lane,
    /// The command.
    pub submission: Submission,
    /// What takes its outcome to the waiter.
    pub answer: Answer,
}

type Bell = Arc<Mutex<Option<Parked>>>;

/// Somebody who waits. Gives a [`Ticket`] to each queue. Dropped, it waits no longer.
pub(crate) struct Waiter {
    bell: Bell,
}

/// A waiter's place in one queue.
pub(crate) struct Ticket {
    bell: Bell,
}

fn take(bell: &Bell) -> Option<Parked> {
    bell.lock().unwrap_or_else(PoisonError::into_inner).take()
}

impl Parked {
    /// A claim of up to `count` jobs, and where its outcome comes.
    #[must_use]
    pub fn new(owner: Owner, submission: Submission, count: u32) -> (Self, oneshot::Receiver<Claim>) {
        let (answer, answered) = oneshot::channel();
        (Self { submission, count: count.max(1), owner, answer }, answered)
    }

    /// How many jobs it would take.
    #[must_use]
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// Whether nobody waits for the outcome any more.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.answer.is_closed()
    }

    /// The command, and what takes its outcome to the waiter. A waiter who has gone away by then, or goes before
    /// taking it, loses nothing: the jobs are given back.
    #[must_use]
    pub fn into_proposal(self, claiming: Option<Claiming>) -> Proposed {
        let Self { submission, owner, answer, .. } = self;
        let lane = owner.caller.lane;
        let call = move |decided: Result<Decided, _>| {
            let claim = decided
                .map(|Decided { index, reply }| Decided { index, reply: Claimed::of(index, reply, owner) });
            drop(answer.send(claim));
            drop(claiming);
        };
        Proposed { lane, submission, answer: Answer::Call(Box::new(call)) }
    }
}

impl Waiter {
    /// A waiter with a claim.
    #[must_use]
    pub fn new(parked: Parked) -> Self {
        Self { bell: Arc::new(Mutex::new(Some(parked))) }
    }

    /// A place in one more queue.
    #[must_use]
    pub fn ticket(&self) -> Ticket {
        Ticket { bell: self.bell.clone() }
    }

    /// Waits no longer; `None` if the claim has been taken, and its outcome is on its way.
    #[must_use]
    pub fn withdraw(&self) -> Option<Parked> {
        take(&self.bell)
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        drop(self.withdraw());
    }
}

impl Ticket {
    /// The claim; `None` if the waiter is served already or has gone away.
    #[must_use]
    pub fn take(self) -> Option<Parked> {
        take(&self.bell).filter(|parked| !parked.is_gone())
    }

    /// True if there is nobody to serve any more.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        let bell = self.bell.lock().unwrap_or_else(PoisonError::into_inner);
        bell.as_ref().is_none_or(Parked::is_gone)
    }
}
