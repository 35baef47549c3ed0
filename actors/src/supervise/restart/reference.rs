// SPDX-License-Identifier: Apache-2.0
//! The rules once more, as slowly and plainly as they can be written, and the policy compared with them on random
//! histories: it keeps all grants for ever and looks at all of them each time.

use proptest::prelude::*;

use super::{Strategy, *};

struct Naive {
    budget: Budget,
    backoff: Backoff,
    granted: Vec<Duration>,
}

/// What must come out; a delay lies between two bounds.
#[derive(Debug)]
enum Expected {
    Restart { least: Duration, most: Duration },
    GiveUp,
    Leave,
}

impl Naive {
    fn decide(&mut self, policy: Policy, abnormal: bool, now: Duration) -> Expected {
        let comes_back = match policy {
            Policy::Permanent => true,
            Policy::Transient => abnormal,
            Policy::Temporary => false,
        };
        if !comes_back {
            return Expected::Leave;
        }
        let in_window = self.granted.iter().filter(|at| now - **at < self.budget.within).count();
        if in_window >= self.budget.max as usize {
            return Expected::GiveUp;
        }
        // How many restarts there were without a quiet time between them, counted back from now.
        let mut streak = 0;
        let mut after = now;
        for at in self.granted.iter().rev() {
            if after - *at >= self.backoff.quiet {
                break;
            }
            streak += 1;
            after = *at;
        }
        let mut most = self.backoff.first;
        for _ in 0..streak {
            most = (most * GROWTH).min(self.backoff.limit);
        }
        most = most.min(self.backoff.limit);
        self.granted.push(now);
        Expected::Restart { least: most / 2, most }
    }
}

fn policy() -> impl proptest::strategy::Strategy<Value = Policy> {
    prop_oneof![4 => Just(Policy::Permanent), 2 => Just(Policy::Transient), 1 => Just(Policy::Temporary)]
}

proptest! {
    #[test]
    fn the_policy_decides_as_the_plain_rules_do(
        max in 0u32..5,
        within in 1u64..4_000,
        first in 0u64..50,
        limit in 0u64..400,
        quiet in 0u64..3_000,
        history in prop::collection::vec((0u64..1_500, policy(), any::<bool>(), any::<u64>()), 1..80),
    ) {
        let ms = Duration::from_millis;
        let budget = Budget::new(max, ms(within));
        let backoff = Backoff { first: ms(first), limit: ms(limit), quiet: ms(quiet) };
        let mut naive = Naive { budget, backoff, granted: Vec::new() };
        let mut real = Restarts::new(budget, backoff);
        let mut now = Duration::ZERO;
        for (gap, policy, abnormal, seed) in history {
            now += ms(gap);
            let expected = naive.decide(policy, abnormal, now);
            let decided = real.decide(policy, Strategy::RestForOne, abnormal, now, seed);
            let agree = match (&expected, decided) {
                (Expected::Restart { least, most }, Decision::Restart { after, scope }) => {
                    *least <= after && after <= *most && scope == Scope::FailedAndLater
                }
                (Expected::GiveUp, Decision::GiveUp) | (Expected::Leave, Decision::Leave) => true,
                _ => false,
            };
            prop_assert!(agree, "at {now:?}: {decided:?} instead of {expected:?}");
        }
    }

    /// Else children that failed together come back together, again and again.
    #[test]
    fn jitter_uses_its_whole_range(first in 10u64..1_000) {
        let backoff = Backoff { first: Duration::from_millis(first), limit: 60 * Duration::from_secs(1), ..Backoff::default() };
        let delay = |seed| {
            let mut restarts = Restarts::new(Budget::new(1, Duration::from_secs(1)), backoff);
            match restarts.decide(Policy::Permanent, Strategy::OneForOne, true, Duration::ZERO, seed) {
                Decision::Restart { after, .. } => after,
                other => panic!("{other:?}"),
            }
        };
        let half = backoff.first / 2;
        let nanos = u64::try_from(half.as_nanos()).unwrap();
        prop_assert_eq!((delay(0), delay(nanos)), (backoff.first, backoff.first - half));
    }
}
