// SPDX-License-Identifier: Apache-2.0
//! `POST /enqueue` and `POST /enqueue/batch`.

use std::fmt;

use jobbie_broker::backoff::{Backoff, RetryPolicy};
use jobbie_broker::command::Enqueue;
use jobbie_broker::job::{DEFAULT_MAX_CRASHES, DEFAULT_PRIORITY, Due, JobSpec, MAX_PRIORITY, Options};
use jobbie_broker::reply::Enqueued;
use jobbie_broker::request::RequestKey;
use jobbie_broker::unique::Unique;
use jobbie_broker::{Json, Millis, Name};
use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::limits::{MAX_BATCH, MAX_TAG_NAME, MAX_TAG_VALUE, MAX_TAGS, MAX_UNIQUE_KEY};
use super::list::word;
use super::schema;
use super::{Entries, Limits, List, Obj, Opaque, Place, Span, Text, Verbatim, When, name};
use crate::error::Problem;

/// The most retries a job may have: at ten minutes each, two months of trying.
const MAX_RETRIES: u32 = 10_000;
/// The most leases a job may be allowed to lose.
const MAX_CRASHES: u32 = 1_000;

/// A job to enqueue.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = EnqueueRequest)]
pub struct JobBody<'a> {
    /// The queue; it is created if there is none of that name.
    #[serde(borrow)]
    #[schema(value_type = schema::QueueName)]
    pub queue: Text<'a>,
    /// Any JSON, kept byte for byte; at most 256 KiB unless the server says otherwise. Absent is `null`.
    #[serde(borrow, default)]
    #[schema(value_type = schema::AnyJson, required = false)]
    pub payload: Option<Opaque<'a>>,
    /// An id of the caller's choice: makes the call repeatable.
    #[serde(borrow, default)]
    #[schema(value_type = Option<String>, pattern = "^[A-Za-z0-9_-]{1,64}$")]
    pub id: Option<Text<'a>>,
    /// Larger first; 50 if absent.
    #[serde(default)]
    #[schema(value_type = Option<schema::Priority>)]
    pub priority: Option<Priority>,
    /// Retries after the first attempt; 3 if absent, so up to 4 attempts.
    #[serde(default)]
    #[schema(maximum = 10_000)]
    pub max_retries: Option<u32>,
    /// The shape of the delays between attempts; `exponential` if absent.
    #[serde(default)]
    pub retry_backoff: Option<BackoffName>,
    /// The first delay; 5 s if absent.
    #[serde(default)]
    #[schema(value_type = Option<schema::Duration>)]
    pub retry_base_delay: Option<Span>,
    /// The longest delay before jitter; 10 min if absent.
    #[serde(default)]
    #[schema(value_type = Option<schema::Duration>)]
    pub retry_max_delay: Option<Span>,
    /// Added to each delay at random, as a share of it; 0.1 if absent.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 1)]
    pub retry_jitter: Option<f64>,
    /// Longest run of one attempt.
    #[serde(default)]
    #[schema(value_type = Option<schema::Duration>)]
    pub timeout: Option<Span>,
    /// At most one live job has this key.
    #[serde(borrow, default)]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 512)]
    pub unique_key: Option<Text<'a>>,
    /// How long after the enqueue the completed job still answers for the key.
    #[serde(default)]
    #[schema(value_type = Option<schema::Duration>)]
    pub unique_period: Option<Span>,
    /// When it is due; not together with `delay`.
    #[serde(default)]
    #[schema(value_type = Option<schema::Time>)]
    pub scheduled_at: Option<When>,
    /// How long from now it is due; not together with `scheduled_at`.
    #[serde(default)]
    #[schema(value_type = Option<schema::Duration>)]
    pub delay: Option<Span>,
    /// If it has not started that long after the enqueue it is dead with reason `expired`.
    #[serde(default)]
    #[schema(value_type = Option<schema::Duration>)]
    pub expire_after: Option<Span>,
    /// Labels.
    #[serde(borrow, default)]
    #[schema(value_type = Option<schema::TagMap>)]
    pub tags: Option<Entries<'a, Text<'a>, MAX_TAGS>>,
    /// The job that this one belongs to.
    #[serde(borrow, default)]
    #[schema(value_type = Option<schema::JobId>)]
    pub parent_id: Option<Text<'a>>,
    /// Leases it may lose before it is dead with reason `crashed`; 3 if absent.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 1_000)]
    pub max_crashes: Option<u32>,
    /// The queue it goes to instead of `dead` when it has lost its lease that often.
    #[serde(borrow, default)]
    #[schema(value_type = Option<schema::QueueName>)]
    pub on_crash_queue: Option<Text<'a>>,
    /// How long after its end the job stays; only shorter than the server keeps finished jobs. A completed job
    /// that still answers for its `unique_key` stays until the `unique_period` is over.
    #[serde(default)]
    #[schema(value_type = Option<schema::Duration>)]
    pub retention: Option<Span>,
    /// W3C `traceparent` of the enqueue.
    #[serde(borrow, default)]
    #[schema(value_type = Option<String>, pattern = "^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$")]
    pub trace: Option<Text<'a>>,
}

/// Jobs to enqueue, all or nothing.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = EnqueueBatchRequest)]
pub struct BatchBody<'a> {
    /// The jobs.
    #[serde(borrow)]
    #[schema(value_type = Vec<JobBody<'static>>, min_items = 1, max_items = 10_000)]
    pub jobs: List<Obj<JobBody<'a>>, MAX_BATCH>,
}

/// A priority by number or name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Priority(pub u8);

impl<'de> Deserialize<'de> for Priority {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Seen;
        impl Visitor<'_> for Seen {
            type Value = Priority;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number from 0 to 100, or low, normal, high or critical")
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Priority, E> {
                match u8::try_from(number) {
                    Ok(priority) if priority <= MAX_PRIORITY => Ok(Priority(priority)),
                    _ => Err(E::invalid_value(de::Unexpected::Unsigned(number), &self)),
                }
            }
            fn visit_str<E: de::Error>(self, name: &str) -> Result<Priority, E> {
                Ok(Priority(match name {
                    "low" => 25,
                    "normal" => 50,
                    "high" => 75,
                    "critical" => 100,
                    _ => return Err(E::invalid_value(de::Unexpected::Str(name), &self)),
                }))
            }
        }
        deserializer.deserialize_any(Seen)
    }
}

/// The shape of the delays between attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = Backoff)]
pub enum BackoffName {
    /// Try again at once.
    None,
    /// Always the same delay.
    Fixed,
    /// The delay grows by the base each time.
    Linear,
    /// The delay doubles each time.
    Exponential,
}

impl<'de> Deserialize<'de> for BackoffName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        word(
            deserializer,
            &[
                ("none", Self::None),
                ("fixed", Self::Fixed),
                ("linear", Self::Linear),
                ("exponential", Self::Exponential),
            ],
        )
    }
}

impl From<BackoffName> for Backoff {
    fn from(name: BackoffName) -> Self {
        match name {
            BackoffName::None => Self::None,
            BackoffName::Fixed => Self::Fixed,
            BackoffName::Linear => Self::Linear,
            BackoffName::Exponential => Self::Exponential,
        }
    }
}

impl From<Backoff> for BackoffName {
    fn from(backoff: Backoff) -> Self {
        match backoff {
            Backoff::None => Self::None,
            Backoff::Fixed => Self::Fixed,
            Backoff::Linear => Self::Linear,
            Backoff::Exponential => Self::Exponential,
        }
    }
}

impl JobBody<'_> {
    /// The job with every default filled in.
    ///
    /// # Errors
    /// `VALIDATION` or `PAYLOAD_TOO_LARGE`, naming the field with its place.
    pub fn check(&self, place: &Place<'_>, limits: &Limits) -> Result<JobSpec, Problem> {
        let payload = match self.payload {
            Some(payload) => payload.check(&place.key("payload"), limits.payload)?,
            None => Json::null(),
        };
        let id = self.id.as_deref().map(|id| name::id(&place.key("id"), id)).transpose()?;
        let queue = name::queue(&place.key("queue"), &self.queue)?;
        let expire_after = positive(place, "expire_after", self.expire_after)?;
        Ok(JobSpec {
            queue,
            payload,
            id,
            due: self.due(place)?,
            expire_after,
            options: self.options(place, limits)?,
        })
    }

    fn due(&self, place: &Place<'_>) -> Result<Due, Problem> {
        match (self.scheduled_at, self.delay) {
            (Some(_), Some(_)) => {
                Err(Problem::field(place.key("delay"), "cannot be given together with scheduled_at"))
            }
            (Some(at), None) => Ok(Due::At(at.0)),
            (None, Some(Span(Millis(0)))) | (None, None) => Ok(Due::Now),
            (None, Some(delay)) => Ok(Due::After(delay.0)),
        }
    }

    fn options(&self, place: &Place<'_>, limits: &Limits) -> Result<Options, Problem> {
        let on_crash_queue = self.on_crash_queue.as_deref();
        let parent_id = self.parent_id.as_deref();
        let trace = self.trace.as_deref();
        Ok(Options {
            priority: self.priority.map_or(DEFAULT_PRIORITY, |priority| priority.0),
            retry: self.retry(place)?,
            timeout: positive(place, "timeout", self.timeout)?,
            unique: self.unique(place)?,
            tags: self.tags.as_ref().map_or_else(|| Ok(Vec::new()), |tags| check_tags(place, tags))?,
            max_crashes: within(
                place,
                "max_crashes",
                self.max_crashes,
                1..=MAX_CRASHES,
                DEFAULT_MAX_CRASHES,
            )?,
            on_crash_queue: on_crash_queue
                .map(|text| name::queue(&place.key("on_crash_queue"), text))
                .transpose()?,
            parent_id: parent_id.map(|text| name::id(&place.key("parent_id"), text)).transpose()?,
            trace: trace.map(|text| name::trace(&place.key("trace"), text)).transpose()?,
            retention: self.retention(place, limits)?,
        })
    }

    fn retention(&self, place: &Place<'_>, limits: &Limits) -> Result<Option<Millis>, Problem> {
        match (self.retention.map(|span| span.0), limits.retention) {
            (Some(asked), Some(most)) if asked > most => {
                let message = format!("can only be shorter than the server's, which is {most}");
                Err(Problem::field(place.key("retention"), message))
            }
            (asked, _) => Ok(asked),
        }
    }

    fn retry(&self, place: &Place<'_>) -> Result<RetryPolicy, Problem> {
        let default = RetryPolicy::default();
        let jitter_permille = match self.retry_jitter {
            None => default.jitter_permille,
            // The bounds make the cast exact; NaN is in no range.
            Some(share) if (0.0..=1.0).contains(&share) => (share * 1000.0).round() as u16,
            Some(_) => return Err(Problem::field(place.key("retry_jitter"), "must be a number from 0 to 1")),
        };
        Ok(RetryPolicy {
            max_retries: within(
                place,
                "max_retries",
                self.max_retries,
                0..=MAX_RETRIES,
                default.max_retries,
            )?,
            backoff: self.retry_backoff.map_or(default.backoff, Into::into),
            base: self.retry_base_delay.map_or(default.base, |span| span.0),
            max: self.retry_max_delay.map_or(default.max, |span| span.0),
            jitter_permille,
        })
    }

    fn unique(&self, place: &Place<'_>) -> Result<Option<Unique>, Problem> {
        match (&self.unique_key, self.unique_period) {
            (None, None) => Ok(None),
            (None, Some(_)) => Err(Problem::field(place.key("unique_period"), "needs a unique_key")),
            (Some(key), period) => {
                let key = name::key(&place.key("unique_key"), key, MAX_UNIQUE_KEY)?;
                Ok(Some(Unique { key, period: period.map_or(Millis(0), |span| span.0) }))
            }
        }
    }
}

impl BatchBody<'_> {
    /// The command for all jobs.
    ///
    /// # Errors
    /// Those of the first bad job, with its place.
    pub fn check(&self, request: Option<RequestKey>, limits: &Limits) -> Result<Enqueue, Problem> {
        let place = Place::ROOT.key("jobs");
        if self.jobs.0.is_empty() {
            return Err(Problem::field(place, "must have at least one job"));
        }
        let jobs = self.jobs.0.iter().enumerate().map(|(at, job)| job.check(&place.index(at), limits));
        Ok(Enqueue { jobs: jobs.collect::<Result<_, _>>()?, request })
    }
}

/// Labels, sorted by name.
///
/// # Errors
/// `VALIDATION` naming the label.
pub fn check_tags(
    place: &Place<'_>,
    tags: &Entries<'_, Text<'_>, MAX_TAGS>,
) -> Result<Vec<(Name, Name)>, Problem> {
    let place = place.key("tags");
    let mut sorted = Vec::with_capacity(tags.0.len());
    for (tag, value) in &tags.0 {
        let here = place.key(tag);
        sorted.push((name::key(&here, tag, MAX_TAG_NAME)?, name::label(&here, value, MAX_TAG_VALUE)?));
    }
    sorted.sort_unstable();
    Ok(sorted)
}

fn positive(place: &Place<'_>, field: &str, span: Option<Span>) -> Result<Option<Millis>, Problem> {
    match span {
        Some(Span(Millis(0))) => Err(Problem::field(place.key(field), "must be longer than zero")),
        span => Ok(span.map(|span| span.0)),
    }
}

fn within(
    place: &Place<'_>,
    field: &str,
    value: Option<u32>,
    range: std::ops::RangeInclusive<u32>,
    default: u32,
) -> Result<u32, Problem> {
    match value {
        None => Ok(default),
        Some(value) if range.contains(&value) => Ok(value),
        Some(_) => {
            let message = format!("must be from {} to {}", range.start(), range.end());
            Err(Problem::field(place.key(field), message))
        }
    }
}

/// What became of an enqueue.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = EnqueueReply)]
pub struct EnqueueReply<'a> {
    /// The job: new, or the one that holds the unique key.
    #[schema(value_type = schema::JobId)]
    pub job_id: String,
    /// Its state.
    #[schema(example = "pending")]
    pub state: &'static str,
    /// True if the unique key was held and nothing new was enqueued.
    pub unique_existing: bool,
    /// What the worker answered, if the holder of the unique key is completed and has a result.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::AnyJson>)]
    pub result: Option<Verbatim<'a>>,
}

impl<'a> EnqueueReply<'a> {
    /// The answer for a job, with the result of a completed one that was found instead.
    #[must_use]
    pub fn new(enqueued: &Enqueued, result: Option<&'a Json>) -> Self {
        Self {
            job_id: enqueued.job.to_string(),
            state: enqueued.state.name(),
            unique_existing: enqueued.existing,
            result: result.map(Verbatim),
        }
    }
}

/// What became of a batch.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = EnqueueBatchReply)]
pub struct BatchReply {
    /// One id per job, in order; where a unique key was held, that of its holder.
    #[schema(value_type = Vec<schema::JobId>)]
    pub job_ids: Vec<String>,
}

#[cfg(test)]
mod tests;
