// SPDX-License-Identifier: Apache-2.0
use crate::apply::testing::*;
use crate::backoff::Backoff;
use crate::body::Json;
use crate::command::*;
use crate::event::Event;
use crate::job::JobSpec;
use crate::reject::Code;
use crate::reply::{FailedAs, Settled};
use crate::state::{Reason, State, StateKind};
use crate::time::Millis;

fn retries(max_retries: u32) -> JobSpec {
    let mut spec = spec("q");
    spec.options.retry.max_retries = max_retries;
    spec
}

#[test]
fn a_failed_attempt_is_tried_again_after_its_backoff() {
    let mut bed = Bed::new();
    let job = bed.enqueue(spec("q"));
    let leased = bed.fetch_one("q");
    bed.wait(secs(2));
    let item = FailItem {
        backtrace: Some("at line 1".into()),
        checkpoint: Some(Json::from("[1]")),
        ..fail_item(claim(&leased))
    };
    let told = bed.failed(Fail { items: vec![item] });
    let at = bed.now.after(secs(5));
    assert_eq!(
        told,
        FailedAs { state: StateKind::Retrying, next_attempt_at: Some(at), attempts_remaining: 3 }
    );
    let Some(Event::Job(event)) = bed.events.last() else { panic!("{:?}", bed.events) };
    assert_eq!((event.change.name(), event.attempt, event.due_at), ("job.failed", 1, Some(at)));
    assert_eq!(event.took_ms, Some(2000));
    let row = bed.job(&job);
    assert_eq!((row.failures, row.attempt(), row.failed_at), (1, 2, Some(bed.now)));
    assert_eq!((row.errors[0].attempt, &*row.errors[0].error), (1, "boom"));
    assert_eq!(bed.fetched(fetch("q", 1)), []);
    bed.wait(secs(5));
    assert_eq!(bed.promote().done, 1);
    let again = bed.fetch_one("q");
    assert_eq!((again.job.attempt(), again.checkpoint), (2, Some(Json::from("[1]"))));
    assert_eq!(bed.queue("q").unwrap().totals.failed, 1);
}

#[test]
fn jitter_comes_from_the_seed() {
    let mut delays = Vec::new();
    for seed in 0..20 {
        let mut bed = Bed::new();
        let mut spec = spec("q");
        spec.options.retry.jitter_permille = 1000;
        bed.enqueue(spec);
        let lease = claim(&bed.fetch_one("q"));
        bed.seed = seed;
        delays.push(bed.failed(fail(lease)).next_attempt_at.unwrap().since(bed.now).0);
    }
    assert!(delays.iter().all(|delay| (5000..=10_000).contains(delay)), "{delays:?}");
    delays.sort_unstable();
    delays.dedup();
    assert!(delays.len() > 15, "{delays:?}");
}

#[test]
fn after_the_last_retry_the_job_is_dead() {
    let mut bed = Bed::new();
    let job = bed.enqueue(retries(1));
    let first = bed.fetch_one("q");
    assert_eq!(bed.failed(fail(claim(&first))).attempts_remaining, 1);
    bed.wait(secs(5));
    bed.promote();
    let second = bed.fetch_one("q");
    let told = bed.failed(fail(claim(&second)));
    assert_eq!(told, FailedAs { state: StateKind::Dead, next_attempt_at: None, attempts_remaining: 0 });
    assert_eq!(bed.news(), ["job.dead"]);
    assert_eq!(bed.job(&job).state, State::Dead { at: bed.now, reason: Reason::Failed });
    assert_eq!(bed.job(&job).failures, 2);
    let totals = bed.queue("q").unwrap().totals;
    assert_eq!((totals.failed, totals.dead), (2, 1));
}

#[test]
fn a_worker_can_give_up_at_once() {
    let mut bed = Bed::new();
    let job = bed.enqueue(spec("q"));
    let lease = claim(&bed.fetch_one("q"));
    let told = bed.failed(Fail { items: vec![FailItem { retry: false, ..fail_item(lease) }] });
    assert_eq!((told.state, told.attempts_remaining), (StateKind::Dead, 0));
    assert_eq!(bed.job(&job).state.reason(), Some(Reason::Failed));
}

#[test]
fn retry_after_is_exact_and_zero_means_at_once() {
    let mut bed = Bed::new();
    let mut job = spec("q");
    job.options.retry.jitter_permille = 1000;
    bed.enqueue(job);
    let lease = claim(&bed.fetch_one("q"));
    let told = bed.failed(Fail { items: vec![FailItem { retry_after: Some(secs(77)), ..fail_item(lease) }] });
    assert_eq!(told.next_attempt_at, Some(bed.now.after(secs(77))));
    bed.wait(secs(77));
    bed.promote();
    let lease = claim(&bed.fetch_one("q"));
    let told =
        bed.failed(Fail { items: vec![FailItem { retry_after: Some(Millis(0)), ..fail_item(lease) }] });
    assert_eq!((told.state, told.next_attempt_at, told.attempts_remaining), (StateKind::Pending, None, 2));
    bed.fetch_one("q");
}

#[test]
fn without_backoff_the_job_is_pending_at_once() {
    let mut bed = Bed::new();
    let mut job = spec("q");
    job.options.retry.backoff = Backoff::None;
    bed.enqueue(job);
    let lease = claim(&bed.fetch_one("q"));
    assert_eq!(bed.failed(fail(lease)).state, StateKind::Pending);
    assert_eq!(bed.news(), ["job.failed"]);
}

#[test]
fn a_rate_limit_spends_no_attempt() {
    let mut bed = Bed::new();
    let job = bed.enqueue(retries(0));
    let lease = claim(&bed.fetch_one("q"));
    let limited = |lease, retry_after| Fail {
        items: vec![FailItem { rate_limited: true, retry_after, ..fail_item(lease) }],
    };
    let told = bed.failed(limited(lease, Some(secs(30))));
    let at = bed.now.after(secs(30));
    assert_eq!(
        told,
        FailedAs { state: StateKind::Retrying, next_attempt_at: Some(at), attempts_remaining: 1 }
    );
    assert_eq!(bed.news(), ["job.rate_limited"]);
    assert_eq!((bed.job(&job).failures, bed.queue("q").unwrap().totals.failed), (0, 0));
    bed.wait(secs(30));
    bed.promote();
    let lease = claim(&bed.fetch_one("q"));
    assert_eq!(
        bed.failed(limited(lease, None)).next_attempt_at,
        Some(bed.now.after(secs(5))),
        "the policy's base"
    );
}

#[test]
fn a_repeat_gets_the_same_answer_even_when_the_job_has_gone_on() {
    let mut bed = Bed::new();
    bed.enqueue(spec("q"));
    let first = claim(&bed.fetch_one("q"));
    let told = bed.failed(fail(first.clone()));
    bed.wait(secs(5));
    bed.promote();
    assert_eq!(bed.settled_one(fail(first.clone())), Ok(Settled::Failed(told)));
    let second = claim(&bed.fetch_one("q"));
    assert_eq!(bed.settled_one(fail(first.clone())), Ok(Settled::Failed(told)), "the last ended lease");
    assert_eq!(bed.settled_one(ack(first.clone())), Err(Code::LeaseLost));
    assert_eq!(bed.settled_one(ack(second)), Ok(Settled::Acked));
    assert_eq!(bed.settled_one(fail(first)), Err(Code::LeaseLost), "only the last one is kept");
}

#[test]
fn a_job_that_was_to_be_cancelled_is_cancelled() {
    let mut bed = Bed::new();
    let job = bed.enqueue(spec("q"));
    let lease = claim(&bed.fetch_one("q"));
    bed.granted(Cancel { job: job_ref(&job) });
    let told = bed.failed(fail(lease));
    assert_eq!((told.state, told.attempts_remaining), (StateKind::Cancelled, 0));
    assert_eq!(bed.news(), ["job.cancelled"]);
}

#[test]
fn an_expired_job_does_not_wait_again() {
    let mut bed = Bed::new();
    let job = bed.enqueue(JobSpec { expire_after: Some(secs(10)), ..spec("q") });
    let lease = claim(&bed.fetch_one("q"));
    bed.wait(secs(10));
    assert_eq!(bed.failed(fail(lease)).state, StateKind::Dead);
    assert_eq!(bed.job(&job).state.reason(), Some(Reason::Expired));
}

#[test]
fn errors_and_timeline_are_bounded() {
    let mut bed = Bed::new();
    let mut spec = retries(1000);
    spec.options.retry.backoff = Backoff::None;
    let job = bed.enqueue(spec);
    for _ in 0..100 {
        let lease = claim(&bed.fetch_one("q"));
        bed.failed(fail(lease));
    }
    let row = bed.job(&job);
    assert_eq!(row.errors.len(), crate::job::MAX_ERRORS);
    assert_eq!(row.errors.last().unwrap().attempt, 100);
    assert_eq!(row.timeline.len(), crate::job::MAX_TIMELINE);
    assert_eq!(row.timeline[0].change, crate::Change::Enqueued, "the first stays");
    assert_eq!(row.timeline_dropped as usize, 201 - crate::job::MAX_TIMELINE);
}
