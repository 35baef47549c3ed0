// SPDX-License-Identifier: Apache-2.0
//! A job as it is returned, and the bodies that change one.

use jobbie_actors::ports::JobDetail;
use jobbie_broker::command::Patch;
use jobbie_broker::job::{AttemptError, Progress, TimelineEntry};
use jobbie_broker::{Body, Job, JobRef, Json, Name, State};
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::enqueue::{BackoffName, Priority, check_tags};
use super::limits::MAX_TAGS;
use super::opaque::present;
use super::schema;
use super::{Entries, Limits, Opaque, Place, Stamp, Text, Verbatim, When, name};
use crate::error::Problem;

/// Labels as an object.
#[derive(Clone, Copy, Debug)]
pub struct Tags<'a>(pub &'a [(Name, Name)]);

impl Serialize for Tags<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (&**name, &**value)))
    }
}

/// A job.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Job)]
pub struct JobView<'a> {
    /// Its id.
    #[schema(value_type = schema::JobId)]
    pub id: String,
    /// Its namespace.
    #[schema(value_type = String, example = "default")]
    pub namespace: &'a str,
    /// Its queue.
    #[schema(value_type = schema::QueueName)]
    pub queue: &'a str,
    /// `scheduled`, `blocked`, `pending`, `active`, `retrying`, `held`, `completed`, `dead` or `cancelled`.
    #[schema(value_type = String, example = "pending")]
    pub state: &'static str,
    /// Why it is dead or cancelled: `failed`, `crashed`, `expired`, `timeout` or `cancelled`.
    #[schema(value_type = Option<String>)]
    pub reason: Option<&'static str>,
    /// What the producer sent.
    #[schema(value_type = schema::AnyJson)]
    pub payload: Option<Verbatim<'a>>,
    /// 0 to 100, larger first.
    pub priority: u8,
    /// The number of the present or next execution: failed executions and one.
    pub attempt: u32,
    /// Retries after the first attempt.
    pub max_retries: u32,
    /// The shape of the delays between attempts.
    pub retry_backoff: BackoffName,
    /// The first delay.
    pub retry_base_delay_ms: u64,
    /// The longest delay before jitter.
    pub retry_max_delay_ms: u64,
    /// Added to each delay at random, as a share of it.
    pub retry_jitter: f64,
    /// Longest run of one attempt.
    pub timeout_ms: Option<u64>,
    /// How long after its end it stays, if that is shorter than the server's retention.
    pub retention_ms: Option<u64>,
    /// Its unique key.
    pub unique_key: Option<&'a str>,
    /// The job that it belongs to, as the producer said.
    pub parent_id: Option<&'a str>,
    /// Labels.
    #[schema(value_type = schema::TagMap)]
    pub tags: Tags<'a>,
    /// W3C `traceparent` of the enqueue.
    pub trace: Option<&'a str>,
    /// How far the attempt has come.
    pub progress: Option<ProgressView<'a>>,
    /// What a worker saved on the way.
    #[schema(value_type = schema::AnyJson)]
    pub checkpoint: Option<Verbatim<'a>>,
    /// What the worker answered.
    #[schema(value_type = schema::AnyJson)]
    pub result: Option<Verbatim<'a>>,
    /// The worker that has it, or had it last.
    pub worker_id: Option<&'a str>,
    /// That worker's host.
    pub hostname: Option<&'a str>,
    /// When the lease ends unless a heartbeat comes; only while active.
    #[schema(value_type = Option<schema::Time>)]
    pub lease_expires_at: Option<Stamp>,
    /// When it is due; only while scheduled or retrying.
    #[schema(value_type = Option<schema::Time>)]
    pub scheduled_at: Option<Stamp>,
    /// If it has not started by then it is dead.
    #[schema(value_type = Option<schema::Time>)]
    pub expire_at: Option<Stamp>,
    /// When it was enqueued.
    #[schema(value_type = schema::Time)]
    pub created_at: Stamp,
    /// When the present or last attempt began.
    #[schema(value_type = Option<schema::Time>)]
    pub started_at: Option<Stamp>,
    /// When it was acknowledged.
    #[schema(value_type = Option<schema::Time>)]
    pub completed_at: Option<Stamp>,
    /// When the last attempt failed.
    #[schema(value_type = Option<schema::Time>)]
    pub failed_at: Option<Stamp>,
    /// When somebody asked to cancel it while it was active.
    #[schema(value_type = Option<schema::Time>)]
    pub cancel_requested_at: Option<Stamp>,
    /// The latest errors.
    pub errors: Vec<ErrorView<'a>>,
    /// Leases lost.
    pub crashes: u32,
    /// Every hand-out.
    pub deliveries: u32,
    /// Leases it may lose before it is dead with reason `crashed`.
    pub max_crashes: u32,
    /// Where it goes instead of `dead` then.
    pub on_crash_queue: Option<&'a str>,
    /// What is left out of this answer because it is large; `GET /jobs/{id}` has it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>, required = false)]
    pub omitted: Vec<&'static str>,
    /// Answer of `cancel` only: `cancelling` while a worker has it, else `cancelled`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub status: Option<&'static str>,
}

/// How far an attempt has come.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Progress)]
pub struct ProgressView<'a> {
    /// Done so far.
    pub current: u64,
    /// To be done in all, if known.
    pub total: Option<u64>,
    /// A sentence for people.
    pub message: Option<&'a str>,
}

impl<'a> From<&'a Progress> for ProgressView<'a> {
    fn from(progress: &'a Progress) -> Self {
        Self { current: progress.current, total: progress.total, message: progress.message.as_deref() }
    }
}

/// A failed attempt.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AttemptError)]
pub struct ErrorView<'a> {
    /// Which attempt, counted from 1.
    pub attempt: u32,
    /// What the worker said, or what the broker found.
    pub error: &'a str,
    /// Where.
    pub backtrace: Option<&'a str>,
    /// When.
    #[schema(value_type = schema::Time)]
    pub at: Stamp,
}

impl<'a> From<&'a AttemptError> for ErrorView<'a> {
    fn from(error: &'a AttemptError) -> Self {
        Self {
            attempt: error.attempt,
            error: &error.error,
            backtrace: error.backtrace.as_deref(),
            at: Stamp(error.at),
        }
    }
}

/// The opaque values of a job, as far as they are at hand.
#[derive(Clone, Copy, Debug, Default)]
struct Bodies<'a> {
    payload: Option<&'a Json>,
    checkpoint: Option<&'a Json>,
    result: Option<&'a Json>,
}

impl<'a> JobView<'a> {
    /// A job with everything.
    #[must_use]
    pub fn full(detail: &'a JobDetail) -> Self {
        let bodies = Bodies {
            payload: Some(&detail.payload),
            checkpoint: detail.checkpoint.as_ref(),
            result: detail.result.as_ref(),
        };
        Self::new(&detail.job, bodies, Vec::new())
    }

    /// A job as a command answers with it: its row, with the bodies that are in it.
    #[must_use]
    pub fn row(job: &'a Job) -> Self {
        let mut omitted = Vec::new();
        let mut take = |name, body: Option<&'a Body>| match body? {
            Body::Inline(json) => Some(json),
            Body::Stored(_) => {
                omitted.push(name);
                None
            }
        };
        let bodies = Bodies {
            payload: take("payload", Some(&job.payload)),
            checkpoint: take("checkpoint", job.checkpoint.as_ref()),
            result: take("result", job.result.as_ref()),
        };
        Self::new(job, bodies, omitted)
    }

    fn new(job: &'a Job, bodies: Bodies<'a>, omitted: Vec<&'static str>) -> Self {
        let options = &job.options;
        let lease = job.state.lease();
        let last = job.last_worker.as_ref();
        let worker = lease.map(|lease| (&lease.worker, &lease.hostname)).or(last.map(|(w, h)| (w, h)));
        let due = match job.state {
            State::Scheduled { at } | State::Retrying { at } => Some(Stamp(at)),
            _ => None,
        };
        let completed = match job.state {
            State::Completed { at } => Some(Stamp(at)),
            _ => None,
        };
        Self {
            id: job.id().to_string(),
            namespace: &job.namespace,
            queue: &job.queue,
            state: job.state.kind().name(),
            reason: job.state.reason().map(jobbie_broker::state::Reason::name),
            payload: bodies.payload.map(Verbatim),
            priority: options.priority,
            attempt: job.attempt(),
            max_retries: options.retry.max_retries,
            retry_backoff: options.retry.backoff.into(),
            retry_base_delay_ms: options.retry.base.0,
            retry_max_delay_ms: options.retry.max.0,
            retry_jitter: f64::from(options.retry.jitter_permille) / 1000.0,
            timeout_ms: options.timeout.map(|span| span.0),
            retention_ms: options.retention.map(|span| span.0),
            unique_key: options.unique.as_ref().map(|unique| &*unique.key),
            parent_id: options.parent_id.as_deref(),
            tags: Tags(&options.tags),
            trace: options.trace.as_deref(),
            progress: job.progress.as_ref().map(Into::into),
            checkpoint: bodies.checkpoint.map(Verbatim),
            result: bodies.result.map(Verbatim),
            worker_id: worker.map(|(worker, _)| &**worker),
            hostname: worker.map(|(_, hostname)| &**hostname),
            lease_expires_at: lease.map(|lease| Stamp(lease.deadline)),
            scheduled_at: due,
            expire_at: job.expire_at.map(Stamp),
            created_at: Stamp(job.created_at),
            started_at: job.started_at.map(Stamp),
            completed_at: completed,
            failed_at: job.failed_at.map(Stamp),
            cancel_requested_at: job.cancel_requested_at.map(Stamp),
            errors: job.errors.iter().map(Into::into).collect(),
            crashes: job.crashes,
            deliveries: job.deliveries,
            max_crashes: options.max_crashes,
            on_crash_queue: options.on_crash_queue.as_deref(),
            omitted,
            status: None,
        }
    }

    /// Adds what `cancel` says.
    #[must_use]
    pub fn cancelling(mut self) -> Self {
        self.status = Some(if self.state == "active" { "cancelling" } else { "cancelled" });
        self
    }
}

/// A page of a listing.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = JobPage)]
pub struct JobPage<'a> {
    /// The jobs, newest first.
    pub jobs: Vec<JobView<'a>>,
    /// To be sent as `cursor` for the next page; `null` at the end.
    pub cursor: Option<String>,
    /// True if there is a next page.
    pub has_more: bool,
}

/// What happened to a job.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Timeline)]
pub struct TimelineView<'a> {
    /// The job.
    #[schema(value_type = schema::JobId)]
    pub job_id: String,
    /// What happened, oldest first: the first line and the latest ones.
    pub events: Vec<TimelineLine<'a>>,
    /// Lines that fell out after the first one.
    pub dropped: u32,
}

/// One line of a timeline.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TimelineEvent)]
pub struct TimelineLine<'a> {
    /// When.
    #[schema(value_type = schema::Time)]
    pub at: Stamp,
    /// What, as in `GET /events`.
    #[serde(rename = "type")]
    #[schema(value_type = String, example = "job.started")]
    pub kind: &'static str,
    /// The number of the attempt.
    pub attempt: u32,
    /// The worker, or who asked.
    pub by: &'a str,
}

impl<'a> From<&'a Job> for TimelineView<'a> {
    fn from(job: &'a Job) -> Self {
        let line = |entry: &'a TimelineEntry| TimelineLine {
            at: Stamp(entry.at),
            kind: entry.change.name(),
            attempt: entry.attempt,
            by: &entry.by,
        };
        Self {
            job_id: job.id().to_string(),
            events: job.timeline.iter().map(line).collect(),
            dropped: job.timeline_dropped,
        }
    }
}

/// Where to move a job.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = MoveRequest)]
pub struct MoveBody<'a> {
    /// The queue to go to.
    #[serde(borrow)]
    #[schema(value_type = schema::QueueName)]
    pub queue: Text<'a>,
}

/// What to change in a job.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PatchRequest)]
pub struct PatchBody<'a> {
    /// A new payload.
    #[serde(borrow, default, deserialize_with = "present")]
    #[schema(value_type = schema::AnyJson, required = false)]
    pub payload: Option<Opaque<'a>>,
    /// A new priority.
    #[serde(default)]
    #[schema(value_type = Option<schema::Priority>)]
    pub priority: Option<Priority>,
    /// New labels, in place of all old ones.
    #[serde(borrow, default)]
    #[schema(value_type = Option<schema::TagMap>)]
    pub tags: Option<Entries<'a, Text<'a>, MAX_TAGS>>,
    /// A new due time; in the past means now.
    #[serde(default)]
    #[schema(value_type = Option<schema::Time>)]
    pub scheduled_at: Option<When>,
}

impl PatchBody<'_> {
    /// The command.
    ///
    /// # Errors
    /// With the place of what is wrong.
    pub fn check(&self, job: JobRef, limits: &Limits) -> Result<Patch, Problem> {
        let place = Place::ROOT;
        let payload =
            self.payload.map(|json| json.check(&place.key("payload"), limits.payload)).transpose()?;
        let tags = self.tags.as_ref().map(|tags| check_tags(&place, tags)).transpose()?;
        let priority = self.priority.map(|priority| priority.0);
        let scheduled_at = self.scheduled_at.map(|when| when.0);
        if payload.is_none() && tags.is_none() && priority.is_none() && scheduled_at.is_none() {
            return Err(Problem::field("", "changes nothing; give payload, priority, tags or scheduled_at"));
        }
        Ok(Patch { job, payload, priority, tags, scheduled_at })
    }
}

impl MoveBody<'_> {
    /// The queue to go to.
    ///
    /// # Errors
    /// `VALIDATION` naming the field.
    pub fn check(&self) -> Result<Name, Problem> {
        name::queue(&Place::ROOT.key("queue"), &self.queue)
    }
}

#[cfg(test)]
mod tests;
