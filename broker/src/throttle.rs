// SPDX-License-Identifier: Apache-2.0
//! The rate limit of a queue: the generic cell rate algorithm (GCRA, ITU-T I.371), in integers.
//!
//! One number is kept: the theoretical arrival time of the next job if jobs came evenly. A job may start
//! while that time is no more than one period (less one interval) ahead, so a burst of `count` is allowed
//! and no window of one `period` ever sees more than 2 · `count` − 1 starts, nor the long run more than
//! `count` per `period`. Nothing per job is stored.

use serde::{Deserialize, Serialize};

use crate::time::{Millis, Timestamp};

/// At most `count` starts per `period` in the long run, with bursts of up to `count`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Throttle {
    /// Starts per period; at least 1.
    pub count: u32,
    /// The period; at least 1 ms.
    pub period: Millis,
}

/// Theoretical arrival time in microseconds since the epoch, so that 1,000 a second and more stay exact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arrival(pub u64);

impl Throttle {
    fn interval(&self) -> u64 {
        self.period.0.saturating_mul(1000) / u64::from(self.count.max(1))
    }

    /// `Ok` with the new arrival time if one more job may start at `now`, else the time from which it may.
    ///
    /// # Errors
    /// The earliest time at which a job may start.
    pub fn admit(&self, arrival: Arrival, now: Timestamp) -> Result<Arrival, Timestamp> {
        let interval = self.interval();
        let now_us = now.0.saturating_mul(1000);
        let tolerance = self.period.0.saturating_mul(1000).saturating_sub(interval);
        let earliest = arrival.0.saturating_sub(tolerance);
        if earliest > now_us {
            return Err(Timestamp(earliest.div_ceil(1000)));
        }
        Ok(Arrival(arrival.0.max(now_us).saturating_add(interval)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_the_long_run_rate() {
        let throttle = Throttle { count: 10, period: Millis(1000) };
        let mut arrival = Arrival::default();
        let mut starts = Vec::new();
        for ms in 5_000..15_000 {
            while let Ok(next) = throttle.admit(arrival, Timestamp(ms)) {
                arrival = next;
                starts.push(ms);
            }
        }
        assert_eq!(starts.iter().filter(|ms| **ms == 5_000).count(), 10);
        assert_eq!(starts.len(), 10 + 99, "ten at once, then one every 100 ms");
    }

    #[test]
    fn the_answer_names_the_time_from_which_it_may_start() {
        let throttle = Throttle { count: 3, period: Millis(1000) };
        let mut arrival = Arrival::default();
        for _ in 0..3 {
            arrival = throttle.admit(arrival, Timestamp(0)).unwrap();
        }
        let from = throttle.admit(arrival, Timestamp(0)).unwrap_err();
        assert!(throttle.admit(arrival, Timestamp(from.0 - 1)).is_err());
        assert!(throttle.admit(arrival, from).is_ok());
    }
}
