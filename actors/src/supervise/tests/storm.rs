// SPDX-License-Identifier: Apache-2.0
//! A child that keeps failing: pauses that grow, then the end, with the reason of the last failure.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use super::fixture::*;
use crate::supervise::{
    Backoff, State, secs, supervisor, task,
    testbed::{TestBed, within},
};

#[tokio::test]
async fn a_storm_of_restarts_slows_down_and_then_ends_the_tree() {
    let starts = Arc::new(Mutex::new(Vec::new()));
    let times = starts.clone();
    let broken = task("broken", move |_start| {
        times.lock().unwrap().push(Instant::now());
        async { Err::<(), String>("no database".to_owned()) }
    });
    let jobs = supervisor("jobs").budget(4, secs(3600)).child(broken);
    let bed = TestBed::launch(supervisor("root").child(jobs));
    let exit = within(bed.tree().wait()).await;
    assert_eq!((exit.code, exit.reason.as_str()), (70, "jobs gave up: broken gave up: no database"));
    assert_eq!((bed.node("jobs/broken").state, bed.node("jobs/broken").restarts), (State::Closed, 4));
    // Never sooner than half of the bound: 5, 20, 80, 320 ms.
    let starts = starts.lock().unwrap().clone();
    let pauses: Vec<Duration> = starts.windows(2).map(|two| two[1] - two[0]).collect();
    assert_eq!(pauses.len(), 4);
    for (pause, bound) in pauses.iter().zip([5, 20, 80, 320]) {
        assert!(*pause >= Duration::from_millis(bound) / 2, "{pauses:?}");
    }
    // The failures are none; that `jobs` gives up is one.
    bed.ended(1).await;
}

#[tokio::test]
async fn escalation_goes_up_one_supervisor_at_a_time() {
    let (a, b, diary) = (slot(), slot(), Diary::default());
    let inner = group("inner", 1).child(puppet("a", &a, &diary));
    let outer = group("outer", 1).child(inner);
    let root = supervisor("root").backoff(Backoff::NONE).child(puppet("b", &b, &diary)).child(outer);
    let bed = TestBed::start(root).await;
    // Two crashes use up the budget of `inner`, four that of `outer`; `b` is not touched before the end.
    for crash in 1..=3u64 {
        let _ = within(a.port::<Boom>().ask(Boom)).await;
        bed.restarted("outer/inner/a", crash).await;
        bed.restarted("outer/inner", crash / 2).await;
    }
    assert_eq!((bed.node("b").restarts, bed.node("outer").restarts), (0, 0));
    let _ = within(a.port::<Boom>().ask(Boom)).await;
    let exit = within(bed.tree().wait()).await;
    assert_eq!(exit.reason, "outer gave up: inner gave up: a gave up: panicked: boom");
    // Four of `a`, two of `inner`, one of `outer`.
    bed.ended(7).await;
}
