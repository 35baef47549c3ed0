// SPDX-License-Identifier: Apache-2.0
//! How fast queues move: counts by second and by minute, and how long jobs wait and run.
//!
//! In memory only and never needed for correctness: a restart begins at zero. About 6 KiB for each queue
//! that has moved within the last hour; a queue at rest is dropped.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use jobbie_broker::{Change, Event, Name, QueueKey, Scope, Timestamp};

/// Seconds that a rate is taken over.
const SECONDS: u64 = 60;
/// Minutes that are remembered.
const MINUTES: u64 = 60;

/// What is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Jobs accepted.
    pub enqueued: u64,
    /// Jobs handed out.
    pub started: u64,
    /// Jobs acknowledged.
    pub completed: u64,
    /// Attempts that failed, timed out or crashed.
    pub failed: u64,
}

impl Counts {
    fn add(&mut self, other: Self) {
        self.enqueued += other.enqueued;
        self.started += other.started;
        self.completed += other.completed;
        self.failed += other.failed;
    }
}

/// The counts of one minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MinuteCount {
    /// When the minute began.
    pub at: Timestamp,
    /// What happened in it.
    pub counts: Counts,
}

/// How fast a queue moves.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct QueueRates {
    /// Jobs accepted per second, over the last minute.
    pub enqueued_per_s: f64,
    /// Jobs handed out per second, over the last minute.
    pub started_per_s: f64,
    /// Jobs acknowledged per second, over the last minute.
    pub completed_per_s: f64,
    /// Attempts that failed per second, over the last minute.
    pub failed_per_s: f64,
    /// Median time from ready to started, in milliseconds, over the last one to two minutes.
    pub latency_p50_ms: Option<u64>,
    /// The time within which 95 of 100 jobs were started.
    pub latency_p95_ms: Option<u64>,
    /// Median time from started to the end of the attempt.
    pub duration_p50_ms: Option<u64>,
    /// The time within which 95 of 100 attempts ended.
    pub duration_p95_ms: Option<u64>,
    /// The last hour, oldest first, minutes in which nothing happened left out.
    pub per_minute: Vec<MinuteCount>,
}

/// The series of all queues.
#[derive(Default)]
pub struct Rates {
    queues: Mutex<HashMap<QueueKey, Series>>,
}

impl Rates {
    /// Counts an event.
    pub fn record(&self, event: &Event) {
        let Event::Job(job) = event else { return };
        let mut counts = Counts::default();
        match job.change {
            Change::Enqueued => counts.enqueued = 1,
            Change::Started => counts.started = 1,
            Change::Completed => counts.completed = 1,
            Change::Failed | Change::TimedOut | Change::Crashed => counts.failed = 1,
            Change::Died if job.from == Some(jobbie_broker::StateKind::Active) => counts.failed = 1,
            _ => return,
        }
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        let key = QueueKey::new(&job.namespace, &job.queue);
        let series = queues.entry(key).or_default();
        series.second(job.at).add(counts);
        series.minute(job.at).add(counts);
        if let Some(took) = job.took_ms {
            let spans = series.spans(job.at);
            if job.change == Change::Started { &mut spans.waited } else { &mut spans.ran }.add(took);
        }
    }

    /// How fast one queue moves.
    #[must_use]
    pub fn of(&self, queue: &QueueKey, now: Timestamp) -> QueueRates {
        let queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        queues.get(queue).map_or_else(QueueRates::default, |series| rates(std::iter::once(series), now))
    }

    /// How fast all queues of a namespace and a scope move together.
    #[must_use]
    pub fn of_all(&self, namespace: &Name, scope: &Scope, now: Timestamp) -> QueueRates {
        let queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        let of_these = |key: &QueueKey| key.namespace == *namespace && scope.allows(&key.queue);
        rates(queues.iter().filter(|(key, _)| of_these(key)).map(|(_, series)| series), now)
    }

    /// Drops the queues that have not moved for an hour.
    pub fn forget_idle(&self, now: Timestamp) {
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        let oldest = (now.0 / 60_000).saturating_sub(MINUTES);
        queues.retain(|_, series| series.minutes.iter().any(|(stamp, _)| *stamp >= oldest));
    }
}

/// One queue's counts: each slot carries the second or minute it is of, so that nothing has to be cleared.
struct Series {
    seconds: Vec<(u64, Counts)>,
    minutes: Vec<(u64, Counts)>,
    /// The present and the previous minute.
    spans: [(u64, Spans); 2],
}

impl Default for Series {
    fn default() -> Self {
        Self {
            seconds: vec![(0, Counts::default()); SECONDS as usize],
            minutes: vec![(0, Counts::default()); MINUTES as usize],
            spans: Default::default(),
        }
    }
}

fn slot(slots: &mut [(u64, Counts)], stamp: u64) -> &mut Counts {
    let at = (stamp % slots.len() as u64) as usize;
    if slots[at].0 != stamp {
        slots[at] = (stamp, Counts::default());
    }
    &mut slots[at].1
}

impl Series {
    fn second(&mut self, at: Timestamp) -> &mut Counts {
        slot(&mut self.seconds, at.0 / 1000)
    }

    fn minute(&mut self, at: Timestamp) -> &mut Counts {
        slot(&mut self.minutes, at.0 / 60_000)
    }

    fn spans(&mut self, at: Timestamp) -> &mut Spans {
        let minute = at.0 / 60_000;
        let place = (minute % 2) as usize;
        if self.spans[place].0 != minute {
            self.spans[place] = (minute, Spans::default());
        }
        &mut self.spans[place].1
    }
}

#[derive(Clone, Default)]
struct Spans {
    waited: Histogram,
    ran: Histogram,
}

/// Spans by size: four buckets per power of two, so a percentile is at most a quarter too large.
#[derive(Clone)]
struct Histogram {
    buckets: [u32; Self::BUCKETS],
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: [0; Self::BUCKETS] }
    }
}

impl Histogram {
    /// Up to 2³⁶ ms, two years.
    const BUCKETS: usize = 36 * 4;

    fn add(&mut self, ms: u64) {
        let bucket = &mut self.buckets[Self::bucket(ms)];
        *bucket = bucket.saturating_add(1);
    }

    fn bucket(ms: u64) -> usize {
        if ms < 4 {
            return ms as usize;
        }
        let power = 63 - u64::from(ms.leading_zeros());
        let quarter = (ms >> (power - 2)) & 3;
        (((power - 1) * 4 + quarter) as usize).min(Self::BUCKETS - 1)
    }

    /// The largest value that falls into a bucket.
    fn upper(bucket: usize) -> u64 {
        if bucket < 4 {
            return bucket as u64;
        }
        let (power, quarter) = (bucket as u64 / 4 + 1, bucket as u64 % 4);
        (1 << power) + ((quarter + 1) << (power - 2)) - 1
    }

    fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            *mine = mine.saturating_add(*theirs);
        }
    }

    fn percentile(&self, percent: u64) -> Option<u64> {
        let total: u64 = self.buckets.iter().map(|n| u64::from(*n)).sum();
        let rank = (total * percent).div_ceil(100).max(1);
        let mut seen = 0;
        self.buckets.iter().enumerate().find_map(|(bucket, n)| {
            seen += u64::from(*n);
            (seen >= rank).then(|| Self::upper(bucket))
        })
    }
}

fn rates<'a>(all: impl Iterator<Item = &'a Series>, now: Timestamp) -> QueueRates {
    let (second, minute) = (now.0 / 1000, now.0 / 60_000);
    let mut last_minute = Counts::default();
    let mut minutes: std::collections::BTreeMap<u64, Counts> = std::collections::BTreeMap::new();
    let mut spans = Spans::default();
    for series in all {
        // The present second is not over yet: the rate is taken over the sixty before it.
        let whole = |stamp: u64| stamp < second && stamp + SECONDS >= second;
        for (_, counts) in series.seconds.iter().filter(|(stamp, _)| whole(*stamp)) {
            last_minute.add(*counts);
        }
        let moved =
            |(stamp, counts): &&(u64, Counts)| *stamp + MINUTES > minute && *counts != Counts::default();
        for (stamp, counts) in series.minutes.iter().filter(moved) {
            minutes.entry(*stamp).or_default().add(*counts);
        }
        for (_, part) in series.spans.iter().filter(|(stamp, _)| *stamp + 2 > minute) {
            spans.waited.merge(&part.waited);
            spans.ran.merge(&part.ran);
        }
    }
    let per_s = |count: u64| count as f64 / SECONDS as f64;
    QueueRates {
        enqueued_per_s: per_s(last_minute.enqueued),
        started_per_s: per_s(last_minute.started),
        completed_per_s: per_s(last_minute.completed),
        failed_per_s: per_s(last_minute.failed),
        latency_p50_ms: spans.waited.percentile(50),
        latency_p95_ms: spans.waited.percentile(95),
        duration_p50_ms: spans.ran.percentile(50),
        duration_p95_ms: spans.ran.percentile(95),
        per_minute: minutes
            .into_iter()
            .map(|(minute, counts)| MinuteCount { at: Timestamp(minute * 60_000), counts })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_holds_what_its_upper_bound_says() {
        for ms in (0..5000).chain([1 << 20, (1 << 35) + 12345]) {
            let bucket = Histogram::bucket(ms);
            assert!(Histogram::upper(bucket) >= ms, "{ms}");
            assert!(bucket == 0 || Histogram::upper(bucket - 1) < ms, "{ms}");
        }
    }

    #[test]
    fn percentiles_are_at_most_a_quarter_too_large() {
        let mut histogram = Histogram::default();
        (1..=1000).for_each(|ms| histogram.add(ms));
        let (p50, p95) = (histogram.percentile(50).unwrap(), histogram.percentile(95).unwrap());
        assert!((500..=625).contains(&p50), "{p50}");
        assert!((950..=1188).contains(&p95), "{p95}");
        assert_eq!(Histogram::default().percentile(50), None);
    }

    #[test]
    fn old_slots_do_not_count() {
        let mut series = Series::default();
        series.second(Timestamp(1_000_000)).enqueued = 60;
        series.minute(Timestamp(1_000_000)).enqueued = 60;
        let soon = rates(std::iter::once(&series), Timestamp(1_001_000));
        assert!((soon.enqueued_per_s - 1.0).abs() < 1e-9);
        let later = rates(std::iter::once(&series), Timestamp(1_000_000 + 62_000));
        assert!(later.enqueued_per_s.abs() < 1e-9);
        assert_eq!(later.per_minute.len(), 1);
        let much_later = rates(std::iter::once(&series), Timestamp(1_000_000 + 3_700_000));
        assert!(much_later.per_minute.is_empty());
    }
}
