// SPDX-License-Identifier: Apache-2.0
//! A queue as it is returned, and the bodies that change one.

use jobbie_actors::ports::QueueRates;
use jobbie_broker::command::QueueSetting;
use jobbie_broker::throttle::Throttle;
use jobbie_broker::{Queue, StateKind, Timestamp};
use serde::ser::{SerializeMap, Serializer};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::schema;
use super::throughput::{Minute, minutes};
use super::{Place, Span, Stamp};
use crate::error::Problem;

/// The largest limit of a queue.
const MAX_LIMIT: u32 = 1_000_000;

/// Jobs by state.
#[derive(Clone, Copy, Debug)]
pub struct Counts<'a>(pub &'a Queue);

impl Serialize for Counts<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(StateKind::ALL.len()))?;
        for kind in StateKind::ALL {
            map.serialize_entry(kind.name(), &self.0.count(kind))?;
        }
        map.end()
    }
}

/// A queue.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Queue)]
pub struct QueueView<'a> {
    /// Its name.
    #[schema(value_type = schema::QueueName)]
    pub name: &'a str,
    /// Jobs by state.
    #[schema(value_type = std::collections::HashMap<String, u64>)]
    pub counts: Counts<'a>,
    /// Jobs in any state.
    pub total: u64,
    /// Since when the job that has waited longest is pending.
    #[schema(value_type = Option<schema::Time>)]
    pub oldest_pending_at: Option<Stamp>,
    /// True if nothing is handed out.
    pub paused: bool,
    /// Since when.
    #[schema(value_type = Option<schema::Time>)]
    pub paused_at: Option<Stamp>,
    /// True if new jobs are refused.
    pub draining: bool,
    /// Since when.
    #[schema(value_type = Option<schema::Time>)]
    pub draining_at: Option<Stamp>,
    /// True if it is being deleted.
    pub deleting: bool,
    /// At most that many active jobs.
    pub concurrency: Option<u32>,
    /// At most that many starts per period.
    pub throttle: Option<ThrottleView>,
    /// How fast it moves.
    pub rates: RatesView,
    /// How long jobs wait and run.
    pub latency: LatencyView,
    /// What has happened since the queue was created.
    pub totals: TotalsView,
    /// When the queue was first named.
    #[schema(value_type = schema::Time)]
    pub created_at: Stamp,
    /// The last hour by minute, oldest first, minutes in which nothing happened left out; only for a single queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_minute: Option<Vec<Minute>>,
}

/// A rate limit.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[schema(as = Throttle)]
pub struct ThrottleView {
    /// Starts per period.
    pub count: u32,
    /// The period.
    pub period_ms: u64,
}

/// Events per second over the last minute.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[schema(as = Rates)]
pub struct RatesView {
    /// Jobs accepted.
    pub enqueued_per_s: f64,
    /// Jobs handed out.
    pub started_per_s: f64,
    /// Jobs acknowledged.
    pub completed_per_s: f64,
    /// Attempts that failed.
    pub failed_per_s: f64,
}

/// How long jobs wait (ready to started) and run, over the last one to two minutes.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[schema(as = Latency)]
pub struct LatencyView {
    /// Half of the jobs waited at most that long.
    pub wait_p50_ms: Option<u64>,
    /// 95 of 100 jobs waited at most that long.
    pub wait_p95_ms: Option<u64>,
    /// Half of the attempts ran at most that long.
    pub run_p50_ms: Option<u64>,
    /// 95 of 100 attempts ran at most that long.
    pub run_p95_ms: Option<u64>,
}

/// Monotonic totals.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[schema(as = Totals)]
pub struct TotalsView {
    /// Jobs accepted.
    pub enqueued: u64,
    /// Leases granted.
    pub fetched: u64,
    /// Jobs acknowledged.
    pub completed: u64,
    /// Attempts failed, by the worker's word or by timeout.
    pub failed: u64,
    /// Leases lost.
    pub crashed: u64,
    /// Jobs given up.
    pub dead: u64,
    /// Jobs called off.
    pub cancelled: u64,
}

impl From<&QueueRates> for RatesView {
    fn from(rates: &QueueRates) -> Self {
        Self {
            enqueued_per_s: rates.enqueued_per_s,
            started_per_s: rates.started_per_s,
            completed_per_s: rates.completed_per_s,
            failed_per_s: rates.failed_per_s,
        }
    }
}

impl From<&QueueRates> for LatencyView {
    fn from(rates: &QueueRates) -> Self {
        Self {
            wait_p50_ms: rates.latency_p50_ms,
            wait_p95_ms: rates.latency_p95_ms,
            run_p50_ms: rates.duration_p50_ms,
            run_p95_ms: rates.duration_p95_ms,
        }
    }
}

impl<'a> QueueView<'a> {
    /// A queue of a listing.
    #[must_use]
    pub fn new(name: &'a str, queue: &'a Queue, rates: &QueueRates, oldest: Option<Timestamp>) -> Self {
        let totals = queue.totals;
        Self {
            name,
            counts: Counts(queue),
            total: queue.total(),
            oldest_pending_at: oldest.map(Stamp),
            paused: queue.paused_at.is_some(),
            paused_at: queue.paused_at.map(Stamp),
            draining: queue.draining_at.is_some(),
            draining_at: queue.draining_at.map(Stamp),
            deleting: queue.deleting,
            concurrency: queue.concurrency,
            throttle: queue.throttle.map(|t| ThrottleView { count: t.count, period_ms: t.period.0 }),
            rates: rates.into(),
            latency: rates.into(),
            totals: TotalsView {
                enqueued: totals.enqueued,
                fetched: totals.fetched,
                completed: totals.completed,
                failed: totals.failed,
                crashed: totals.crashed,
                dead: totals.dead,
                cancelled: totals.cancelled,
            },
            created_at: Stamp(queue.created_at),
            per_minute: None,
        }
    }

    /// Adds the last hour by minute.
    #[must_use]
    pub fn with_minutes(mut self, rates: &QueueRates) -> Self {
        self.per_minute = Some(minutes(rates));
        self
    }
}

/// All queues.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Queues)]
pub struct QueuesView<'a> {
    /// The queues, by name.
    pub queues: Vec<QueueView<'a>>,
}

/// A queue that is being deleted.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = QueueDeleted)]
pub struct QueueDeleted<'a> {
    /// Its name.
    #[schema(value_type = schema::QueueName)]
    pub name: &'a str,
    /// Always true: its jobs are invisible now and removed in steps, then it is gone.
    pub deleting: bool,
}

/// How many jobs of a queue may be active.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ConcurrencyRequest)]
pub struct ConcurrencyBody {
    /// At most that many active jobs; `null` lifts the limit.
    #[serde(deserialize_with = "required_or_null")]
    #[schema(minimum = 1, maximum = 1_000_000, required = true)]
    pub concurrency: Option<u32>,
}

fn required_or_null<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    Option::deserialize(deserializer)
}

/// How many jobs of a queue may start per period.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ThrottleRequest)]
pub struct ThrottleBody {
    /// Starts per period.
    #[schema(minimum = 1, maximum = 1_000_000)]
    pub count: u32,
    /// The period, 1 ms to 1 d.
    #[schema(value_type = schema::Duration)]
    pub period: Span,
}

impl ConcurrencyBody {
    /// The setting.
    ///
    /// # Errors
    /// `VALIDATION` naming the field.
    pub fn check(&self) -> Result<QueueSetting, Problem> {
        match self.concurrency {
            Some(limit) => Ok(QueueSetting::Concurrency(Some(bounded("concurrency", limit)?))),
            None => Ok(QueueSetting::Concurrency(None)),
        }
    }
}

impl ThrottleBody {
    /// The setting.
    ///
    /// # Errors
    /// `VALIDATION` naming the field.
    pub fn check(&self) -> Result<QueueSetting, Problem> {
        let period = self.period.0;
        if !(1..=86_400_000).contains(&period.0) {
            return Err(Problem::field(Place::ROOT.key("period"), "must be from 1 ms to 1 d"));
        }
        Ok(QueueSetting::Throttle(Some(Throttle { count: bounded("count", self.count)?, period })))
    }
}

fn bounded(field: &str, limit: u32) -> Result<u32, Problem> {
    if (1..=MAX_LIMIT).contains(&limit) {
        return Ok(limit);
    }
    Err(Problem::field(field, format!("must be from 1 to {MAX_LIMIT}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::read;
    use jobbie_broker::Millis;

    #[test]
    fn a_queue_shows_every_state() {
        let queue = Queue { counts: [0, 0, 2, 1, 0, 0, 5, 0, 0], ..Queue::default() };
        let view = QueueView::new("a", &queue, &QueueRates::default(), None);
        let json = serde_json::to_string(&view).unwrap();
        assert!(json.contains(r#""counts":{"scheduled":0,"blocked":0,"pending":2,"active":1,"retrying":0,"held":0,"completed":5,"dead":0,"cancelled":0},"total":8"#), "{json}");
    }

    #[test]
    fn settings_are_bounded() {
        let concurrency = |body: &str| read::object::<ConcurrencyBody>(body).and_then(|b| b.check());
        assert_eq!(concurrency(r#"{"concurrency":5}"#).unwrap(), QueueSetting::Concurrency(Some(5)));
        assert_eq!(concurrency(r#"{"concurrency":null}"#).unwrap(), QueueSetting::Concurrency(None));
        for bad in [
            "{}",
            r#"{"concurrency":0}"#,
            r#"{"concurrency":1000001}"#,
            r#"{"concurrency":"5"}"#,
            r#"{"limit":5}"#,
        ] {
            assert!(concurrency(bad).is_err(), "{bad}");
        }
        let throttle = |body: &str| read::object::<ThrottleBody>(body).and_then(|b| b.check());
        let expected = Throttle { count: 10, period: Millis(60_000) };
        assert_eq!(
            throttle(r#"{"count":10,"period":"1m"}"#).unwrap(),
            QueueSetting::Throttle(Some(expected))
        );
        for bad in [
            r#"{"count":10}"#,
            r#"{"count":0,"period":1}"#,
            r#"{"count":1,"period":0}"#,
            r#"{"count":1,"period":"2d"}"#,
        ] {
            assert!(throttle(bad).is_err(), "{bad}");
        }
    }
}
