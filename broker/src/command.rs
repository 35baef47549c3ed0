// SPDX-License-Identifier: Apache-2.0
//! What can be asked of the broker, and how it travels in the log.
//!
//! Each command has a number that is never reused. A Raft entry is one [`Proposal`]: everything that was
//! waiting when the leader got to it, stamped once.

mod submission;

use serde::de::{self, SeqAccess, Visitor};
use serde::ser::SerializeTuple;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::body::Json;
use crate::codec::{self, DecodeError};
use crate::document::Expect;
use crate::id::{JobNo, JobRef, LeaseToken, Name};
use crate::job::{JobSpec, Progress};
use crate::request::RequestKey;
use crate::throttle::Throttle;
use crate::time::{Millis, Timestamp};

pub use submission::Submission;

/// The version of the rules. An entry says which it was proposed under; a change of behaviour raises it.
pub const RULES_VERSION: u16 = 1;

/// One Raft entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposal {
    /// The leader's time.
    pub at: Timestamp,
    /// The leader's randomness; everything random in apply is drawn from it.
    pub seed: u64,
    /// The rules it was proposed under.
    pub rules: u16,
    /// The commands, applied in order.
    pub submissions: Vec<Submission>,
}

impl Proposal {
    /// The bytes that go into the log.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// Reads what [`Proposal::encode`] wrote.
    ///
    /// # Errors
    /// If the bytes are of a newer format or newer rules, or no proposal.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let proposal: Self = codec::decode(bytes)?;
        if proposal.rules > RULES_VERSION {
            return Err(DecodeError::Rules(proposal.rules));
        }
        Ok(proposal)
    }
}

macro_rules! commands {
    ($($(#[$doc:meta])* $number:literal => $name:ident,)*) => {
        /// Everything that can be asked.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Command { $($(#[$doc])* $name($name),)* }

        impl Command {
            /// The numbers and names of all commands.
            pub const ALL: &'static [(u8, &'static str)] = &[$(($number, stringify!($name)),)*];

            /// The command's number in the log.
            #[must_use]
            pub const fn number(&self) -> u8 {
                match self { $(Self::$name(_) => $number,)* }
            }

            /// The command's name, for people.
            #[must_use]
            pub const fn name(&self) -> &'static str {
                match self { $(Self::$name(_) => stringify!($name),)* }
            }
        }

        impl Serialize for Command {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let mut pair = serializer.serialize_tuple(2)?;
                pair.serialize_element(&self.number())?;
                match self { $(Self::$name(body) => pair.serialize_element(body)?,)* }
                pair.end()
            }
        }

        impl<'de> Deserialize<'de> for Command {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Pair;
                impl<'de> Visitor<'de> for Pair {
                    type Value = Command;
                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str("a command's number and its body")
                    }
                    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Command, A::Error> {
                        let missing = || de::Error::invalid_length(0, &"a number and a body");
                        let number: u8 = seq.next_element()?.ok_or_else(missing)?;
                        match number {
                            $($number => Ok(Command::$name(seq.next_element()?.ok_or_else(missing)?)),)*
                            other => Err(de::Error::custom(format!("command {other} is not known to this build"))),
                        }
                    }
                }
                deserializer.deserialize_tuple(2, Pair)
            }
        }

        $(impl From<$name> for Command {
            fn from(body: $name) -> Self { Self::$name(body) }
        })*
    };
}

commands! {
    /// New jobs, all or nothing.
    1 => Enqueue,
    /// Leases for a worker.
    2 => Fetch,
    /// Attempts that succeeded.
    3 => Ack,
    /// Attempts that failed.
    4 => Fail,
    /// Jobs given back.
    5 => Release,
    /// Signs of life that carry something to keep.
    6 => Heartbeat,
    /// Signs of life that the leader has collected.
    7 => Renew,
    /// A leader, or a scheduler, began its watch.
    8 => TermStarted,
    /// Timers that are due.
    9 => Promote,
    /// Leases that have run out.
    10 => Reclaim,
    /// Finished or cleared jobs to remove.
    11 => Purge,
    /// Remembered calls to forget.
    12 => ForgetRequests,
    /// A person sends a job back to its queue.
    13 => Retry,
    /// A person calls a job off.
    14 => Cancel,
    /// A person puts a job into another queue.
    15 => Move,
    /// A person removes a job.
    16 => Delete,
    /// A person changes a job.
    17 => Patch,
    /// A person enqueues a copy of a job.
    18 => CloneJob,
    /// A person changes how a queue works.
    19 => SetQueue,
    /// A person removes the waiting jobs of a queue.
    20 => ClearQueue,
    /// A person removes a queue with all its jobs.
    21 => DeleteQueue,
    /// Documents of a feature.
    22 => PutDocs,
}

/// New jobs, all or nothing. One job is a batch of one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enqueue {
    /// The jobs.
    pub jobs: Vec<JobSpec>,
    /// Makes the call repeatable.
    pub request: Option<RequestKey>,
}

/// Leases for a worker: up to `count` jobs from the queues in the order given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fetch {
    /// Names of queues, in the order in which they are asked.
    pub queues: Vec<Name>,
    /// The worker's id; may be empty.
    pub worker: Name,
    /// The worker's host; may be empty.
    pub hostname: Name,
    /// At most that many jobs.
    pub count: u32,
    /// No further job once the payloads reach that many bytes.
    pub max_bytes: u32,
    /// How long the leases last.
    pub lease: Millis,
    /// Set when the jobs go out on a stream: how many of them run at once.
    pub stream_concurrency: Option<u32>,
    /// Makes the call repeatable.
    pub request: Option<RequestKey>,
}

/// Which lease a worker speaks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseRef {
    /// The job.
    pub job: JobRef,
    /// The token of the lease. Without it the call is accepted from the current lease only.
    pub token: Option<LeaseToken>,
    /// The worker, to be compared when there is no token.
    pub worker: Option<Name>,
}

/// Attempts that succeeded; each item stands alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    /// The attempts.
    pub items: Vec<AckItem>,
}

/// One attempt that succeeded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AckItem {
    /// The lease.
    pub lease: LeaseRef,
    /// What the worker answers.
    pub result: Option<Json>,
    /// What the worker saves.
    pub checkpoint: Option<Json>,
}

/// Attempts that failed; each item stands alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fail {
    /// The attempts.
    pub items: Vec<FailItem>,
}

/// One attempt that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailItem {
    /// The lease.
    pub lease: LeaseRef,
    /// What went wrong.
    pub error: String,
    /// Where.
    pub backtrace: Option<String>,
    /// False: no further attempt, whatever the policy says.
    pub retry: bool,
    /// Try again after exactly that long instead of the backoff.
    pub retry_after: Option<Millis>,
    /// The other side asked to slow down: no attempt is spent.
    pub rate_limited: bool,
    /// What the worker saves.
    pub checkpoint: Option<Json>,
}

/// Jobs given back without spending an attempt; each item stands alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// The jobs.
    pub items: Vec<ReleaseItem>,
}

/// One job given back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseItem {
    /// The lease.
    pub lease: LeaseRef,
    /// Not before that long from now.
    pub delay: Option<Millis>,
}

/// Signs of life that carry something to keep; each item stands alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// The leases.
    pub items: Vec<HeartbeatItem>,
}

/// One sign of life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeartbeatItem {
    /// The lease.
    pub lease: LeaseRef,
    /// How far the attempt has come.
    pub progress: Option<Progress>,
    /// What the worker saves.
    pub checkpoint: Option<Json>,
}

/// Signs of life that the leader has collected: each lease lasts its full length from when it was heard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renew {
    /// The leases.
    pub items: Vec<Renewal>,
}

/// One collected sign of life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renewal {
    /// The job.
    pub job: JobNo,
    /// The token of its lease.
    pub token: LeaseToken,
    /// When the worker was last heard.
    pub heard_at: Timestamp,
    /// The latest progress it told.
    pub progress: Option<Progress>,
}

/// A leader, or a restarted scheduler, began its watch: no lease ends before its full length from now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TermStarted {}

/// Timers that are due: scheduled and retrying jobs, expiries, timeouts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Promote {
    /// At most that many.
    pub limit: u32,
}

/// Leases that have run out, each checked again in apply.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reclaim {
    /// Job and token.
    pub leases: Vec<(JobNo, LeaseToken)>,
}

/// Jobs of one queue to remove: cleared ones, all of a deleted queue, finished ones past retention.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Purge {
    /// The queue's name.
    pub queue: Name,
    /// Finished jobs go if they finished before this.
    pub finished_before: Timestamp,
    /// At most that many.
    pub limit: u32,
    /// Of each terminal state only that many stay, the ones that finished last.
    #[serde(default = "all")]
    pub keep: u64,
}

/// No bound, which is what commands mean that were written before there was one.
const fn all() -> u64 {
    u64::MAX
}

impl Command {
    /// True if it may add jobs, which is what is refused when there is no room for more.
    #[must_use]
    pub const fn adds_jobs(&self) -> bool {
        matches!(self, Self::Enqueue(_) | Self::CloneJob(_))
    }
}

/// Remembered calls whose time has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForgetRequests {
    /// At most that many.
    pub limit: u32,
}

/// Send a job back to its queue now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retry {
    /// The job.
    pub job: JobRef,
}

/// Call a job off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cancel {
    /// The job.
    pub job: JobRef,
}

/// Put a job into another queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Move {
    /// The job.
    pub job: JobRef,
    /// The queue to go to.
    pub queue: Name,
}

/// Remove a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delete {
    /// The job.
    pub job: JobRef,
}

/// Change a job that is not active.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Patch {
    /// The job.
    pub job: JobRef,
    /// A new payload.
    pub payload: Option<Json>,
    /// A new priority.
    pub priority: Option<u8>,
    /// New tags, in place of all old ones.
    pub tags: Option<Vec<(Name, Name)>>,
    /// A new due time.
    pub scheduled_at: Option<Timestamp>,
}

/// Enqueue a copy of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloneJob {
    /// The job to copy.
    pub job: JobRef,
}

/// Change how a queue works; an unknown queue is created.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetQueue {
    /// The queue's name.
    pub queue: Name,
    /// What to change.
    pub setting: QueueSetting,
}

/// One setting of a queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum QueueSetting {
    /// Hand out nothing.
    Pause,
    /// End pause and drain.
    Resume,
    /// Refuse enqueues from outside.
    Drain,
    /// At most that many active jobs; `None` lifts the limit.
    Concurrency(Option<u32>),
    /// At most that many starts per period; `None` lifts the limit.
    Throttle(Option<Throttle>),
}

/// Remove the waiting jobs of a queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClearQueue {
    /// The queue's name.
    pub queue: Name,
}

/// Remove a queue with all its jobs; refused while jobs are active.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteQueue {
    /// The queue's name.
    pub queue: Name,
}

/// Documents to write or remove, all or nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutDocs {
    /// Each document at most once.
    pub docs: Vec<PutDoc>,
}

/// One document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutDoc {
    /// Which feature it belongs to.
    pub space: Name,
    /// Its key in the space.
    pub key: Name,
    /// Its new value; `None` removes it.
    pub value: Option<Json>,
    /// What it must be before.
    pub expect: Expect,
}
