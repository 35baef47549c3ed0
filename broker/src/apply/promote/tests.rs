// SPDX-License-Identifier: Apache-2.0
use crate::apply::testing::*;
use crate::command::*;
use crate::event::Event;
use crate::job::{Due, JobSpec};
use crate::reject::Code;
use crate::reply::Swept;
use crate::state::{Reason, State, StateKind};
use crate::time::Millis;

#[test]
fn due_jobs_become_pending_earliest_first_and_a_bounded_number() {
    let mut bed = Bed::new();
    for delay in [3, 1, 2, 9] {
        bed.enqueue(JobSpec { due: Due::After(secs(delay)), ..spec("q") });
    }
    assert_eq!(bed.promote(), Swept::default());
    bed.wait(secs(3));
    assert_eq!(bed.swept(Promote { limit: 2 }), Swept { done: 2, more: true });
    assert_eq!(bed.news(), ["job.promoted", "job.promoted"]);
    let due: Vec<u64> = bed
        .events
        .iter()
        .map(|event| match event {
            Event::Job(event) => event.job.no.0,
            Event::Queue(_) => 0,
        })
        .collect();
    assert_eq!(due, [2, 3]);
    assert_eq!(bed.swept(Promote { limit: 0 }), Swept { done: 0, more: true });
    assert_eq!(bed.promote(), Swept { done: 1, more: false });
    assert_eq!(bed.queue("q").unwrap().count(StateKind::Pending), 3);
}

#[test]
fn jobs_that_did_not_start_in_time_are_dead() {
    let mut bed = Bed::new();
    let expire_after = Some(secs(5));
    let pending = bed.enqueue(JobSpec { expire_after, ..spec("q") });
    let scheduled = bed.enqueue(JobSpec { expire_after, due: Due::After(secs(60)), ..spec("q") });
    let due_just_then = bed.enqueue(JobSpec { expire_after, due: Due::After(secs(5)), ..spec("q") });
    let retrying = bed.enqueue(JobSpec { expire_after, ..spec("r") });
    let lease = claim(&bed.fetch_one("r"));
    bed.wait(Millis(1));
    bed.failed(fail(lease));
    let active = bed.enqueue(JobSpec { expire_after: Some(secs(1)), ..spec("a") });
    bed.fetch_one("a");
    bed.wait(secs(5));
    bed.promote();
    for job in [&pending, &scheduled, &due_just_then, &retrying] {
        assert_eq!(bed.job(job).state, State::Dead { at: bed.now, reason: Reason::Expired });
    }
    assert_eq!(bed.state(&active), StateKind::Active, "it has started");
}

#[test]
fn an_attempt_that_runs_too_long_has_failed() {
    let mut bed = Bed::new();
    let mut spec = spec("q");
    spec.options.timeout = Some(secs(10));
    spec.options.retry.max_retries = 1;
    let job = bed.enqueue(spec);
    let first = claim(&bed.fetch_one("q"));
    // Heartbeats extend the lease, not the time an attempt may take.
    bed.wait(Millis(9_999));
    bed.run(Heartbeat {
        items: vec![HeartbeatItem { lease: first.clone(), progress: None, checkpoint: None }],
    });
    assert_eq!(bed.promote().done, 0);
    bed.wait(Millis(1));
    assert_eq!(bed.promote().done, 1);
    assert_eq!(bed.news(), ["job.timed_out"]);
    let row = bed.job(&job);
    assert_eq!((row.failures, &*row.errors[0].error), (1, "timed out after 10s"));
    assert_eq!(row.state, State::Retrying { at: bed.now.after(secs(5)) });
    assert_eq!(bed.settled_one(ack(first)), Err(Code::LeaseLost));
    bed.wait(secs(5));
    bed.promote();
    bed.fetch_one("q");
    bed.wait(secs(10));
    bed.promote();
    assert_eq!(bed.job(&job).state, State::Dead { at: bed.now, reason: Reason::Timeout });
    assert_eq!(bed.queue("q").unwrap().totals.failed, 2);
}

#[test]
fn a_timeout_of_a_job_that_was_to_be_cancelled_cancels_it() {
    let mut bed = Bed::new();
    let mut spec = spec("q");
    spec.options.timeout = Some(secs(10));
    let job = bed.enqueue(spec);
    bed.fetch_one("q");
    bed.granted(Cancel { job: job_ref(&job) });
    bed.wait(secs(10));
    bed.promote();
    assert_eq!(bed.state(&job), StateKind::Cancelled);
}

#[test]
fn time_never_runs_backwards() {
    let mut bed = Bed::new();
    bed.enqueue(JobSpec { due: Due::After(secs(10)), ..spec("q") });
    bed.wait(secs(10));
    bed.run(TermStarted {});
    bed.now = crate::Timestamp(5);
    assert_eq!(bed.promote().done, 1, "an entry of a leader whose clock is behind");
}

#[test]
fn a_finished_job_goes_when_its_own_retention_is_over() {
    let mut bed = Bed::new();
    let kept = |seconds| {
        let mut spec = spec("q");
        spec.options.retention = Some(secs(seconds));
        spec
    };
    let completed = bed.enqueue(kept(10));
    let lease = claim(&bed.fetch_one("q"));
    bed.run(ack(lease));
    let cancelled = bed.enqueue(kept(20));
    bed.granted(Cancel { job: job_ref(&cancelled) });
    let waiting = bed.enqueue(kept(1));
    bed.news();
    bed.wait(secs(10));
    assert_eq!(bed.promote(), Swept { done: 1, more: false });
    assert!(!bed.exists(&completed) && bed.exists(&cancelled));
    assert_eq!(bed.news(), [] as [&str; 0], "retention is no news");
    // Tried again, it is no finished job any more.
    bed.granted(Retry { job: job_ref(&cancelled) });
    bed.wait(secs(60));
    assert_eq!(bed.promote(), Swept::default());
    assert!(bed.exists(&cancelled) && bed.exists(&waiting), "what has not run stays");
}

#[test]
fn its_own_retention_does_not_remove_a_job_that_answers_for_its_unique_key() {
    let mut bed = Bed::new();
    let mut unique = spec("q");
    unique.options.unique = Some(crate::unique::Unique { key: "k".into(), period: secs(100) });
    unique.options.retention = Some(secs(0));
    let job = bed.enqueue(unique.clone());
    let lease = claim(&bed.fetch_one("q"));
    bed.run(ack(lease));
    bed.wait(secs(99));
    assert_eq!(bed.promote(), Swept::default());
    assert_eq!(bed.enqueue(unique).job, job.job);
    bed.wait(secs(1));
    assert_eq!(bed.promote(), Swept { done: 1, more: false });
    assert!(!bed.exists(&job));
}

/// Else a queue that is being deleted is left empty: no step of its purge is due any more.
#[test]
fn a_timer_that_removes_the_last_job_of_a_deleted_queue_removes_the_queue() {
    let mut bed = Bed::new();
    let mut kept = spec("q");
    kept.options.retention = Some(secs(5));
    // More than the delete itself removes.
    for _ in 0..crate::apply::purge::STEP_AT_ONCE + 1 {
        let job = bed.enqueue(kept.clone());
        bed.granted(Cancel { job: job_ref(&job) });
    }
    bed.granted(DeleteQueue { queue: "q".into() });
    assert!(bed.queue("q").is_some_and(|queue| queue.total() == 1));
    bed.wait(secs(5));
    assert_eq!(bed.promote(), Swept { done: 1, more: false });
    assert_eq!(bed.queue("q"), None);
}
