// SPDX-License-Identifier: Apache-2.0
//! When a child that ended is started again, and with whom: pure rules, no clock, no randomness.
//!
//! Time (since any fixed origin, never running back) and the jitter seed are passed in, so every case can be
//! tested. It must not know what a child is.
//!
//! - `R1` within any window of `Budget::within` there are at most `Budget::max` restarts.
//! - `R2` a delay lies in `[base / 2, base]`; `base` grows by [`GROWTH`] per restart up to `Backoff::limit`, and
//!   is `Backoff::first` again after `Backoff::quiet` without a restart.
//! - `R3` `one_for_one` touches the failed child; `rest_for_one` touches it and exactly its later siblings.
//!
//! ```text
//! ended ─► policy says no ──────────────► Leave
//!      └─► budget used up in the window ► GiveUp
//!      └─► otherwise ───────────────────► Restart { after, scope }
//! ```

use std::{collections::VecDeque, time::Duration};

/// Factor between two successive delays. Four, so that with the default backoff the five restarts of a
/// usual budget spread over 1.7 s: long enough for a short outage, short enough for a person who waits.
pub const GROWTH: u32 = 4;

/// How many restarts are allowed in how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Restarts allowed within the window. 0 means that the first failure gives up.
    pub max: u32,
    /// Length of the sliding window.
    pub within: Duration,
}

impl Budget {
    /// `max` restarts within `within`.
    pub const fn new(max: u32, within: Duration) -> Self {
        Self { max, within }
    }
}

/// How long to wait before a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// Upper bound of the first delay.
    pub first: Duration,
    /// Upper bound of every delay.
    pub limit: Duration,
    /// After this long without a restart the next delay is `first` again.
    pub quiet: Duration,
}

impl Backoff {
    /// No delay at all; for tests and for children whose failure is not a matter of time.
    pub const NONE: Self = Self { first: Duration::ZERO, limit: Duration::ZERO, quiet: Duration::ZERO };
}

impl Default for Backoff {
    /// 5 ms (a rebuild takes 2–10 ms, so a single crash is hardly seen), at most 5 s, quiet after 60 s (the
    /// longest window used in the tree).
    fn default() -> Self {
        Self {
            first: Duration::from_millis(5),
            limit: Duration::from_secs(5),
            quiet: Duration::from_secs(60),
        }
    }
}

/// Which siblings share the fate of a failed child.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Strategy {
    /// Only the failed child is restarted.
    #[default]
    OneForOne,
    /// The failed child and all siblings declared after it are restarted, because they depend on it.
    RestForOne,
}

/// Which endings of a child call for a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Policy {
    /// Always, also after an orderly end.
    #[default]
    Permanent,
    /// Only after a failure or a crash.
    Transient,
    /// Never.
    Temporary,
}

/// Which children a restart covers, by their place in start order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The failed child alone.
    Failed,
    /// The failed child and everything started after it.
    FailedAndLater,
}

impl Scope {
    /// Whether the child at place `other` is restarted when the one at `failed` has failed.
    pub fn covers(self, failed: u64, other: u64) -> bool {
        match self {
            Self::Failed => other == failed,
            Self::FailedAndLater => other >= failed,
        }
    }
}

impl From<Strategy> for Scope {
    fn from(strategy: Strategy) -> Self {
        match strategy {
            Strategy::OneForOne => Self::Failed,
            Strategy::RestForOne => Self::FailedAndLater,
        }
    }
}

/// What to do about a child that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Stop the other children in `scope` now, start all of `scope` after the delay.
    Restart {
        /// How long to wait before the start.
        after: Duration,
        /// Who is started again.
        scope: Scope,
    },
    /// The budget is used up.
    GiveUp,
    /// The child has done its work and stays stopped.
    Leave,
}

/// The memory of one budget: the restarts of the current window and how far the backoff has grown.
#[derive(Debug, Clone)]
pub struct Restarts {
    budget: Budget,
    backoff: Backoff,
    recent: VecDeque<Duration>,
    streak: u32,
    last: Option<Duration>,
}

impl Restarts {
    /// An unused budget.
    pub fn new(budget: Budget, backoff: Backoff) -> Self {
        Self { budget, backoff, recent: VecDeque::new(), streak: 0, last: None }
    }

    /// Decides about a child that ended at `now`; `abnormal` is true for a failure or a crash. A restart is
    /// booked at the time it is decided, not at the time the delay has passed.
    pub fn decide(
        &mut self,
        policy: Policy,
        strategy: Strategy,
        abnormal: bool,
        now: Duration,
        seed: u64,
    ) -> Decision {
        match policy {
            Policy::Temporary => return Decision::Leave,
            Policy::Transient if !abnormal => return Decision::Leave,
            Policy::Transient | Policy::Permanent => {}
        }
        while self.recent.front().is_some_and(|at| now.saturating_sub(*at) >= self.budget.within) {
            self.recent.pop_front();
        }
        if self.recent.len() >= self.budget.max as usize {
            return Decision::GiveUp;
        }
        if self.last.is_some_and(|last| now.saturating_sub(last) >= self.backoff.quiet) {
            self.streak = 0;
        }
        let after = delay(self.backoff, self.streak, seed);
        self.streak = self.streak.saturating_add(1);
        self.last = Some(now);
        self.recent.push_back(now);
        Decision::Restart { after, scope: strategy.into() }
    }
}

/// The delay before the restart number `streak` (from 0) of a series.
fn delay(backoff: Backoff, streak: u32, seed: u64) -> Duration {
    let growth = GROWTH.saturating_pow(streak.min(30));
    let base = backoff.first.saturating_mul(growth).min(backoff.limit);
    let half = u64::try_from(base.as_nanos() / 2).unwrap_or(u64::MAX);
    let jitter = if half == 0 { 0 } else { seed % (half + 1) };
    base.saturating_sub(Duration::from_nanos(jitter))
}

#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;
