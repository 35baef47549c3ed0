// SPDX-License-Identifier: Apache-2.0
//! Applying commands: the only door to the rules.

use crate::command::{Command, Proposal};
use crate::event::Event;
use crate::id::Name;
use crate::reply::{Reply, Swept};
use crate::tables::Tables;
use crate::time::Timestamp;

/// One command with what the leader stamped on it.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// The index of its Raft entry.
    pub index: u64,
    /// The leader's time.
    pub at: Timestamp,
    /// The leader's randomness for this command.
    pub seed: u64,
    /// The principal.
    pub by: &'a Name,
    /// The namespace it acts in.
    pub namespace: &'a Name,
    /// What is asked.
    pub command: &'a Command,
}

/// What a command led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The answer for the caller.
    pub reply: Reply,
    /// What happened, in order.
    pub events: Vec<Event>,
}

/// Applies one command.
///
/// # Errors
/// Only if the machine fails.
pub fn apply<T: Tables>(_tables: &mut T, _entry: &Entry<'_>) -> Result<Outcome, T::Fault> {
    Ok(Outcome { reply: Reply::Swept(Swept::default()), events: Vec::new() })
}

/// Applies one Raft entry: every submission in order.
///
/// # Errors
/// Only if the machine fails.
pub fn apply_proposal<T: Tables>(tables: &mut T, index: u64, proposal: &Proposal) -> Result<Vec<Outcome>, T::Fault> {
    let one = |s: &crate::command::Submission, tables: &mut T| {
        apply(tables, &Entry { index, at: proposal.at, seed: 0, by: &s.by, namespace: &s.namespace, command: &s.command })
    };
    proposal.submissions.iter().map(|s| one(s, tables)).collect()
}
