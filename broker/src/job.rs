// SPDX-License-Identifier: Apache-2.0
//! A job's row.

use serde::{Deserialize, Serialize};

use crate::backoff::RetryPolicy;
use crate::body::{Body, BodyKind, Json};
use crate::event::Change;
use crate::id::{JobId, JobNo, LeaseToken, Name, QueueKey};
use crate::state::State;
use crate::time::{Millis, Timestamp};
use crate::unique::Unique;

/// Errors kept per job: the latest ones. A job with more attempts than this has told its story.
pub const MAX_ERRORS: usize = 20;
/// Entries kept in a job's timeline: the first and the latest ones.
pub const MAX_TIMELINE: usize = 64;
/// The largest priority; larger runs first.
pub const MAX_PRIORITY: u8 = 100;
/// The priority of a job that names none.
pub const DEFAULT_PRIORITY: u8 = 50;
/// Leases a job may lose before it is quarantined.
pub const DEFAULT_MAX_CRASHES: u32 = 3;

/// What a producer sets and nobody but a `PATCH` changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Options {
    /// 0–100, larger first.
    pub priority: u8,
    /// When and how often it is tried again.
    pub retry: RetryPolicy,
    /// Longest run of one attempt.
    pub timeout: Option<Millis>,
    /// Its unique key.
    pub unique: Option<Unique>,
    /// Labels, sorted by name.
    pub tags: Vec<(Name, Name)>,
    /// Leases it may lose before it is quarantined.
    pub max_crashes: u32,
    /// Where a quarantined job goes instead of `dead`.
    pub on_crash_queue: Option<Name>,
    /// The job that this one belongs to, as the producer said.
    pub parent_id: Option<Name>,
    /// W3C `traceparent` of the enqueue.
    pub trace: Option<Name>,
    /// How long after its end it stays, if that is shorter than the server's retention.
    #[serde(default)]
    pub retention: Option<Millis>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            priority: DEFAULT_PRIORITY,
            retry: RetryPolicy::default(),
            timeout: None,
            unique: None,
            tags: Vec::new(),
            max_crashes: DEFAULT_MAX_CRASHES,
            on_crash_queue: None,
            parent_id: None,
            trace: None,
            retention: None,
        }
    }
}

/// How far an attempt has come, as its worker tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Done so far.
    pub current: u64,
    /// To be done in all, if known.
    pub total: Option<u64>,
    /// A sentence for people.
    pub message: Option<String>,
}

/// One failed attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptError {
    /// Which attempt, counted from 1.
    pub attempt: u32,
    /// What the worker said, or what the broker found.
    pub error: String,
    /// The worker's backtrace.
    pub backtrace: Option<String>,
    /// When.
    pub at: Timestamp,
}

/// How the last lease of a job ended. A repeated call with its token gets the same answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ended {
    /// Acknowledged.
    Acked,
    /// Failed; the answer that was given.
    Failed(crate::reply::FailedAs),
    /// Given back.
    Released,
}

/// One line of a job's timeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimelineEntry {
    /// When.
    pub at: Timestamp,
    /// What happened.
    pub change: Change,
    /// The number of the attempt.
    pub attempt: u32,
    /// The worker, or who asked.
    pub by: Name,
}

/// A job. One row; large bodies lie beside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Its number.
    pub no: JobNo,
    /// Its namespace.
    pub namespace: Name,
    /// Its queue.
    pub queue: Name,
    /// The id the caller chose, if any.
    pub chosen_id: Option<Name>,
    /// When it was enqueued.
    pub created_at: Timestamp,
    /// Where it stands.
    pub state: State,
    /// What the producer set.
    pub options: Options,
    /// What the producer sent.
    pub payload: Body,
    /// If it has not started by then it is dead.
    pub expire_at: Option<Timestamp>,
    /// Failed executions.
    pub failures: u32,
    /// Leases lost.
    pub crashes: u32,
    /// Every hand-out.
    pub deliveries: u32,
    /// When the present or last attempt began.
    pub started_at: Option<Timestamp>,
    /// When the last attempt failed.
    pub failed_at: Option<Timestamp>,
    /// When somebody asked to cancel it while it was active.
    pub cancel_requested_at: Option<Timestamp>,
    /// The worker and host of the last lease, once it has ended.
    pub last_worker: Option<(Name, Name)>,
    /// The last ended lease and how it ended.
    pub last_lease: Option<(LeaseToken, Ended)>,
    /// How far the attempt has come.
    pub progress: Option<Progress>,
    /// What the worker saved on the way.
    pub checkpoint: Option<Body>,
    /// What the worker answered.
    pub result: Option<Body>,
    /// The latest errors, at most [`MAX_ERRORS`].
    pub errors: Vec<AttemptError>,
    /// What happened, at most [`MAX_TIMELINE`] entries.
    pub timeline: Vec<TimelineEntry>,
    /// Entries that fell out of the middle of the timeline.
    pub timeline_dropped: u32,
    /// Since when it is pending, or was before its present or last attempt; for a job that was scheduled or
    /// retrying, since it was due.
    pub ready_at: Option<Timestamp>,
    /// The newest job number there was when it last began to wait in its queue: what a queue's
    /// `clear_below` is compared with, so that a job retried or moved in after a clear is not swept away.
    pub entered: JobNo,
}

impl Job {
    /// The number of the present or next execution: failed executions and one.
    #[must_use]
    pub const fn attempt(&self) -> u32 {
        self.failures.saturating_add(1)
    }

    /// Its queue with its namespace.
    #[must_use]
    pub fn queue_key(&self) -> QueueKey {
        QueueKey::new(&self.namespace, &self.queue)
    }

    /// Its identity.
    #[must_use]
    pub fn id(&self) -> JobId {
        JobId { no: self.no, created_at: self.created_at, chosen: self.chosen_id.clone() }
    }

    /// Its opaque values, wherever they are kept.
    pub fn bodies(&self) -> impl Iterator<Item = (BodyKind, &Body)> {
        let values = [
            (BodyKind::Payload, Some(&self.payload)),
            (BodyKind::Result, self.result.as_ref()),
            (BodyKind::Checkpoint, self.checkpoint.as_ref()),
        ];
        values.into_iter().filter_map(|(kind, body)| Some((kind, body?)))
    }

    /// True if it was to start by a time that has come.
    #[must_use]
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expire_at.is_some_and(|at| at <= now)
    }

    /// Adds a line to the timeline; the oldest but the first falls out when it is full.
    pub fn note(&mut self, at: Timestamp, change: Change, attempt: u32, by: &Name) {
        if self.timeline.len() >= MAX_TIMELINE {
            self.timeline.remove(1);
            self.timeline_dropped = self.timeline_dropped.saturating_add(1);
        }
        self.timeline.push(TimelineEntry { at, change, attempt, by: by.clone() });
    }

    /// Adds an error of the present attempt; the oldest falls out when there are [`MAX_ERRORS`].
    pub fn record_error(&mut self, error: String, backtrace: Option<String>, at: Timestamp) {
        if self.errors.len() >= MAX_ERRORS {
            self.errors.remove(0);
        }
        let attempt = self.attempt();
        self.errors.push(AttemptError { attempt, error, backtrace, at });
        self.failed_at = Some(at);
    }
}

/// When a new job is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Due {
    /// At once.
    Now,
    /// After a while, counted from the enqueue.
    After(Millis),
    /// At a time; in the past means at once.
    At(Timestamp),
}

/// A job as its producer sends it, checked and with every default filled in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobSpec {
    /// The queue's name.
    pub queue: Name,
    /// Opaque JSON.
    pub payload: Json,
    /// An id chosen by the caller.
    pub id: Option<Name>,
    /// When it is due.
    pub due: Due,
    /// If it has not started that long after the enqueue it is dead.
    pub expire_after: Option<Millis>,
    /// The rest.
    pub options: Options,
}

impl JobSpec {
    /// A job with every default, due at once.
    #[must_use]
    pub fn new(queue: &str, payload: Json) -> Self {
        Self {
            queue: queue.into(),
            payload,
            id: None,
            due: Due::Now,
            expire_after: None,
            options: Options::default(),
        }
    }
}
