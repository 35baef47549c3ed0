// SPDX-License-Identifier: Apache-2.0
//! Applying commands: the only door to the rules.
//!
//! [`apply`] is total: every command gets a reply and none can make it panic, because a panic here would
//! stop every replica at the same entry. The only error is a fault of the machine underneath.
//!
//! Each verb has a file. They share one `context` (cached queue rows, events), one way to write a job
//! (`settle`), one way to become ready (`ready`) and one check of a worker's claim (`claim`).

mod ack;
mod bodies;
mod cancel;
mod claim;
mod clear_queue;
mod clone_job;
mod context;
mod delete;
mod delete_queue;
mod enqueue;
mod fail;
mod fetch;
mod forget;
mod heartbeat;
mod keys;
mod move_job;
mod patch;
mod promote;
mod purge;
mod put_docs;
mod ready;
mod reclaim;
mod release;
mod remember;
mod renew;
mod retry;
mod set_queue;
mod settle;
mod term;
#[cfg(test)]
pub(crate) mod testing;

use crate::command::{Command, Proposal};
use crate::event::Event;
use crate::id::{Name, mix};
use crate::reject::Reject;
use crate::reply::Reply;
use crate::scope::Scope;
use crate::tables::Tables;
use crate::time::Timestamp;
use context::Context;

pub use fetch::{MAX_COUNT, MAX_SKIPPED};
pub use purge::{MAX_STEP, STEP_AT_ONCE};

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
    /// The queues that the principal may touch.
    pub scope: &'a Scope,
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

/// What a verb gives back: a reply or a refusal, which changed nothing; or a fault of the machine.
type Verdict<R, F> = Result<Result<R, Reject>, F>;

/// Applies one command.
///
/// # Errors
/// Only if the machine fails.
pub fn apply<T: Tables>(tables: &mut T, entry: &Entry<'_>) -> Result<Outcome, T::Fault> {
    let mut ctx = Context::open(tables, entry.at, entry.by, entry.namespace)?;
    let outcome = one(&mut ctx, entry)?;
    ctx.close()?;
    Ok(outcome)
}

/// Applies one Raft entry: every submission in order, the `i`-th with the seed `mix(seed ^ i)`.
///
/// All run at `max(proposal.at, last_at)`: a new leader whose clock is behind does not turn time back. Queue
/// rows and counters are read and written once for the whole entry. Whoever decodes the proposal refuses
/// one of newer rules ([`Proposal::decode`]); here it would be too late.
///
/// # Errors
/// Only if the machine fails.
pub fn apply_proposal<T: Tables>(
    tables: &mut T,
    index: u64,
    proposal: &Proposal,
) -> Result<Vec<Outcome>, T::Fault> {
    // Principal and namespace are set for each submission; these two stand in until then.
    let nobody: Name = Name::from("");
    let mut ctx = Context::open(tables, proposal.at, &nobody, &nobody)?;
    let mut outcomes = Vec::with_capacity(proposal.submissions.len());
    for (i, submission) in (0u64..).zip(&proposal.submissions) {
        let entry = Entry {
            index,
            at: proposal.at,
            seed: mix(proposal.seed ^ i),
            by: &submission.by,
            namespace: &submission.namespace,
            scope: &submission.scope,
            command: &submission.command,
        };
        outcomes.push(one(&mut ctx, &entry)?);
    }
    ctx.close()?;
    Ok(outcomes)
}

fn one<T: Tables>(ctx: &mut Context<'_, T>, entry: &Entry<'_>) -> Result<Outcome, T::Fault> {
    ctx.begin(entry);
    let verdict = match entry.command {
        Command::Enqueue(command) => ctx.enqueue(command)?,
        Command::Fetch(command) => ctx.fetch(command)?,
        Command::Ack(command) => Ok(ctx.ack(command)?),
        Command::Fail(command) => Ok(ctx.fail(command)?),
        Command::Release(command) => Ok(ctx.release(command)?),
        Command::Heartbeat(command) => Ok(ctx.heartbeat(command)?),
        Command::Renew(command) => Ok(ctx.renew(command)?),
        Command::TermStarted(_) => Ok(ctx.term_started()),
        Command::Promote(command) => Ok(ctx.promote(*command)?),
        Command::Reclaim(command) => Ok(ctx.reclaim(command)?),
        Command::Purge(command) => Ok(ctx.purge(command)?),
        Command::ForgetRequests(command) => Ok(ctx.forget_requests(*command)?),
        Command::Retry(command) => ctx.retry(command)?,
        Command::Cancel(command) => ctx.cancel(command)?,
        Command::Move(command) => ctx.move_job(command)?,
        Command::Delete(command) => ctx.delete(command)?,
        Command::Patch(command) => ctx.patch(command)?,
        Command::CloneJob(command) => ctx.clone_job(command)?,
        Command::SetQueue(command) => ctx.set_queue(command)?,
        Command::ClearQueue(command) => ctx.clear_queue(command)?,
        Command::DeleteQueue(command) => ctx.delete_queue(command)?,
        Command::PutDocs(command) => ctx.put_docs(command)?,
    };
    Ok(Outcome { reply: verdict.unwrap_or_else(Reply::Rejected), events: ctx.take_events() })
}
