// SPDX-License-Identifier: Apache-2.0
//! `POST /fetch`, `POST /fetch/batch`, and the job as a worker gets it (also on `GET /stream`).

use std::time::Duration;

use jobbie_broker::command::Fetch;
use jobbie_broker::reply::LeasedJob;
use jobbie_broker::request::{RequestKey, Route};
use jobbie_broker::{Json, Millis, Name, Timestamp, id, lease};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use super::job::Tags;
use super::limits::{MAX_FETCH, MAX_NAME, MAX_QUEUES};
use super::list::word;
use super::schema;
use super::{Entries, Limits, List, Place, Span, Stamp, Text, Verbatim, name};
use crate::error::Problem;

/// How long a fetch waits if it does not say: as long as Faktory's.
const DEFAULT_WAIT: Millis = Millis::from_secs(2);
/// How long a fetch may wait.
pub const MAX_WAIT: Millis = Millis::from_secs(60);
/// The largest weight of a queue.
const MAX_WEIGHT: u32 = 1_000;

/// A worker asks for jobs.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = FetchRequest)]
pub struct FetchBody<'a> {
    /// The queues, asked in this order unless `strategy` says otherwise.
    #[serde(borrow)]
    #[schema(value_type = Vec<schema::QueueName>, min_items = 1, max_items = 256)]
    pub queues: List<Text<'a>, MAX_QUEUES>,
    /// The worker's id.
    #[serde(borrow, default)]
    #[schema(value_type = Option<String>, max_length = 256)]
    pub worker_id: Option<Text<'a>>,
    /// The worker's host.
    #[serde(borrow, default)]
    #[schema(value_type = Option<String>, max_length = 256)]
    pub hostname: Option<Text<'a>>,
    /// How long to wait for a job, 0 to 60 seconds; 2 if absent.
    #[serde(default)]
    #[schema(value_type = Option<schema::Duration>)]
    pub timeout: Option<Span>,
    /// How long the lease lasts, 1 s to 24 h; 60 s if absent.
    #[serde(default)]
    #[schema(value_type = Option<schema::Duration>)]
    pub lease_duration: Option<Span>,
    /// In which order the queues are asked: as given, in turns, or drawn by `weights`.
    #[serde(default)]
    pub strategy: Option<Strategy>,
    /// By queue, 1 to 1000, for `weighted`; 1 if absent.
    #[serde(borrow, default)]
    #[schema(value_type = Option<schema::Weights>)]
    pub weights: Option<Entries<'a, u32, MAX_QUEUES>>,
    /// How many jobs at most, 1 to 1000; only in a batch, 1 if absent.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 1_000)]
    pub count: Option<u32>,
    /// Makes the call repeatable.
    #[serde(borrow, default)]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 256)]
    pub request_id: Option<Text<'a>>,
}

/// In which order the queues of a fetch are asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// As given: a later queue is asked only if the earlier ones have nothing.
    #[default]
    Strict,
    /// In turns: each call begins one queue further.
    RoundRobin,
    /// Drawn at random, a queue of weight 3 three times as often in front as one of weight 1.
    Weighted,
}

impl<'de> Deserialize<'de> for Strategy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        word(
            deserializer,
            &[("strict", Self::Strict), ("round_robin", Self::RoundRobin), ("weighted", Self::Weighted)],
        )
    }
}

impl FetchBody<'_> {
    /// The command, and how long to wait. `turn` is any number that goes up with each call.
    ///
    /// # Errors
    /// `VALIDATION` naming the field.
    pub fn check(&self, batch: bool, turn: u64, limits: &Limits) -> Result<(Fetch, Duration), Problem> {
        let place = Place::ROOT;
        let wait = self.timeout.map_or(DEFAULT_WAIT, |span| span.0);
        if wait > MAX_WAIT {
            return Err(Problem::field(place.key("timeout"), "must be from 0 to 60 seconds"));
        }
        let request = self.request_id.as_deref();
        let request = request.map(|key| name::key(&place.key("request_id"), key, MAX_NAME)).transpose()?;
        // A repeated call must be the same command, so its order is drawn from its id.
        let turn = request.as_deref().map_or(turn, seed);
        let fetch = Fetch {
            queues: self.ordered(&place, turn)?,
            worker: name::worker(&place.key("worker_id"), self.worker_id.as_deref())?,
            hostname: name::worker(&place.key("hostname"), self.hostname.as_deref())?,
            count: self.count(&place, batch)?,
            max_bytes: u32::try_from(limits.body).unwrap_or(u32::MAX),
            lease: lease_length(&place.key("lease_duration"), self.lease_duration)?,
            stream_concurrency: None,
            request: request.map(|key| RequestKey { route: Route::Fetch, key }),
        };
        Ok((fetch, Duration::from_millis(wait.0)))
    }

    fn count(&self, place: &Place<'_>, batch: bool) -> Result<u32, Problem> {
        match self.count {
            None => Ok(1),
            Some(_) if !batch => {
                Err(Problem::field(place.key("count"), "is not a field here; use /fetch/batch"))
            }
            Some(count) if (1..=MAX_FETCH).contains(&count) => Ok(count),
            Some(_) => Err(Problem::field(place.key("count"), format!("must be from 1 to {MAX_FETCH}"))),
        }
    }

    fn ordered(&self, place: &Place<'_>, turn: u64) -> Result<Vec<Name>, Problem> {
        let mut queues = queue_list(&place.key("queues"), self.queues.0.iter().map(|text| &**text))?;
        let strategy = self.strategy.unwrap_or_default();
        if self.weights.is_some() && strategy != Strategy::Weighted {
            return Err(Problem::field(place.key("weights"), "needs the strategy \"weighted\""));
        }
        match strategy {
            Strategy::Strict => {}
            Strategy::RoundRobin => {
                let by = usize::try_from(turn % queues.len() as u64).unwrap_or_default();
                queues.rotate_left(by);
            }
            Strategy::Weighted => {
                let weights = self.weights(&place.key("weights"), &queues)?;
                queues = draw(queues, weights, turn);
            }
        }
        Ok(queues)
    }

    fn weights(&self, place: &Place<'_>, queues: &[Name]) -> Result<Vec<u64>, Problem> {
        let mut weights = vec![1; queues.len()];
        for (queue, weight) in self.weights.iter().flat_map(|weights| &weights.0) {
            let Some(at) = queues.iter().position(|name| **name == **queue) else {
                return Err(Problem::field(place, "names a queue that is not in queues"));
            };
            if !(1..=MAX_WEIGHT).contains(weight) {
                return Err(Problem::field(place.key(queue), format!("must be from 1 to {MAX_WEIGHT}")));
            }
            weights[at] = u64::from(*weight);
        }
        Ok(weights)
    }
}

/// Names of queues, each once.
///
/// # Errors
/// `VALIDATION` if there are none, too many, or one is no name.
pub fn queue_list<'a>(place: &Place<'_>, names: impl Iterator<Item = &'a str>) -> Result<Vec<Name>, Problem> {
    let mut queues: Vec<Name> = Vec::new();
    for (at, text) in names.enumerate() {
        if at >= MAX_QUEUES {
            return Err(Problem::field(place, format!("must have at most {MAX_QUEUES} queues")));
        }
        let queue = name::queue(&place.index(at), text)?;
        if !queues.contains(&queue) {
            queues.push(queue);
        }
    }
    if queues.is_empty() {
        return Err(Problem::field(place, "must name at least one queue"));
    }
    Ok(queues)
}

/// The length of a lease.
///
/// # Errors
/// `VALIDATION` naming the bounds.
pub fn lease_length(place: &Place<'_>, span: Option<Span>) -> Result<Millis, Problem> {
    let length = span.map_or(lease::DEFAULT_LENGTH, |span| span.0);
    if (lease::MIN_LENGTH..=lease::MAX_LENGTH).contains(&length) {
        return Ok(length);
    }
    Err(Problem::field(place, format!("must be from {} to {}", lease::MIN_LENGTH, lease::MAX_LENGTH)))
}

fn seed(text: &str) -> u64 {
    text.bytes().fold(text.len() as u64, |hash, byte| id::mix(hash ^ u64::from(byte)))
}

/// A random order in which each place is drawn from what is left, in proportion to the weights.
fn draw(mut queues: Vec<Name>, mut weights: Vec<u64>, turn: u64) -> Vec<Name> {
    let mut random = id::mix(turn);
    let mut drawn = Vec::with_capacity(queues.len());
    while !queues.is_empty() {
        let total: u64 = weights.iter().sum();
        random = id::mix(random);
        let mut point = random % total.max(1);
        let at = weights.iter().position(|weight| match point.checked_sub(*weight) {
            Some(rest) => {
                point = rest;
                false
            }
            None => true,
        });
        let at = at.unwrap_or_default();
        weights.remove(at);
        drawn.push(queues.remove(at));
    }
    drawn
}

/// A job as it goes to a worker.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LeasedJob)]
pub struct Leased<'a> {
    /// The job's id.
    #[schema(value_type = schema::JobId)]
    pub job_id: String,
    /// Its queue.
    #[schema(value_type = schema::QueueName)]
    pub queue: &'a str,
    /// What the producer sent.
    #[schema(value_type = schema::AnyJson)]
    pub payload: Verbatim<'a>,
    /// The number of this execution.
    pub attempt: u32,
    /// Retries after the first attempt.
    pub max_retries: u32,
    /// To be sent with ack, fail, release and heartbeat.
    #[schema(example = "1.9f0c3a5be1d27748")]
    pub lease_token: String,
    /// Until when the job is the worker's unless it sends heartbeats.
    #[schema(value_type = schema::Time)]
    pub lease_expires_at: Stamp,
    /// What an earlier attempt saved.
    #[schema(value_type = schema::AnyJson)]
    pub checkpoint: Option<Verbatim<'a>>,
    /// Labels.
    #[schema(value_type = schema::TagMap)]
    pub tags: Tags<'a>,
    /// W3C `traceparent` of the enqueue.
    pub trace: Option<&'a str>,
    /// Longest run of one attempt.
    pub timeout_ms: Option<u64>,
    /// On a stream: the log index at which the lease was granted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<u64>,
    /// On a stream: true if the lease was this worker's before the stream was opened.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub adopted: Option<bool>,
}

impl<'a> From<&'a LeasedJob> for Leased<'a> {
    fn from(leased: &'a LeasedJob) -> Self {
        let job = &leased.job;
        let lease = job.state.lease();
        Self {
            job_id: job.id().to_string(),
            queue: &job.queue,
            payload: Verbatim(&leased.payload),
            attempt: job.attempt(),
            max_retries: job.options.retry.max_retries,
            lease_token: lease.map(|lease| lease.token.to_string()).unwrap_or_default(),
            lease_expires_at: Stamp(lease.map_or(Timestamp(0), |lease| lease.deadline)),
            checkpoint: leased.checkpoint.as_ref().map(Verbatim),
            tags: Tags(&job.options.tags),
            trace: job.options.trace.as_deref(),
            timeout_ms: job.options.timeout.map(|span| span.0),
            index: None,
            adopted: None,
        }
    }
}

/// The answer of a batched fetch.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = FetchBatchReply)]
pub struct FetchBatchReply<'a> {
    /// The jobs; empty when the time was over.
    pub jobs: Vec<Leased<'a>>,
}

/// Room for the answer: the payloads and what stands around them.
#[must_use]
pub fn room(jobs: &[LeasedJob]) -> usize {
    let size = |json: &Json| json.len();
    jobs.iter().map(|job| 512 + job.payload.len() + job.checkpoint.as_ref().map_or(0, size)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::read;

    fn fetch(body: &str, batch: bool, turn: u64) -> Result<(Fetch, Duration), Problem> {
        read::object::<FetchBody<'_>>(body)?.check(batch, turn, &Limits::default())
    }

    fn order(body: &str, turn: u64) -> String {
        fetch(body, false, turn).unwrap().0.queues.join(",")
    }

    #[test]
    fn queues_are_enough() {
        let (fetch, wait) = fetch(r#"{"queues":["a","b","a"]}"#, false, 0).unwrap();
        assert_eq!(wait, Duration::from_secs(2));
        assert_eq!(
            (fetch.queues.join(","), fetch.count, fetch.lease),
            ("a,b".into(), 1, Millis::from_secs(60))
        );
        assert_eq!((&*fetch.worker, fetch.request, fetch.stream_concurrency), ("", None, None));
    }

    #[test]
    fn the_order_follows_the_strategy() {
        assert_eq!(order(r#"{"queues":["a","b","c"],"strategy":"strict"}"#, 1), "a,b,c");
        assert_eq!(order(r#"{"queues":["a","b","c"],"strategy":"round_robin"}"#, 1), "b,c,a");
        assert_eq!(order(r#"{"queues":["a","b","c"],"strategy":"round_robin"}"#, 3), "a,b,c");
        let weighted = r#"{"queues":["a","b","c"],"strategy":"weighted","weights":{"b":8}}"#;
        let first = |queue: &str| (0..1000).filter(|turn| order(weighted, *turn).starts_with(queue)).count();
        let (a, b, c) = (first("a"), first("b"), first("c"));
        assert_eq!(a + b + c, 1000);
        assert!((740..860).contains(&b), "{b}");
        assert!((60..140).contains(&a) && (60..140).contains(&c), "{a} {c}");
    }

    #[test]
    fn a_repeated_call_has_the_same_order() {
        let body = r#"{"queues":["a","b","c"],"strategy":"round_robin","request_id":"r-1"}"#;
        assert_eq!(order(body, 1), order(body, 2));
    }

    #[test]
    fn the_rest_is_refused() {
        for body in [
            "{}",
            r#"{"queues":[]}"#,
            r#"{"queues":["a b"]}"#,
            r#"{"queues":"a"}"#,
            r#"{"queues":["a"],"timeout":61}"#,
            r#"{"queues":["a"],"timeout":-1}"#,
            r#"{"queues":["a"],"lease_duration":"500ms"}"#,
            r#"{"queues":["a"],"lease_duration":"2d"}"#,
            r#"{"queues":["a"],"strategy":"random"}"#,
            r#"{"queues":["a"],"weights":{"a":1}}"#,
            r#"{"queues":["a"],"strategy":"weighted","weights":{"b":1}}"#,
            r#"{"queues":["a"],"strategy":"weighted","weights":{"a":0}}"#,
            r#"{"queues":["a"],"request_id":""}"#,
            r#"{"queues":["a"],"worker_id":"a\nb"}"#,
            r#"{"queues":["a"],"count":2}"#,
        ] {
            assert_eq!(fetch(body, false, 0).unwrap_err().code.name(), "VALIDATION", "{body}");
        }
        for (count, good) in [(0, false), (1, true), (1000, true), (1001, false)] {
            assert_eq!(fetch(&format!(r#"{{"queues":["a"],"count":{count}}}"#), true, 0).is_ok(), good);
        }
    }
}
