// SPDX-License-Identifier: Apache-2.0
use crate::apply::testing::*;
use crate::command::*;
use crate::job::{Due, JobSpec};
use crate::reject::Code;
use crate::reply::Enqueued;
use crate::state::StateKind;

fn to(job: &Enqueued, queue: &str) -> Move {
    Move { job: job_ref(job), queue: queue.into() }
}

#[test]
fn a_job_keeps_its_state_and_both_queues_count() {
    let mut bed = Bed::new();
    let pending = bed.enqueue(spec("a"));
    let scheduled = bed.enqueue(JobSpec { due: Due::After(secs(9)), ..spec("a") });
    let cancelled = bed.enqueue(spec("a"));
    bed.granted(Cancel { job: job_ref(&cancelled) });
    for (job, state) in [
        (&pending, StateKind::Pending),
        (&scheduled, StateKind::Scheduled),
        (&cancelled, StateKind::Cancelled),
    ] {
        let row = bed.granted(to(job, "b")).unwrap();
        assert_eq!((&*row.queue, row.state.kind()), ("b", state));
        assert_eq!(bed.queue("b").unwrap().count(state), 1);
        assert_eq!(bed.news().last(), Some(&"job.moved"));
    }
    assert_eq!(bed.queue("a").unwrap().total(), 0);
    let totals = bed.queue("b").unwrap().totals;
    assert_eq!((totals.enqueued, totals.cancelled), (0, 0), "nothing happened there but a move");
    bed.wait(secs(9));
    bed.promote();
    assert_eq!(bed.fetched(fetch("b", 9)).len(), 2);
}

#[test]
fn an_active_job_stays() {
    let mut bed = Bed::new();
    let job = bed.enqueue(spec("a"));
    bed.fetch_one("a");
    assert_eq!(bed.refused(to(&job, "b")), Code::Conflict);
}

#[test]
fn a_draining_queue_takes_nothing_in() {
    let mut bed = Bed::new();
    let job = bed.enqueue(spec("a"));
    bed.set("b", QueueSetting::Drain);
    assert_eq!(bed.refused(to(&job, "b")), Code::QueueDraining);
    bed.set("a", QueueSetting::Drain);
    assert!(bed.granted(to(&job, "a")).is_some(), "it is there already");
    assert_eq!(bed.news(), [] as [&str; 0]);
    assert!(bed.granted(to(&job, "c")).is_some(), "and it may leave");
}
