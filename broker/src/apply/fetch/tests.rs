// SPDX-License-Identifier: Apache-2.0
use super::{MAX_COUNT, MAX_SKIPPED};
use crate::apply::testing::*;
use crate::body::Json;
use crate::command::*;
use crate::event::Event;
use crate::id::JobNo;
use crate::job::{Due, JobSpec};
use crate::reject::Code;
use crate::reply::LeasedJob;
use crate::request::{RequestKey, Route};
use crate::state::StateKind;
use crate::throttle::Throttle;
use crate::time::Millis;

fn numbers(jobs: &[LeasedJob]) -> Vec<u64> {
    jobs.iter().map(|leased| leased.job.no.0).collect()
}

#[test]
fn a_lease_is_granted_with_a_fresh_token() {
    let mut bed = Bed::new();
    let job = bed.enqueue(spec("q"));
    bed.wait(Millis(250));
    let leased = bed.fetch_one("q");
    let lease = leased.job.state.lease().unwrap().clone();
    assert_eq!((lease.deadline, lease.granted_at), (bed.now.after(LEASE), bed.now));
    assert_eq!((leased.job.deliveries, leased.job.started_at), (1, Some(bed.now)));
    assert_eq!((&*lease.worker, &*lease.hostname), ("w1", "h1"));
    let Some(Event::Job(event)) = bed.events.last() else { panic!("{:?}", bed.events) };
    assert_eq!(
        (event.change.name(), event.took_ms, event.token),
        ("job.started", Some(250), Some(lease.token))
    );
    assert_eq!(bed.job(&job), *leased.job);
    bed.run(release(claim(&leased)));
    let token = bed.fetch_one("q").job.state.lease().unwrap().token;
    assert!(token.delivery == 2 && token.salt != lease.token.salt);
}

#[test]
fn larger_priorities_first_then_first_come_first_served() {
    let mut bed = Bed::new();
    for priority in [50, 0, 100, 50] {
        let mut spec = spec("q");
        spec.options.priority = priority;
        bed.enqueue(spec);
    }
    assert_eq!(numbers(&bed.fetched(fetch("q", 10))), [3, 1, 4, 2]);
}

#[test]
fn queues_are_asked_in_the_order_given() {
    let mut bed = Bed::new();
    bed.enqueue_n("a", 2);
    bed.enqueue_n("b", 2);
    let queues = vec!["nowhere".into(), "b".into(), "a".into()];
    assert_eq!(numbers(&bed.fetched(Fetch { queues, ..fetch("", 3) })), [3, 4, 1]);
    assert_eq!(bed.queue("nowhere"), None, "asking makes no queue");
}

#[test]
fn the_budget_of_bytes_lets_one_job_through_at_least() {
    let mut bed = Bed::new();
    for len in [100usize, 40, 40, 40] {
        let payload = Json::from(format!("\"{}\"", "x".repeat(len - 2)).as_str());
        bed.enqueue(JobSpec { payload, ..spec("q") });
    }
    let max_bytes = 80;
    assert_eq!(numbers(&bed.fetched(Fetch { max_bytes, ..fetch("q", 9) })), [1]);
    assert_eq!(numbers(&bed.fetched(Fetch { max_bytes, ..fetch("q", 9) })), [2, 3]);
    assert_eq!(numbers(&bed.fetched(Fetch { max_bytes: 0, ..fetch("q", 9) })), [4]);
}

#[test]
fn a_paused_queue_hands_out_nothing() {
    let mut bed = Bed::new();
    bed.enqueue_n("q", 1);
    bed.set("q", QueueSetting::Pause);
    assert_eq!(bed.fetched(fetch("q", 1)), []);
    bed.set("q", QueueSetting::Resume);
    bed.fetch_one("q");
}

#[test]
fn concurrency_is_kept_within_one_fetch_and_across() {
    let mut bed = Bed::new();
    bed.enqueue_n("q", 5);
    bed.set("q", QueueSetting::Concurrency(Some(2)));
    let first = bed.fetched(fetch("q", 5));
    assert_eq!(first.len(), 2);
    assert_eq!(bed.fetched(fetch("q", 5)), []);
    bed.run(ack(claim(&first[0])));
    assert_eq!(bed.fetched(fetch("q", 5)).len(), 1);
    bed.set("q", QueueSetting::Concurrency(Some(0)));
    bed.run(ack(claim(&first[1])));
    assert_eq!(bed.fetched(fetch("q", 5)), []);
}

#[test]
fn the_throttle_is_asked_for_every_job() {
    let mut bed = Bed::new();
    bed.enqueue_n("q", 9);
    bed.set("q", QueueSetting::Throttle(Some(Throttle { count: 2, period: secs(10) })));
    assert_eq!(bed.fetched(fetch("q", 9)).len(), 2);
    bed.wait(Millis(4999));
    assert_eq!(bed.fetched(fetch("q", 9)).len(), 0);
    bed.wait(Millis(1));
    assert_eq!(bed.fetched(fetch("q", 9)).len(), 1);
    bed.set("q", QueueSetting::Throttle(None));
    assert_eq!(bed.fetched(fetch("q", 9)).len(), 6);
}

#[test]
fn expired_jobs_die_on_the_way() {
    let mut bed = Bed::new();
    let old = bed.enqueue(JobSpec { expire_after: Some(secs(1)), ..spec("q") });
    let young = bed.enqueue(spec("q"));
    bed.wait(secs(1));
    assert_eq!(numbers(&bed.fetched(fetch("q", 9))), [young.job.no.0]);
    assert_eq!(bed.news(), ["job.dead", "job.started"]);
    assert_eq!(bed.job(&old).state.reason().unwrap().name(), "expired");
}

#[test]
fn the_work_on_the_way_is_bounded() {
    let mut bed = Bed::new();
    let jobs = vec![JobSpec { expire_after: Some(secs(1)), ..spec("q") }; MAX_SKIPPED as usize + 1];
    bed.run(enqueue(jobs));
    bed.enqueue(spec("q"));
    bed.wait(secs(1));
    assert_eq!(bed.fetched(fetch("q", 1)), []);
    assert_eq!(bed.events.len(), MAX_SKIPPED as usize);
    assert_eq!(bed.fetched(fetch("q", 1)).len(), 1);
}

#[test]
fn no_more_leases_than_the_bound() {
    let mut bed = Bed::new();
    bed.enqueue_n("q", MAX_COUNT as usize + 1);
    assert_eq!(bed.fetched(fetch("q", u32::MAX)).len(), MAX_COUNT as usize);
}

#[test]
fn a_repeated_fetch_gets_the_leases_it_still_holds() {
    let mut bed = Bed::new();
    bed.enqueue_n("q", 4);
    let request = Some(RequestKey { route: Route::Fetch, key: "r".into() });
    let command = Fetch { request, ..fetch("q", 3) };
    let first = bed.fetched(command.clone());
    assert_eq!(bed.fetched(command.clone()), first);
    bed.run(ack(claim(&first[1])));
    bed.run(release(claim(&first[2])));
    bed.fetched(fetch("q", 9));
    assert_eq!(
        numbers(&bed.fetched(command.clone())),
        [first[0].job.no.0],
        "only what is leased by that token"
    );
    assert_eq!(bed.refused(Fetch { count: 4, ..command }), Code::Conflict);
}

#[test]
fn a_fetch_is_remembered_as_long_as_its_leases_last_at_first() {
    let mut bed = Bed::new();
    bed.enqueue_n("q", 2);
    let request = Some(RequestKey { route: Route::Fetch, key: "r".into() });
    let command = Fetch { request, lease: secs(300), ..fetch("q", 1) };
    let first = bed.fetched(command.clone());
    bed.wait(secs(299));
    assert_eq!(bed.swept(ForgetRequests { limit: 9 }).done, 0);
    assert_eq!(bed.fetched(command.clone()), first);
    bed.wait(secs(1));
    assert_eq!(bed.swept(ForgetRequests { limit: 9 }).done, 1);
    assert_ne!(bed.fetched(command), first);
}

#[test]
fn how_long_a_job_waited_counts_from_when_it_was_due() {
    let mut bed = Bed::new();
    bed.enqueue(JobSpec { due: Due::After(secs(5)), ..spec("q") });
    bed.wait(secs(8)); // the scheduler comes three seconds late
    bed.promote();
    bed.wait(secs(1));
    bed.fetch_one("q");
    let Some(Event::Job(event)) = bed.events.last() else { panic!("{:?}", bed.events) };
    assert_eq!(event.took_ms, Some(4000));
}

#[test]
fn a_fetch_that_grants_nothing_is_not_remembered() {
    let mut bed = Bed::new();
    let request = Some(RequestKey { route: Route::Fetch, key: "r".into() });
    let command = Fetch { request, ..fetch("q", 1) };
    assert_eq!(bed.fetched(command.clone()), []);
    bed.enqueue(spec("q"));
    assert_eq!(bed.fetched(command).len(), 1);
}

#[test]
fn a_fetch_sees_only_its_namespace() {
    let mut bed = Bed::new();
    bed.enqueue(spec("q"));
    bed.namespace = "other".into();
    assert_eq!(bed.fetched(fetch("q", 1)), []);
}

#[test]
fn jobs_that_come_back_keep_their_place() {
    let mut bed = Bed::new();
    bed.enqueue_n("q", 3);
    let first = bed.fetch_one("q");
    bed.run(release(claim(&first)));
    assert_eq!(numbers(&bed.fetched(fetch("q", 3))), [1, 2, 3]);
    assert_eq!(bed.queue("q").unwrap().count(StateKind::Active), 3);
    assert_eq!(first.job.no, JobNo(1));
}
