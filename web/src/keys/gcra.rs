// SPDX-License-Identifier: Apache-2.0
//! How often a key may call: GCRA, one number per key, in the memory of the node that is called.
//!
//! The number is the time at which the key would be idle if its calls were spread evenly; a call moves it by one
//! interval, and is refused if that takes it further ahead of now than the burst reaches.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::RateLimit;

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// The state of one limit.
#[derive(Debug)]
pub struct Gcra {
    interval: u64,
    reach: u64,
    /// Nanoseconds since `START`.
    idle_at: AtomicU64,
}

impl Gcra {
    /// A limit that nothing has been counted against.
    #[must_use]
    pub fn new(limit: RateLimit) -> Self {
        let interval = 1_000_000_000 / u64::from(limit.per_second.max(1));
        Self { interval, reach: interval * u64::from(limit.burst.max(1)), idle_at: AtomicU64::new(0) }
    }

    /// Counts a call.
    ///
    /// # Errors
    /// Refused, with the time until one would be let through.
    pub fn admit(&self) -> Result<(), Duration> {
        self.admit_at(u64::try_from(START.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    fn admit_at(&self, now: u64) -> Result<(), Duration> {
        let next = |idle_at: u64| {
            let next = idle_at.max(now).saturating_add(self.interval);
            (next - now <= self.reach).then_some(next)
        };
        match self.idle_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next) {
            Ok(_) => Ok(()),
            Err(idle_at) => {
                let over = (idle_at.max(now) - now).saturating_add(self.interval).saturating_sub(self.reach);
                Err(Duration::from_nanos(over))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_burst_then_the_long_run_rate() {
        let gcra = Gcra::new(RateLimit { per_second: 10, burst: 5 });
        for _ in 0..5 {
            assert_eq!(gcra.admit_at(SECOND), Ok(()));
        }
        assert_eq!(gcra.admit_at(SECOND), Err(Duration::from_millis(100)));
        assert_eq!(gcra.admit_at(SECOND + 99_000_000), Err(Duration::from_millis(1)));
        assert_eq!(gcra.admit_at(SECOND + 100_000_000), Ok(()));
        assert!(gcra.admit_at(SECOND + 100_000_000).is_err());
        // What was refused has not been counted, and idling earns no more than the burst.
        let passed = (0..20).filter(|_| gcra.admit_at(100 * SECOND).is_ok()).count();
        assert_eq!(passed, 5);
    }

    #[test]
    fn in_the_long_run_no_more_than_the_rate_gets_through() {
        let gcra = Gcra::new(RateLimit { per_second: 100, burst: 1 });
        let passed = (0..10_000u64).filter(|call| gcra.admit_at(call * SECOND / 1000).is_ok()).count();
        assert_eq!(passed, 1000, "10 s at 100 per second, asked 1000 times per second");
    }

    #[test]
    fn a_clock_that_stands_still_before_the_first_call_is_no_debt() {
        assert_eq!(Gcra::new(RateLimit { per_second: 1, burst: 1 }).admit_at(0), Ok(()));
    }
}
