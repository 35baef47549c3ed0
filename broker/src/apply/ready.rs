// SPDX-License-Identifier: Apache-2.0
//! What becomes of a job that is to run, or to wait: the one rule behind promote, release, fail, crash,
//! retry and patch, and the ends that take its place.
//!
//! A job whose `expire_at` has passed does not wait again, it is dead.

use std::sync::Arc;

use super::context::Context;
use super::settle::Open;
use crate::event::Change;
use crate::job::Job;
use crate::state::{Reason, State};
use crate::tables::Tables;
use crate::time::Timestamp;

/// When a job is to run.
#[derive(Clone, Copy)]
pub enum Again {
    /// As soon as a worker asks.
    Now,
    /// At a time that somebody set.
    Scheduled(Timestamp),
    /// After a backoff.
    Retrying(Timestamp),
}

impl<T: Tables> Context<'_, T> {
    /// The state of a job that is to run at a time; a time that has come means pending.
    pub fn waiting_state(&self, job: &Job, again: Again) -> State {
        if job.is_expired(self.now) {
            return State::Dead { at: self.now, reason: Reason::Expired };
        }
        match again {
            Again::Scheduled(at) if at > self.now => State::Scheduled { at },
            Again::Retrying(at) if at > self.now => State::Retrying { at },
            _ => State::Pending,
        }
    }

    /// The state that the end of an attempt leads to: called off if somebody asked for that while it ran,
    /// else on to the next attempt or dead for the reason given.
    pub fn state_after_attempt(&self, job: &Job, next: Result<Again, Reason>) -> State {
        if job.cancel_requested_at.is_some() {
            return State::Cancelled { at: self.now, reason: Reason::Cancelled };
        }
        match next {
            Ok(again) => self.waiting_state(job, again),
            Err(reason) => State::Dead { at: self.now, reason },
        }
    }

    /// Moves a job to a state and tells of it: as dead or cancelled if that is where it goes, else as `change`.
    pub fn go_to(&mut self, mut open: Open, state: State, change: Change) -> Result<Arc<Job>, T::Fault> {
        let change = match state {
            State::Dead { .. } => Change::Died,
            State::Cancelled { .. } => Change::Cancelled,
            _ => change,
        };
        open.job.state = state;
        self.settle(open, change)
    }

    /// Makes a job ready to be fetched.
    pub fn make_ready(&mut self, open: Open, change: Change) -> Result<Arc<Job>, T::Fault> {
        let state = self.waiting_state(&open.job, Again::Now);
        self.go_to(open, state, change)
    }

    /// Gives a job up.
    pub fn die(&mut self, open: Open, reason: Reason) -> Result<Arc<Job>, T::Fault> {
        let state = State::Dead { at: self.now, reason };
        self.go_to(open, state, Change::Died)
    }
}
