// SPDX-License-Identifier: Apache-2.0
//! The rules `R1` to `R3` as properties.

use super::{Strategy, *};
use proptest::prelude::*;

const S: Duration = Duration::from_secs(1);

fn restarts(max: u32, within: Duration) -> Restarts {
    Restarts::new(Budget::new(max, within), Backoff::default())
}

fn crash(restarts: &mut Restarts, now: Duration, seed: u64) -> Decision {
    restarts.decide(Policy::Permanent, Strategy::OneForOne, true, now, seed)
}

#[test]
fn a_budget_of_none_gives_up_at_the_first_failure() {
    assert_eq!(crash(&mut restarts(0, 5 * S), S, 1), Decision::GiveUp);
}

#[test]
fn the_window_slides() {
    let mut r = restarts(2, 10 * S);
    assert!(matches!(crash(&mut r, S, 0), Decision::Restart { .. }));
    assert!(matches!(crash(&mut r, 2 * S, 0), Decision::Restart { .. }));
    assert_eq!(crash(&mut r, 3 * S, 0), Decision::GiveUp);
    assert!(matches!(crash(&mut r, 11 * S, 0), Decision::Restart { .. }));
}

#[test]
fn policies_decide_who_comes_back() {
    let mut r = restarts(9, 10 * S);
    let mut ask = |policy, abnormal| r.decide(policy, Strategy::OneForOne, abnormal, S, 0);
    assert!(matches!(ask(Policy::Permanent, false), Decision::Restart { .. }));
    assert_eq!(ask(Policy::Transient, false), Decision::Leave);
    assert!(matches!(ask(Policy::Transient, true), Decision::Restart { .. }));
    assert_eq!(ask(Policy::Temporary, true), Decision::Leave);
}

proptest! {
    #[test]
    fn r1_never_more_than_max_in_any_window(
        max in 0u32..6,
        within in 1u64..5_000,
        gaps in prop::collection::vec(0u64..2_000, 1..60),
        seed: u64,
    ) {
        let within = Duration::from_millis(within);
        let mut r = restarts(max, within);
        let mut now = Duration::ZERO;
        let mut granted: Vec<Duration> = Vec::new();
        for gap in gaps {
            now += Duration::from_millis(gap);
            match crash(&mut r, now, seed) {
                Decision::Restart { .. } => granted.push(now),
                Decision::GiveUp => {
                    let inside = granted.iter().filter(|at| now - **at < within).count();
                    prop_assert_eq!(inside, max as usize, "gave up although the budget was not used up");
                }
                Decision::Leave => prop_assert!(false, "a permanent child is never left"),
            }
            let inside = granted.iter().filter(|at| now - **at < within).count();
            prop_assert!(inside <= max as usize);
        }
    }

    #[test]
    fn r2_backoff_is_bounded_grows_and_resets(
        first in 1u64..1_000,
        limit in 1u64..60_000,
        seeds in prop::collection::vec(any::<u64>(), 2..20),
    ) {
        let first = Duration::from_millis(first);
        let backoff = Backoff { first, limit: first + Duration::from_millis(limit), quiet: 60 * S };
        let mut r = Restarts::new(Budget::new(u32::MAX, S), backoff);
        let mut before = Duration::ZERO;
        let step = |r: &mut Restarts, now, seed| match crash(r, now, seed) {
            Decision::Restart { after, .. } => after,
            other => panic!("{other:?}"),
        };
        for (i, seed) in seeds.iter().enumerate() {
            let after = step(&mut r, S * i as u32, *seed);
            prop_assert!(after <= backoff.limit);
            prop_assert!(after >= before.min(backoff.limit / 2), "{after:?} after {before:?}");
            before = after;
        }
        let quiet = S * seeds.len() as u32 + backoff.quiet;
        let after = step(&mut r, quiet, seeds[0]);
        prop_assert!(after <= first && after >= first / 2);
    }

    #[test]
    fn r3_rest_for_one_is_exactly_the_later_siblings(failed in 0u64..20, count in 1u64..20) {
        let failed = failed % count;
        let covered = |strategy: Strategy| {
            (0..count).filter(|other| Scope::from(strategy).covers(failed, *other)).collect::<Vec<_>>()
        };
        prop_assert_eq!(covered(Strategy::OneForOne), vec![failed]);
        prop_assert_eq!(covered(Strategy::RestForOne), (failed..count).collect::<Vec<_>>());
    }
}
