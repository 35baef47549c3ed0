// SPDX-License-Identifier: Apache-2.0
//! The leader's clock.
//!
//! The wall clock is read once, at start; from then on time advances with the monotonic clock, so a step of
//! the wall clock neither fires every timer at once nor freezes them. A wall clock that was set back while
//! the process was away is not believed: time goes on where the state has come to, for the rules, which take
//! the maximum of what they are told and were told before, and for those who ask whether something is due.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use jobbie_broker::{Millis, Timestamp};

/// A source of time that many threads share.
#[derive(Clone, Debug)]
pub struct Clock {
    base: Timestamp,
    since: Instant,
    /// Milliseconds by which somebody moved the clock forward.
    moved: Arc<AtomicU64>,
}

impl Clock {
    /// A clock that shows the wall clock's time now, but no time before `not_before`: what the state has
    /// already seen.
    #[must_use]
    pub fn system(not_before: Timestamp) -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let wall = Timestamp(u64::try_from(wall.as_millis()).unwrap_or(u64::MAX));
        let behind = not_before.since(wall);
        if behind > Millis(1000) {
            tracing::warn!(%behind, "the wall clock is behind the jobs' time, which goes on where it was");
        }
        Self { base: wall.max(not_before), since: Instant::now(), moved: Arc::default() }
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let elapsed = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.base.after(Millis(elapsed)).after(Millis(self.moved.load(Ordering::Relaxed)))
    }

    /// Moves the clock forward, for tests of what happens in an hour.
    pub fn advance(&self, span: Millis) {
        self.moved.fetch_add(span.0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moved_clock_is_moved_for_everyone() {
        let clock = Clock::system(Timestamp(0));
        let other = clock.clone();
        let before = other.now();
        clock.advance(Millis::from_secs(3600));
        assert!(other.now() >= before.after(Millis::from_secs(3600)));
    }

    /// Else nothing would be due until the wall clock has caught up.
    #[test]
    fn a_wall_clock_that_was_set_back_does_not_stop_time() {
        let seen = Clock::system(Timestamp(0)).now().after(Millis::from_secs(86_400));
        assert!(Clock::system(seen).now() >= seen);
    }
}
