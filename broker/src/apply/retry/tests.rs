// SPDX-License-Identifier: Apache-2.0
use crate::apply::testing::*;
use crate::command::*;
use crate::job::{Due, JobSpec};
use crate::reject::Code;
use crate::reply::Enqueued;
use crate::state::StateKind;
use crate::unique::Unique;

fn retry(job: &Enqueued) -> Retry {
    Retry { job: job_ref(job) }
}

#[test]
fn a_dead_job_gets_its_whole_policy_again() {
    let mut bed = Bed::new();
    let mut spec = spec("q");
    spec.options.retry.max_retries = 1;
    let job = bed.enqueue(spec);
    for round in 0..2 {
        for remaining in [1, 0] {
            let lease = claim(&bed.fetch_one("q"));
            assert_eq!(bed.failed(fail(lease)).attempts_remaining, remaining, "round {round}");
            bed.wait(secs(5));
            bed.promote();
        }
        let row = bed.granted(retry(&job)).unwrap();
        assert_eq!(bed.news(), ["job.retried"]);
        assert_eq!((row.state.kind(), row.failures, row.crashes), (StateKind::Pending, 0, 0));
        assert_eq!(row.errors.len(), 2 * (round + 1), "the errors stay");
        assert_eq!(row.timeline.last().unwrap().by, "tester".into());
    }
}

#[test]
fn waiting_is_cut_short_and_failures_are_kept() {
    let mut bed = Bed::new();
    let job = bed.enqueue(JobSpec { due: Due::After(secs(60)), ..spec("q") });
    bed.granted(retry(&job));
    let lease = claim(&bed.fetch_one("q"));
    bed.failed(fail(lease));
    let row = bed.granted(retry(&job)).unwrap();
    assert_eq!((row.state.kind(), row.failures), (StateKind::Pending, 1));
}

#[test]
fn pending_active_and_completed_jobs_are_in_the_wrong_state() {
    let mut bed = Bed::new();
    let job = bed.enqueue(spec("q"));
    assert_eq!(bed.refused(retry(&job)), Code::Conflict);
    let lease = claim(&bed.fetch_one("q"));
    assert_eq!(bed.refused(retry(&job)), Code::Conflict);
    bed.run(ack(lease));
    assert_eq!(bed.refused(retry(&job)), Code::Conflict);
    assert_eq!(bed.refused(Retry { job: crate::JobRef::parse("nobody") }), Code::NotFound);
}

#[test]
fn the_unique_key_is_taken_again_if_it_is_free() {
    let mut bed = Bed::new();
    let mut unique = spec("q");
    unique.options.unique = Some(Unique { key: "k".into(), period: secs(60) });
    let first = bed.enqueue(unique.clone());
    bed.granted(Cancel { job: job_ref(&first) });
    let second = bed.enqueue(unique.clone());
    assert_eq!(bed.refused(retry(&first)), Code::Conflict);
    let lease = claim(&bed.fetch_one("q"));
    bed.run(ack(lease));
    assert_eq!(bed.refused(retry(&first)), Code::Conflict, "a completed job holds it for its period");
    bed.granted(Delete { job: job_ref(&second) });
    bed.granted(retry(&first));
    assert_eq!(bed.enqueue(unique).job, first.job);
}

#[test]
fn an_expired_job_gets_its_life_back() {
    let mut bed = Bed::new();
    let job = bed.enqueue(JobSpec { expire_after: Some(secs(5)), ..spec("q") });
    bed.wait(secs(5));
    bed.promote();
    assert_eq!(bed.state(&job), StateKind::Dead);
    assert_eq!(bed.granted(retry(&job)).unwrap().expire_at, None);
    bed.wait(secs(500));
    assert_eq!(bed.promote().done, 0);
    bed.fetch_one("q");
}

#[test]
fn a_retried_job_is_no_longer_to_be_cancelled() {
    let mut bed = Bed::new();
    let job = bed.enqueue(spec("q"));
    let lease = claim(&bed.fetch_one("q"));
    bed.granted(Cancel { job: job_ref(&job) });
    bed.failed(fail(lease));
    assert_eq!(bed.state(&job), StateKind::Cancelled);
    bed.granted(retry(&job));
    let lease = claim(&bed.fetch_one("q"));
    assert_eq!(bed.failed(fail(lease)).state, StateKind::Retrying);
}

#[test]
fn a_draining_queue_takes_its_own_jobs_back() {
    let mut bed = Bed::new();
    let job = bed.enqueue(spec("q"));
    bed.granted(Cancel { job: job_ref(&job) });
    bed.set("q", QueueSetting::Drain);
    bed.granted(retry(&job));
    bed.fetch_one("q");
}
