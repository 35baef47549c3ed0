// SPDX-License-Identifier: Apache-2.0
use crate::apply::testing::*;
use crate::body::{Body, INLINE, Json};
use crate::command::*;
use crate::event::Event;
use crate::id::JobRef;
use crate::reject::Code;
use crate::reply::Settled;
use crate::state::StateKind;
use crate::tables::Tables;
use crate::tables::schema::Bodies;

#[test]
fn an_acknowledged_job_is_completed_and_never_handed_out_again() {
    let mut bed = Bed::new();
    let job = bed.enqueue(spec("q"));
    let leased = bed.fetch_one("q");
    bed.wait(secs(3));
    let item =
        AckItem { lease: claim(&leased), result: Some(Json::from("42")), checkpoint: Some(Json::from("7")) };
    assert_eq!(bed.settled_one(Ack { items: vec![item] }), Ok(Settled::Acked));
    let Some(Event::Job(event)) = bed.events.last() else { panic!("{:?}", bed.events) };
    assert_eq!((event.change.name(), event.took_ms, event.attempt), ("job.completed", Some(3000), 1));
    assert_eq!((event.from, event.worker.as_deref()), (Some(StateKind::Active), Some("w1")));
    let row = bed.job(&job);
    assert_eq!(row.state.finished_at(), Some(bed.now));
    assert_eq!(row.result, Some(Body::Inline(Json::from("42"))));
    assert_eq!(row.checkpoint, Some(Body::Inline(Json::from("7"))));
    assert_eq!(row.last_worker, Some(("w1".into(), "h1".into())));
    bed.wait(secs(1_000_000));
    bed.promote();
    assert_eq!(bed.fetched(fetch("q", 9)), []);
    assert_eq!(bed.queue("q").unwrap().totals.completed, 1);
}

#[test]
fn the_same_token_gets_the_same_answer_again() {
    let mut bed = Bed::new();
    bed.enqueue(spec("q"));
    let lease = claim(&bed.fetch_one("q"));
    assert_eq!(bed.settled_one(ack(lease.clone())), Ok(Settled::Acked));
    let before = bed.tables.clone();
    assert_eq!(bed.settled_one(ack(lease.clone())), Ok(Settled::Acked));
    assert_eq!((bed.events.len(), &bed.tables), (0, &before));
    assert_eq!(bed.settled_one(fail(lease.clone())), Err(Code::LeaseLost), "another call is no repeat");
    assert_eq!(bed.settled_one(release(lease.clone())), Err(Code::LeaseLost));
    let beat = HeartbeatItem { lease, progress: None, checkpoint: None };
    assert_eq!(bed.settled_one(Heartbeat { items: vec![beat] }), Err(Code::LeaseLost));
    assert_eq!(bed.tables, before);
}

#[test]
fn an_old_token_changes_nothing() {
    let mut bed = Bed::new();
    bed.enqueue(spec("q"));
    let old = claim(&bed.fetch_one("q"));
    bed.run(release(old.clone()));
    let new = claim(&bed.fetch_one("q"));
    let before = bed.tables.clone();
    assert_eq!(bed.settled_one(ack(old)), Err(Code::LeaseLost));
    assert_eq!(bed.tables, before);
    assert_eq!(bed.settled_one(ack(new)), Ok(Settled::Acked));
}

#[test]
fn without_a_token_the_current_lease_and_its_worker_count() {
    let mut bed = Bed::new();
    let job = bed.enqueue(spec("q"));
    let bare = LeaseRef { job: job_ref(&job), token: None, worker: None };
    let by = |worker: &str| LeaseRef { worker: Some(worker.into()), ..bare.clone() };
    assert_eq!(bed.settled_one(ack(bare.clone())), Err(Code::LeaseLost), "not active");
    bed.fetch_one("q");
    assert_eq!(bed.settled_one(ack(by("w2"))), Err(Code::LeaseLost));
    assert_eq!(bed.settled_one(ack(by("w1"))), Ok(Settled::Acked));
    assert_eq!(bed.settled_one(ack(by("w1"))), Err(Code::LeaseLost), "only a token makes a repeat");
}

#[test]
fn a_bad_item_fails_alone() {
    let mut bed = Bed::new();
    bed.enqueue_n("q", 2);
    let jobs = bed.fetched(fetch("q", 2));
    let item = |lease| AckItem { lease, result: None, checkpoint: None };
    let unknown = LeaseRef { job: JobRef::parse("nobody"), token: None, worker: None };
    let items = vec![item(claim(&jobs[0])), item(unknown), item(claim(&jobs[0])), item(claim(&jobs[1]))];
    let settled = bed.settled(Ack { items });
    assert_eq!(settled[0], Ok(Settled::Acked));
    assert_eq!(settled[1].as_ref().map_err(|reject| reject.code), Err(Code::NotFound));
    assert_eq!(settled[2], Ok(Settled::Acked), "the same item again within the batch is a repeat");
    assert_eq!(settled[3], Ok(Settled::Acked));
    assert_eq!(bed.events.len(), 2);
}

#[test]
fn another_namespace_does_not_see_the_job() {
    let mut bed = Bed::new();
    bed.enqueue(spec("q"));
    let lease = claim(&bed.fetch_one("q"));
    bed.namespace = "other".into();
    assert_eq!(bed.settled_one(ack(lease)), Err(Code::NotFound));
}

#[test]
fn an_ack_after_a_request_to_cancel_still_completes() {
    let mut bed = Bed::new();
    let job = bed.enqueue(spec("q"));
    let lease = claim(&bed.fetch_one("q"));
    bed.granted(Cancel { job: job_ref(&job) });
    assert_eq!(bed.settled_one(ack(lease)), Ok(Settled::Acked));
    assert_eq!(bed.state(&job), StateKind::Completed);
}

#[test]
fn large_results_and_checkpoints_lie_beside_the_job_and_go_with_it() {
    let mut bed = Bed::new();
    let job = bed.enqueue(spec("q"));
    let lease = claim(&bed.fetch_one("q"));
    let large = Json::from("1".repeat(INLINE + 1).as_str());
    let item = AckItem { lease, result: Some(large.clone()), checkpoint: Some(large) };
    bed.run(Ack { items: vec![item] });
    assert_eq!(bed.tables.scan::<Bodies>(&[], None, 9).unwrap().len(), 2);
    bed.granted(Delete { job: job_ref(&job) });
    assert_eq!(bed.tables.scan::<Bodies>(&[], None, 9).unwrap(), []);
}
