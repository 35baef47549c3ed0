// SPDX-License-Identifier: Apache-2.0
use crate::apply::testing::*;
use crate::apply::{MAX_SKIPPED, STEP_AT_ONCE};
use crate::command::*;
use crate::job::{Due, JobSpec};
use crate::reject::Code;
use crate::reply::Enqueued;
use crate::state::StateKind;
use crate::time::Timestamp;
use crate::unique::Unique;

fn clear(bed: &mut Bed) {
    assert_eq!(bed.granted(ClearQueue { queue: "q".into() }), None);
}

fn purge(bed: &mut Bed) {
    let step = Purge { queue: "q".into(), finished_before: Timestamp(0), limit: 100, keep: u64::MAX };
    while bed.swept(step.clone()).more {}
}

/// More jobs than a clear removes right away.
const MANY: usize = STEP_AT_ONCE as usize + 300;

fn many(bed: &mut Bed) -> Vec<Enqueued> {
    bed.enqueue_n("q", MANY)
}

#[test]
fn a_small_queue_is_empty_at_once() {
    let mut bed = Bed::new();
    bed.enqueue_n("q", 2);
    bed.enqueue(JobSpec { due: Due::After(secs(5)), ..spec("q") });
    let active = bed.fetch_one("q");
    clear(&mut bed);
    assert_eq!(bed.news(), ["queue.cleared", "job.deleted", "job.deleted"]);
    let queue = bed.queue("q").unwrap();
    assert_eq!((queue.total(), queue.count(StateKind::Active), queue.clearing), (1, 1, false));
    bed.run(ack(claim(&active)));
    bed.enqueue(spec("q"));
    bed.fetch_one("q");
}

#[test]
fn cleared_jobs_are_gone_for_everybody_from_that_moment_on() {
    let mut bed = Bed::new();
    let mut unique = spec("q");
    unique.options.unique = Some(Unique { key: "k".into(), period: secs(60) });
    let jobs = many(&mut bed);
    let holder = bed.enqueue(unique.clone());
    clear(&mut bed);
    let (last, queue) = (jobs.last().unwrap(), bed.queue("q").unwrap());
    assert_eq!((queue.count(StateKind::Pending), queue.clearing), (301, true));
    assert!(bed.exists(last), "its row is still to be removed");
    assert_eq!(bed.refused(Cancel { job: job_ref(last) }), Code::NotFound);
    assert_eq!(bed.refused(Move { job: job_ref(last), queue: "safe".into() }), Code::NotFound);
    let fresh = bed.enqueue(unique);
    assert!(!fresh.existing, "a cleared job holds no key");
    assert!(!bed.exists(&holder));
    purge(&mut bed);
    let queue = bed.queue("q").unwrap();
    assert_eq!((queue.total(), queue.clearing, queue.sweep), (1, false, None));
    assert_eq!(bed.fetch_one("q").job.no, fresh.job.no);
}

#[test]
fn fetch_removes_cleared_jobs_that_it_meets() {
    let mut bed = Bed::new();
    many(&mut bed);
    clear(&mut bed);
    let fresh = bed.enqueue(spec("q"));
    let left = MANY - STEP_AT_ONCE as usize;
    assert_eq!(bed.fetched(fetch("q", 1)), [], "a bounded number at a time");
    assert_eq!(bed.queue("q").unwrap().count(StateKind::Pending) as usize, left + 1 - MAX_SKIPPED as usize);
    assert_eq!(bed.fetch_one("q").job.no, fresh.job.no);
}

#[test]
fn a_cleared_job_does_not_come_due() {
    let mut bed = Bed::new();
    many(&mut bed);
    let scheduled = bed.enqueue(JobSpec { due: Due::After(secs(5)), ..spec("q") });
    let expiring = bed.enqueue(JobSpec { expire_after: Some(secs(5)), ..spec("q") });
    clear(&mut bed);
    bed.wait(secs(5));
    assert_eq!(bed.promote().done, 2);
    assert_eq!(bed.news(), ["job.deleted", "job.deleted"]);
    assert!(!bed.exists(&scheduled) && !bed.exists(&expiring));
}

#[test]
fn what_joins_the_queue_after_the_clear_is_not_swept_away_however_old_it_is() {
    let mut bed = Bed::new();
    let dead = bed.enqueue(spec("q"));
    let lease = claim(&bed.fetch_one("q"));
    bed.run(Fail { items: vec![FailItem { retry: false, ..fail_item(lease) }] });
    let elsewhere = bed.enqueue(spec("elsewhere"));
    let given_back = bed.enqueue(spec("q"));
    let lease_back = claim(&bed.fetch_one("q"));
    let failing = bed.enqueue(spec("q"));
    let lease_failing = claim(&bed.fetch_one("q"));
    many(&mut bed);
    clear(&mut bed);
    // With no newer job in between, and with older rows of the queue still being removed.
    bed.granted(Retry { job: job_ref(&dead) });
    bed.granted(Move { job: job_ref(&elsewhere), queue: "q".into() });
    bed.run(release(lease_back));
    bed.failed(fail(lease_failing));
    purge(&mut bed);
    assert_eq!(bed.queue("q").unwrap().total(), 4);
    bed.wait(secs(5));
    bed.promote();
    let jobs: Vec<_> = bed.fetched(fetch("q", 9)).iter().map(|leased| leased.job.no).collect();
    assert_eq!(jobs, [&dead, &elsewhere, &given_back, &failing].map(|job| job.job.no));
}

#[test]
fn a_second_clear_takes_what_joined_since() {
    let mut bed = Bed::new();
    let dead = bed.enqueue(spec("q"));
    let lease = claim(&bed.fetch_one("q"));
    bed.run(Fail { items: vec![FailItem { retry: false, ..fail_item(lease) }] });
    clear(&mut bed);
    assert_eq!(bed.state(&dead), StateKind::Dead, "only what waits is cleared");
    bed.granted(Retry { job: job_ref(&dead) });
    clear(&mut bed);
    assert!(!bed.exists(&dead));
}

#[test]
fn moving_away_and_back_counts_as_joining() {
    let mut bed = Bed::new();
    let job = bed.enqueue(spec("q"));
    bed.granted(Move { job: job_ref(&job), queue: "other".into() });
    clear(&mut bed);
    bed.granted(Move { job: job_ref(&job), queue: "q".into() });
    assert_eq!(bed.fetch_one("q").job.no, job.job.no);
}

#[test]
fn an_unknown_queue_is_not_found() {
    let mut bed = Bed::new();
    assert_eq!(bed.refused(ClearQueue { queue: "q".into() }), Code::NotFound);
}
