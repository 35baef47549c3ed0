// SPDX-License-Identifier: Apache-2.0
//! How long a job waits before its next attempt.
//!
//! With `n` failures so far (n ≥ 1), base `b` and maximum `m`, the delay before jitter is
//!
//! | kind | delay |
//! |---|---|
//! | none | 0 |
//! | fixed | b |
//! | linear | b · n |
//! | exponential | b · 2ⁿ⁻¹ |
//!
//! never above `m`. Jitter is additive: up to `jitter` of the delay is put on top, so that a herd that
//! failed together does not come back together and nobody comes back early. Integers only.

use serde::{Deserialize, Serialize};

use crate::time::Millis;

/// The shape of the delays between attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Backoff {
    /// Try again at once.
    None,
    /// Always the same delay.
    Fixed,
    /// The delay grows by the base each time.
    Linear,
    /// The delay doubles each time.
    Exponential,
}

/// When and how often a failed job is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryPolicy {
    /// Retries after the first attempt: 3 means up to 4 attempts.
    pub max_retries: u32,
    /// The shape of the delays.
    pub backoff: Backoff,
    /// The first delay.
    pub base: Millis,
    /// No delay before jitter is longer.
    pub max: Millis,
    /// Added at random, in thousandths of the delay: 100 is up to 10 %.
    pub jitter_permille: u16,
}

impl Default for RetryPolicy {
    /// Three retries, exponential from 5 s, at most 10 min, 10 % jitter.
    fn default() -> Self {
        Self {
            max_retries: 3,
            backoff: Backoff::Exponential,
            base: Millis::from_secs(5),
            max: Millis::from_secs(600),
            jitter_permille: 100,
        }
    }
}

impl RetryPolicy {
    /// The delay before jitter after the `failures`-th failure.
    #[must_use]
    pub fn delay(&self, failures: u32) -> Millis {
        let n = u64::from(failures.max(1));
        let raw = match self.backoff {
            Backoff::None => 0,
            Backoff::Fixed => self.base.0,
            Backoff::Linear => self.base.0.saturating_mul(n),
            Backoff::Exponential => match u32::try_from(n - 1) {
                Ok(shift) if shift < 64 => self.base.0.saturating_mul(1u64 << shift),
                _ if self.base.0 == 0 => 0,
                _ => u64::MAX,
            },
        };
        Millis(raw.min(self.max.0))
    }

    /// The delay with jitter; `random` is any number, all its bits are used.
    #[must_use]
    pub fn jittered(&self, failures: u32, random: u64) -> Millis {
        let delay = self.delay(failures).0;
        let spread = (u128::from(delay) * u128::from(self.jitter_permille.min(1000)) / 1000) as u64;
        // A spread of all numbers there are leaves nothing to divide by.
        let extra = spread.checked_add(1).map_or(random, |numbers| random % numbers);
        Millis(delay.saturating_add(extra))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(backoff: Backoff) -> RetryPolicy {
        RetryPolicy { backoff, ..RetryPolicy::default() }
    }

    /// The whole window of the default policy: a slip between seconds and milliseconds would show here.
    #[test]
    fn total_retry_window_is_pinned() {
        let seconds = |kind, retries| {
            let policy = policy(kind);
            (1..=retries).map(|n| policy.delay(n).0).sum::<u64>() / 1000
        };
        assert_eq!(seconds(Backoff::None, 10), 0);
        assert_eq!(seconds(Backoff::Fixed, 3), 15);
        assert_eq!(seconds(Backoff::Linear, 3), 5 + 10 + 15);
        assert_eq!(seconds(Backoff::Exponential, 3), 5 + 10 + 20);
        assert_eq!(seconds(Backoff::Exponential, 10), 5 + 10 + 20 + 40 + 80 + 160 + 320 + 600 * 3);
    }

    #[test]
    fn jitter_is_added_and_bounded() {
        let policy = policy(Backoff::Fixed);
        let delays: Vec<u64> = (0..2000).map(|r| policy.jittered(1, crate::id::mix(r)).0).collect();
        assert!(delays.iter().all(|d| (5000..=5500).contains(d)));
        assert!(delays.iter().any(|d| *d < 5050) && delays.iter().any(|d| *d > 5450));
    }

    #[test]
    fn huge_failure_counts_do_not_overflow() {
        for kind in [Backoff::None, Backoff::Fixed, Backoff::Linear, Backoff::Exponential] {
            for jitter_permille in [0, 100, 1000, u16::MAX] {
                let max = Millis(u64::MAX);
                let policy =
                    RetryPolicy { backoff: kind, max, base: max, jitter_permille, ..RetryPolicy::default() };
                let _ = policy.jittered(u32::MAX, u64::MAX);
            }
        }
        let idle = RetryPolicy { base: Millis(0), ..policy(Backoff::Exponential) };
        assert_eq!(idle.delay(u32::MAX), Millis(0));
    }
}
