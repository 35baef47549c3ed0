// SPDX-License-Identifier: Apache-2.0
//! What a run of load is summed up to.

use std::time::{Duration, Instant};

/// Samples that are kept per connection; at 4 bytes each this bounds the memory, not the run.
const MAX_SAMPLES: usize = 1 << 20;

/// What one connection did.
#[derive(Debug, Default)]
pub struct Part {
    /// Jobs that went through.
    pub jobs: u64,
    /// Requests that were answered.
    pub requests: u64,
    /// Answers that were refusals, and connections that broke.
    pub errors: u64,
    /// The first of them, in words.
    pub first_error: Option<String>,
    /// When the last job went through.
    pub last: Option<Instant>,
    answered_at: Option<Instant>,
    samples: Vec<u32>,
}

impl Part {
    /// A latency.
    pub fn sample(&mut self, took: Duration) {
        if self.samples.len() < MAX_SAMPLES {
            self.samples.push(u32::try_from(took.as_micros()).unwrap_or(u32::MAX));
        }
    }

    /// A request that was answered.
    pub fn answered(&mut self, since: Instant) {
        let now = Instant::now();
        self.requests += 1;
        self.sample(now.duration_since(since));
        self.answered_at = Some(now);
    }

    /// What was answered last let this many jobs through.
    pub fn done(&mut self, jobs: u64) {
        self.jobs += jobs;
        self.last = self.answered_at;
    }

    /// Forgets the latencies: of requests that wait on purpose.
    pub fn without_latencies(mut self) -> Self {
        self.samples = Vec::new();
        self
    }

    /// Something that went wrong.
    pub fn error(&mut self, what: impl Into<String>) {
        self.errors += 1;
        self.first_error.get_or_insert_with(|| what.into());
    }

    /// Both together.
    pub fn merge(&mut self, other: Self) {
        self.jobs += other.jobs;
        self.requests += other.requests;
        self.errors += other.errors;
        self.first_error = self.first_error.take().or(other.first_error);
        self.last = self.last.max(other.last);
        self.samples.extend(other.samples);
    }

    /// The latencies.
    pub fn spread(&mut self) -> Option<Spread> {
        Spread::of(&mut self.samples)
    }
}

/// Latencies in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Spread {
    /// Half were faster.
    pub p50_us: u32,
    /// 99 of 100 were faster.
    pub p99_us: u32,
    /// None was slower.
    pub max_us: u32,
}

impl Spread {
    /// Sorts the samples.
    pub fn of(samples: &mut [u32]) -> Option<Self> {
        samples.sort_unstable();
        let max_us = *samples.last()?;
        Some(Self { p50_us: percentile(samples, 50), p99_us: percentile(samples, 99), max_us })
    }
}

/// The smallest sample that at least `percent` of the samples do not exceed. `sorted` is not empty.
fn percentile(sorted: &[u32], percent: usize) -> u32 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted[rank - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_samples() {
        let mut samples: Vec<u32> = (1..=100).rev().collect();
        assert_eq!(Spread::of(&mut samples), Some(Spread { p50_us: 50, p99_us: 99, max_us: 100 }));
        assert_eq!(Spread::of(&mut [7]), Some(Spread { p50_us: 7, p99_us: 7, max_us: 7 }));
        assert_eq!(Spread::of(&mut [2, 1]), Some(Spread { p50_us: 1, p99_us: 2, max_us: 2 }));
        assert_eq!(Spread::of(&mut []), None);
    }

    #[test]
    fn parts_add_up() {
        let mut all = Part { jobs: 1, requests: 2, ..Part::default() };
        let mut other = Part { jobs: 10, requests: 20, ..Part::default() };
        other.sample(Duration::from_micros(5));
        other.error("x");
        other.error("y");
        all.merge(other);
        assert_eq!((all.jobs, all.requests, all.errors), (11, 22, 2));
        assert_eq!(all.first_error.as_deref(), Some("x"));
        assert_eq!(all.spread().unwrap().max_us, 5);
        let mut late = Part::default();
        late.answered(Instant::now());
        late.done(3);
        let last = late.last;
        late.answered(Instant::now());
        all.merge(late);
        assert_eq!((all.jobs, all.last), (14, last));
        assert_eq!(all.without_latencies().spread(), None);
    }
}
