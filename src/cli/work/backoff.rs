// SPDX-License-Identifier: Apache-2.0
//! Pauses between tries while a server is away: doubling, with jitter so that a thousand workers do not come back in
//! the same instant.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

/// A restart of the server takes well under a second; a human notices after a few.
const FIRST: Duration = Duration::from_millis(100);
/// Long enough to be cheap, short enough that work goes on soon after an outage.
const LONGEST: Duration = Duration::from_secs(5);

/// The state of one series of tries.
#[derive(Debug, Default)]
pub struct Backoff {
    tries: u32,
}

impl Backoff {
    /// The next pause: between a half and the whole of a doubling span.
    pub fn next(&mut self) -> Duration {
        let span = FIRST.saturating_mul(1 << self.tries.min(10)).min(LONGEST);
        self.tries += 1;
        let random = RandomState::new().build_hasher().finish() % 1_000;
        span / 2 + span.mul_f64(random as f64 / 2_000.0)
    }

    /// How many pauses there were.
    pub fn tries(&self) -> u32 {
        self.tries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit() {
        let mut backoff = Backoff::default();
        let pauses: Vec<Duration> = (0..20).map(|_| backoff.next()).collect();
        assert!(pauses[0] >= FIRST / 2 && pauses[0] <= FIRST);
        assert!(pauses[4] >= FIRST * 8 && pauses[4] <= FIRST * 16);
        assert!(pauses[7..].iter().all(|p| *p >= LONGEST / 2 && *p <= LONGEST));
        assert_eq!(backoff.tries(), 20);
    }
}
