// SPDX-License-Identifier: Apache-2.0
//! Puts commands into Raft entries: everything that is waiting goes into the next one.
//!
//! There is no linger timer. Alone, a command goes at once. While an entry is being committed new commands gather,
//! and go out together when it is decided: an entry costs as much for one command as for thirty, in wake-ups of
//! threads and in the sync. Only if so many gather that they keep the disk and the rules busy ([`FULL`]) the next
//! entry goes out beside it, up to [`IN_FLIGHT`].
//!
//! What may wait is bounded by number and by bytes. Beyond it a caller is told to come back: nothing queues
//! without limit. Who waits has their turn by [`turns`](super::turns), so that nobody waits for a flood of others.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use jobbie_broker::command::RULES_VERSION;
use jobbie_broker::job::JobSpec;
use jobbie_broker::{Command, Name, Proposal, Submission};
use jobbie_store::Request;
use jobbie_store::raft::Callback;
use openraft::errors::ClientWriteError;
use openraft::raft::ClientWriteResult;
use tokio::sync::{Notify, oneshot};

use super::runtime::Raft;
use super::turns::{Giver, Refused, Taker, turns};
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::ports::{Decided, Lane, PortError};
use crate::queue::{Coming, Queues};

/// Entries being committed at the same time: while one is synced, one is applied, and one is on its way.
pub const IN_FLIGHT: usize = 3;
/// Bytes of waiting commands that go out although an entry is being committed: some eighty small jobs, whose
/// applying takes about as long as a fast sync.
pub const FULL: usize = 32 * 1024;
/// Commands in one entry.
pub const MAX_COMMANDS: usize = 1024;
/// Bytes of commands in one entry; a single larger command goes alone.
pub const MAX_BYTES: usize = 256 * 1024;
/// Commands that may wait.
pub const MAX_WAITING: usize = 16_384;
/// Bytes of commands that may wait.
pub const MAX_WAITING_BYTES: usize = 128 * 1024 * 1024;
/// Places that an entry takes if one command is larger than a whole entry may be otherwise: whoever comes next
/// waits for one of these to be applied, not for more.
const PLACES_OF_LARGE: usize = 2;

/// Takes an outcome to whoever waits for it. Dropped uncalled: whether the command was written is not known.
pub(crate) enum Answer {
    /// Somebody waits at the other end.
    Channel(oneshot::Sender<Result<Decided, PortError>>),
    /// Called on the task that applies entries: it must not block.
    Call(Box<dyn FnOnce(Result<Decided, PortError>) + Send>),
}

impl Answer {
    fn give(self, outcome: Result<Decided, PortError>) {
        match self {
            // Who does not wait any more does not want to know.
            Self::Channel(caller) => drop(caller.send(outcome)),
            Self::Call(call) => call(outcome),
        }
    }
}

struct Waiting {
    submission: Submission,
    bytes: usize,
    answer: Answer,
}

/// What waits for an entry, in bytes, and the places of entries that are being committed.
#[derive(Default)]
struct Room {
    waiting: AtomicUsize,
    in_flight: AtomicUsize,
    /// Told when an entry is decided, and when enough is waiting for the next.
    changed: Notify,
}

impl Room {
    fn wait_for_entry(&self, bytes: usize) {
        let waiting = self.waiting.fetch_add(bytes, Ordering::AcqRel);
        if (waiting..waiting + bytes).contains(&(FULL - 1)) {
            self.changed.notify_one();
        }
    }

    /// Waits until the next entry may go out.
    async fn turn(&self) {
        loop {
            let in_flight = self.in_flight.load(Ordering::Acquire);
            let is_full = self.waiting.load(Ordering::Acquire) >= FULL;
            if in_flight == 0 || (is_full && in_flight < IN_FLIGHT) {
                return;
            }
            // What is told before this line is kept for it.
            self.changed.notified().await;
        }
    }
}

/// An entry that is being committed; dropped when it is decided, or nobody will know.
struct Place {
    room: Arc<Room>,
    places: usize,
}

impl Place {
    /// For an entry with commands of that many bytes.
    fn take(room: &Arc<Room>, bytes: usize) -> Self {
        let places = if bytes > MAX_BYTES { PLACES_OF_LARGE } else { 1 };
        room.waiting.fetch_sub(bytes, Ordering::AcqRel);
        room.in_flight.fetch_add(places, Ordering::AcqRel);
        Self { room: room.clone(), places }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.room.in_flight.fetch_sub(self.places, Ordering::AcqRel);
        self.room.changed.notify_one();
    }
}

/// The way into the log. Cheap to clone.
#[derive(Clone)]
pub struct Proposer {
    waiting: Giver<Waiting>,
    room: Arc<Room>,
}

/// The loop behind a [`Proposer`]; runs on the Raft runtime.
pub struct ProposerLoop {
    waiting: Taker<Waiting>,
    room: Arc<Room>,
}

impl Proposer {
    /// A proposer and the loop that must run behind it.
    #[must_use]
    pub fn new() -> (Self, ProposerLoop) {
        let (giver, taker) = turns(MAX_WAITING, MAX_WAITING_BYTES);
        let room: Arc<Room> = Arc::default();
        (Self { waiting: giver, room: room.clone() }, ProposerLoop { waiting: taker, room })
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
        let (answer, answered) = oneshot::channel();
        self.submit(lane, submission, Answer::Channel(answer));
        answered.await.unwrap_or(Err(PortError::Unknown))
    }

    /// As [`Proposer::propose`], for whoever is told in another way. Does not wait.
    pub(crate) fn submit(&self, lane: Lane, submission: Submission, answer: Answer) {
        let bytes = weight(&submission.command) + submission.scope.bytes();
        self.room.wait_for_entry(bytes);
        if let Err((refused, waiting)) = self.waiting.give(lane, bytes, Waiting { submission, bytes, answer })
        {
            self.room.waiting.fetch_sub(bytes, Ordering::AcqRel);
            waiting.answer.give(Err(match refused {
                Refused::Full => PortError::overloaded(),
                Refused::Closed => PortError::unavailable("the log"),
            }));
        }
    }
}

impl ProposerLoop {
    /// Runs until Raft is dead. `queues` says who waits for what is enqueued.
    pub(crate) async fn run(mut self, raft: Raft, clock: Clock, metrics: Arc<Metrics>, queues: Queues) {
        let mut random = fastrand::Rng::new();
        let mut held_over: Option<Waiting> = None;
        loop {
            // Before anything is taken: whoever comes meanwhile may have their turn first.
            self.room.turn().await;
            let first = match held_over.take() {
                Some(waiting) => waiting,
                None => self.waiting.take().await,
            };
            let mut bytes = first.bytes;
            let mut submissions = vec![first.submission];
            let mut answers = vec![first.answer];
            while submissions.len() < MAX_COMMANDS {
                let Some(next) = self.waiting.try_take() else { break };
                if bytes + next.bytes > MAX_BYTES {
                    held_over = Some(next);
                    break;
                }
                bytes += next.bytes;
                submissions.push(next.submission);
                answers.push(next.answer);
            }
            let place = Place::take(&self.room, bytes);
            // Behind the enqueues, so that apply has enqueued the jobs when it comes to the claims.
            let handed = queues.hand_off(&submissions, MAX_COMMANDS);
            for claim in handed.claims {
                submissions.push(claim.submission);
                answers.push(claim.answer);
            }
            let callers = Callers { answers, coming: handed.coming, place };
            metrics.proposed(submissions.len());
            let proposal =
                Proposal { at: clock.now(), seed: random.u64(..), rules: RULES_VERSION, submissions };
            let respond = Callback::new(move |result: ClientWriteResult<_>| callers.answer(result));
            if raft.client_write_ff(Request::new(proposal), Some(respond)).await.is_err() {
                // Raft is dead: whether the entry was written is not known, and the callers learn so from
                // their dropped channels. Whoever watches Raft ends the process.
                return;
            }
        }
    }
}

/// Who waits for an entry.
struct Callers {
    answers: Vec<Answer>,
    coming: Vec<Coming>,
    place: Place,
}

impl Callers {
    fn answer(self, result: ClientWriteResult<jobbie_store::TypeConfig>) {
        let Self { answers, coming, place } = self;
        // What has come is counted as pending from here on.
        drop(coming);
        drop(place);
        match result {
            Ok(written) => {
                let index = written.log_id.index;
                // A caller without a reply sees its channel dropped, which means "unknown".
                for (answer, reply) in answers.into_iter().zip(written.data.replies) {
                    answer.give(Ok(Decided { index, reply }));
                }
            }
            Err(ClientWriteError::ForwardToLeader(_)) => {
                for answer in answers {
                    answer.give(Err(PortError::NoLeader));
                }
            }
            // Whether a discarded entry is committed by the next leader is not known: the callers' channels
            // are dropped, which says so. The other errors belong to calls that are not made here.
            Err(_) => {}
        }
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
        Command::PutDocs(c) => c.docs.iter().map(|doc| ROW + json(&doc.value)).sum(),
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
