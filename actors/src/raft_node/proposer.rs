// SPDX-License-Identifier: Apache-2.0
//! Puts commands into Raft entries: everything that is waiting goes into the next one.
//!
//! There is no linger timer. While up to [`IN_FLIGHT`] entries are being committed, new commands gather; as
//! soon as a place is free they go out together. Alone, a command goes at once; under load an entry carries
//! hundreds, and the sync is shared.
//!
//! What may wait is bounded by number and by bytes. Beyond it a caller is told to come back: nothing queues
//! without limit. Who waits has their turn by [`turns`](super::turns), so that nobody waits for a flood of others.

use std::sync::Arc;

use jobbie_broker::command::RULES_VERSION;
use jobbie_broker::job::JobSpec;
use jobbie_broker::{Command, Name, Proposal, Submission};
use jobbie_store::Request;
use jobbie_store::raft::Callback;
use openraft::errors::ClientWriteError;
use openraft::raft::ClientWriteResult;
use tokio::sync::{Semaphore, oneshot};

use super::runtime::Raft;
use super::turns::{Giver, Refused, Taker, turns};
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::ports::{Decided, Lane, PortError};

/// Entries being committed at the same time: enough to keep the disk busy while replies go out, few enough
/// that entries grow large under load.
pub const IN_FLIGHT: usize = 4;
/// Commands in one entry.
pub const MAX_COMMANDS: usize = 1024;
/// Bytes of commands in one entry; a single larger command goes alone.
pub const MAX_BYTES: usize = 256 * 1024;
/// Commands that may wait.
pub const MAX_WAITING: usize = 16_384;
/// Bytes of commands that may wait.
pub const MAX_WAITING_BYTES: usize = 128 * 1024 * 1024;
/// Places that an entry takes if one command is larger than a whole entry may be otherwise: whoever comes next
/// waits for one of these to be applied, not for four.
const PLACES_OF_LARGE: u32 = 2;

struct Waiting {
    submission: Submission,
    bytes: usize,
    answer: oneshot::Sender<Result<Decided, PortError>>,
}

/// The way into the log. Cheap to clone.
#[derive(Clone)]
pub struct Proposer {
    waiting: Giver<Waiting>,
}

/// The loop behind a [`Proposer`]; runs on the Raft runtime.
pub struct ProposerLoop {
    waiting: Taker<Waiting>,
}

impl Proposer {
    /// A proposer and the loop that must run behind it.
    #[must_use]
    pub fn new() -> (Self, ProposerLoop) {
        let (giver, taker) = turns(MAX_WAITING, MAX_WAITING_BYTES);
        (Self { waiting: giver }, ProposerLoop { waiting: taker })
    }

    /// Commands that wait for a place in the log.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.waiting()
    }

    /// Puts a command into the log and waits until it is applied.
    ///
    /// # Errors
    /// [`PortError::Overloaded`] and [`PortError::NoLeader`] if nothing was written,
    /// [`PortError::Unknown`] if it may have been.
    pub async fn propose(&self, lane: Lane, submission: Submission) -> Result<Decided, PortError> {
        let bytes = weight(&submission.command);
        let (answer, answered) = oneshot::channel();
        let waiting = Waiting { submission, bytes, answer };
        self.waiting.give(lane, bytes, waiting).map_err(|(refused, _)| match refused {
            Refused::Full => PortError::overloaded(),
            Refused::Closed => PortError::unavailable("the log"),
        })?;
        answered.await.unwrap_or(Err(PortError::Unknown))
    }
}

impl ProposerLoop {
    /// Runs until Raft is dead.
    pub async fn run(mut self, raft: Raft, clock: Clock, metrics: Arc<Metrics>) {
        let places = Arc::new(Semaphore::new(IN_FLIGHT));
        let mut random = fastrand::Rng::new();
        let mut held_over: Option<Waiting> = None;
        loop {
            let Ok(place) = places.clone().acquire_owned().await else { return };
            let first = match held_over.take() {
                Some(waiting) => waiting,
                None => self.waiting.take().await,
            };
            let mut bytes = first.bytes;
            let mut submissions = vec![first.submission];
            let mut callers = vec![first.answer];
            while submissions.len() < MAX_COMMANDS {
                let Some(next) = self.waiting.try_take() else { break };
                if bytes + next.bytes > MAX_BYTES {
                    held_over = Some(next);
                    break;
                }
                bytes += next.bytes;
                submissions.push(next.submission);
                callers.push(next.answer);
            }
            let more = if bytes > MAX_BYTES { PLACES_OF_LARGE - 1 } else { 0 };
            let Ok(more) = places.clone().acquire_many_owned(more).await else { return };
            metrics.proposed(submissions.len());
            let proposal =
                Proposal { at: clock.now(), seed: random.u64(..), rules: RULES_VERSION, submissions };
            let respond = Callback::new(move |result: ClientWriteResult<_>| {
                drop((place, more));
                answer_all(callers, result);
            });
            if raft.client_write_ff(Request::new(proposal), Some(respond)).await.is_err() {
                // Raft is dead: whether the entry was written is not known, and the callers learn so from
                // their dropped channels. Whoever watches Raft ends the process.
                return;
            }
        }
    }
}

type Callers = Vec<oneshot::Sender<Result<Decided, PortError>>>;

fn answer_all(callers: Callers, result: ClientWriteResult<jobbie_store::TypeConfig>) {
    match result {
        Ok(written) => {
            let index = written.log_id.index;
            // A caller without a reply sees its channel dropped, which means "unknown".
            for (caller, reply) in callers.into_iter().zip(written.data.replies) {
                let _ = caller.send(Ok(Decided { index, reply }));
            }
        }
        Err(ClientWriteError::ForwardToLeader(_)) => {
            for caller in callers {
                let _ = caller.send(Err(PortError::NoLeader));
            }
        }
        // Whether a discarded entry is committed by the next leader is not known: the callers' channels are
        // dropped, which says so. The other errors belong to calls that are not made here.
        Err(_) => {}
    }
}

/// About how many bytes a command takes in the log: its opaque values and a flat sum for the rest.
fn weight(command: &Command) -> usize {
    const ROW: usize = 200;
    let json = |value: &Option<jobbie_broker::Json>| value.as_ref().map_or(0, jobbie_broker::Json::len);
    let text = |value: &Option<String>| value.as_ref().map_or(0, String::len);
    match command {
        Command::Enqueue(c) => c.jobs.iter().map(|job| ROW + weight_of(job)).sum(),
        Command::Ack(c) => c.items.iter().map(|i| ROW + json(&i.result) + json(&i.checkpoint)).sum(),
        Command::Fail(c) => {
            c.items.iter().map(|i| ROW + i.error.len() + text(&i.backtrace) + json(&i.checkpoint)).sum()
        }
        Command::Heartbeat(c) => c.items.iter().map(|i| ROW + json(&i.checkpoint)).sum(),
        Command::Release(c) => c.items.len() * ROW,
        Command::Renew(c) => c.items.len() * ROW,
        Command::Reclaim(c) => c.leases.len() * ROW,
        Command::Fetch(c) => c.queues.len() * ROW,
        Command::Patch(c) => ROW + json(&c.payload) + c.tags.as_deref().map_or(0, weight_of_tags),
        _ => ROW,
    }
}

/// What a new job brings beside a flat sum.
fn weight_of(job: &JobSpec) -> usize {
    let unique = job.options.unique.as_ref().map_or(0, |unique| unique.key.len());
    job.payload.len() + unique + weight_of_tags(&job.options.tags)
}

fn weight_of_tags(tags: &[(Name, Name)]) -> usize {
    tags.iter().map(|(name, value)| name.len() + value.len()).sum()
}
