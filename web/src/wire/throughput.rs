// SPDX-License-Identifier: Apache-2.0
//! `GET /metrics/throughput`: how fast everything moves.

use jobbie_actors::ports::QueueRates;
use serde::Serialize;
use utoipa::ToSchema;

use super::queue::{LatencyView, RatesView};
use super::{Stamp, schema};

/// One minute.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct Minute {
    /// When it began.
    #[schema(value_type = schema::Time)]
    pub at: Stamp,
    /// Jobs accepted.
    pub enqueued: u64,
    /// Jobs handed out.
    pub started: u64,
    /// Jobs acknowledged.
    pub completed: u64,
    /// Attempts that failed, timed out or crashed.
    pub failed: u64,
}

/// The minutes of a series.
#[must_use]
pub fn minutes(rates: &QueueRates) -> Vec<Minute> {
    let minute = rates.per_minute.iter().map(|minute| Minute {
        at: Stamp(minute.at),
        enqueued: minute.counts.enqueued,
        started: minute.counts.started,
        completed: minute.counts.completed,
        failed: minute.counts.failed,
    });
    minute.collect()
}

/// How fast all queues move together.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Throughput)]
pub struct ThroughputView {
    /// Events per second over the last minute.
    pub rates: RatesView,
    /// How long jobs wait and run.
    pub latency: LatencyView,
    /// The last hour, oldest first, minutes in which nothing happened left out.
    pub per_minute: Vec<Minute>,
}

impl From<&QueueRates> for ThroughputView {
    fn from(rates: &QueueRates) -> Self {
        Self { rates: rates.into(), latency: rates.into(), per_minute: minutes(rates) }
    }
}
