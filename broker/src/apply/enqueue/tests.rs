// SPDX-License-Identifier: Apache-2.0
use crate::apply::testing::*;
use crate::body::{Body, INLINE, Json};
use crate::command::*;
use crate::id::{JobRef, Name};
use crate::job::{Due, JobSpec};
use crate::reject::Code;
use crate::reply::{Enqueued, Reply};
use crate::request::{RequestKey, Route};
use crate::state::StateKind;
use crate::tables::Tables;
use crate::tables::schema::{Bodies, Ids, Requests};
use crate::time::{Millis, Timestamp};
use crate::unique::Unique;

fn unique(queue: &str, key: &str, period: Millis) -> JobSpec {
    let mut spec = spec(queue);
    spec.options.unique = Some(Unique { key: key.into(), period });
    spec
}

fn with_id(id: &str, payload: &str) -> JobSpec {
    JobSpec { id: Some(id.into()), payload: Json::from(payload), ..spec("q") }
}

fn request(key: &str) -> Option<RequestKey> {
    Some(RequestKey { route: Route::Enqueue, key: key.into() })
}

#[test]
fn a_job_is_pending_and_its_queue_is_made() {
    let mut bed = Bed::new();
    let job = bed.enqueue(spec("mail"));
    assert_eq!((job.state, job.existing), (StateKind::Pending, false));
    assert_eq!(bed.news(), ["queue.created", "job.enqueued"]);
    let queue = bed.queue("mail").unwrap();
    assert_eq!((queue.count(StateKind::Pending), queue.totals.enqueued), (1, 1));
    assert_eq!(bed.job(&job).ready_at, Some(bed.now));
}

#[test]
fn due_times_in_the_past_mean_at_once() {
    let mut bed = Bed::new();
    let now = bed.now;
    for (due, state, at) in [
        (Due::Now, StateKind::Pending, None),
        (Due::After(Millis(0)), StateKind::Pending, None),
        (Due::At(now), StateKind::Pending, None),
        (Due::At(Timestamp(3)), StateKind::Pending, None),
        (Due::After(Millis(1)), StateKind::Scheduled, Some(now.after(Millis(1)))),
        (Due::At(now.after(secs(9))), StateKind::Scheduled, Some(now.after(secs(9)))),
    ] {
        let job = bed.enqueue(JobSpec { due, ..spec("q") });
        assert_eq!(job.state, state, "{due:?}");
        let Some(crate::Event::Job(event)) = bed.events.last() else { panic!("{:?}", bed.events) };
        assert_eq!(event.due_at, at, "{due:?}");
    }
}

#[test]
fn expire_after_counts_from_the_enqueue() {
    let mut bed = Bed::new();
    let expire_after = Some(secs(30));
    let job = bed.enqueue(JobSpec { due: Due::After(secs(20)), expire_after, ..spec("q") });
    assert_eq!(bed.job(&job).expire_at, Some(bed.now.after(secs(30))));
}

#[test]
fn a_batch_is_all_or_nothing() {
    let mut bed = Bed::new();
    bed.enqueue(with_id("a", "1"));
    bed.set("full", QueueSetting::Drain);
    // Bed::run asserts that a refusal changes nothing.
    assert_eq!(bed.refused(enqueue([spec("new"), spec("full")])), Code::QueueDraining);
    assert_eq!(bed.refused(enqueue([spec("new"), with_id("a", "2")])), Code::Conflict);
    assert_eq!(bed.refused(enqueue([with_id("b", "1"), with_id("b", "2")])), Code::Conflict);
    assert_eq!(bed.queue("new"), None);
}

#[test]
fn a_held_unique_key_answers_with_its_holder() {
    let mut bed = Bed::new();
    let first = bed.enqueue(unique("q", "k", secs(60)));
    let again = bed.enqueue(unique("other", "k", secs(60)));
    assert_eq!(again, Enqueued { existing: true, ..first.clone() });
    assert_eq!(bed.news(), [] as [&str; 0]);
    assert_eq!(bed.queue("other"), None, "nothing was enqueued there");
    let leased = bed.fetch_one("q");
    assert_eq!(bed.enqueue(unique("q", "k", secs(60))).state, StateKind::Active);
    assert!(bed.settled_one(ack(claim(&leased))).is_ok());
    let cached = bed.enqueue(unique("q", "k", secs(60)));
    assert_eq!((cached.job, cached.state, cached.existing), (first.job.clone(), StateKind::Completed, true));
    bed.wait(secs(60));
    let next = bed.enqueue(unique("q", "k", secs(60)));
    assert!(!next.existing && next.job != first.job, "the period since the enqueue is over");
}

#[test]
fn one_batch_can_hit_its_own_unique_key() {
    let mut bed = Bed::new();
    let Reply::Enqueued(jobs) = bed.run(enqueue([unique("q", "k", secs(1)), unique("q", "k", secs(1))]))
    else {
        panic!("enqueued")
    };
    assert_eq!((jobs[0].existing, jobs[1].existing), (false, true));
    assert_eq!(jobs[0].job, jobs[1].job);
}

#[test]
fn without_a_period_a_completed_job_frees_its_key() {
    let mut bed = Bed::new();
    let first = bed.enqueue(unique("q", "k", Millis(0)));
    let leased = bed.fetch_one("q");
    assert!(bed.settled_one(ack(claim(&leased))).is_ok());
    let next = bed.enqueue(unique("q", "k", Millis(0)));
    assert!(!next.existing && next.job != first.job);
}

#[test]
fn dead_cancelled_and_deleted_free_the_key_at_once() {
    for end in ["dead", "cancelled", "deleted"] {
        let mut bed = Bed::new();
        let first = bed.enqueue(unique("q", "k", secs(3600)));
        match end {
            "dead" => {
                let lease = claim(&bed.fetch_one("q"));
                bed.run(Fail { items: vec![FailItem { retry: false, ..fail_item(lease) }] });
            }
            "cancelled" => drop(bed.granted(Cancel { job: job_ref(&first) })),
            _ => drop(bed.granted(Delete { job: job_ref(&first) })),
        }
        assert!(!bed.enqueue(unique("q", "k", secs(3600))).existing, "{end}");
    }
}

#[test]
fn an_expired_holder_that_nobody_noticed_does_not_hold_its_key() {
    let mut bed = Bed::new();
    let first = bed.enqueue(JobSpec { expire_after: Some(secs(5)), ..unique("q", "k", secs(60)) });
    bed.wait(secs(5));
    assert!(!bed.enqueue(unique("q", "k", secs(60))).existing);
    assert_eq!(bed.news(), ["job.dead", "job.enqueued"]);
    assert_eq!(bed.state(&first), StateKind::Dead);
}

#[test]
fn the_same_id_gets_the_first_answer_another_body_a_conflict() {
    let mut bed = Bed::new();
    let first = bed.enqueue(with_id("invoice-7", "1"));
    assert_eq!(first.job.to_string(), "invoice-7");
    bed.fetch_one("q");
    assert_eq!(bed.enqueue(with_id("invoice-7", "1")), first, "the first answer, not the present state");
    assert_eq!(bed.refused(enqueue([with_id("invoice-7", "2")])), Code::Conflict);
    bed.set("q", QueueSetting::Drain);
    assert_eq!(bed.enqueue(with_id("invoice-7", "1")), first, "a repeat enqueues nothing new");
}

#[test]
fn a_repeat_may_carry_another_trace() {
    let mut bed = Bed::new();
    let mut traced = with_id("x", "1");
    traced.options.trace = Some("00-aa-01".into());
    let first = bed.enqueue(traced);
    assert_eq!(bed.enqueue(with_id("x", "1")), first);
}

#[test]
fn an_id_that_jobbie_gave_to_another_job_cannot_be_chosen() {
    let mut bed = Bed::new();
    let given = bed.enqueue(spec("q")).job.to_string();
    assert_eq!(bed.refused(enqueue([with_id(&given, "1")])), Code::Conflict);
    let unknown = crate::JobId { no: crate::JobNo(999), created_at: bed.now, chosen: None }.to_string();
    let chosen = bed.enqueue(with_id(&unknown, "1"));
    assert!(bed.granted(Cancel { job: JobRef::parse(&unknown) }).is_some());
    assert_eq!(bed.state(&chosen), StateKind::Cancelled);
}

#[test]
fn an_id_outlives_its_deleted_job_by_a_day_from_the_enqueue() {
    let mut bed = Bed::new();
    let first = bed.enqueue(with_id("a", "1"));
    bed.granted(Delete { job: job_ref(&first) });
    assert_eq!(bed.enqueue(with_id("a", "1")), first);
    assert_eq!(bed.refused(enqueue([with_id("a", "2")])), Code::Conflict);
    bed.wait(secs(24 * 3600));
    assert_eq!(bed.swept(ForgetRequests { limit: 10 }).done, 1);
    let second = bed.enqueue(with_id("a", "2"));
    bed.wait(secs(24 * 3600 + 1));
    bed.granted(Delete { job: job_ref(&second) });
    let row: (Name, Name) = ("default".into(), "a".into());
    assert_eq!(bed.tables.get::<Ids>(&row).unwrap(), None, "old enough to be let go at once");
}

#[test]
fn an_id_whose_enqueue_hit_a_unique_key_is_forgotten_in_time() {
    let mut bed = Bed::new();
    let holder = bed.enqueue(unique("q", "k", secs(60)));
    let alias = bed.enqueue(JobSpec { id: Some("alias".into()), ..unique("q", "k", secs(60)) });
    assert_eq!(alias, Enqueued { existing: true, ..holder.clone() });
    bed.granted(Delete { job: job_ref(&holder) });
    assert_eq!(bed.enqueue(JobSpec { id: Some("alias".into()), ..unique("q", "k", secs(60)) }), alias);
    bed.wait(secs(24 * 3600));
    assert_eq!(bed.swept(ForgetRequests { limit: 10 }).done, 1);
    assert!(!bed.enqueue(JobSpec { id: Some("alias".into()), ..unique("q", "k", secs(60)) }).existing);
}

#[test]
fn the_same_request_key_gets_the_first_answer() {
    let mut bed = Bed::new();
    let command = Enqueue { jobs: vec![spec("q"), spec("q")], request: request("r1") };
    let first = bed.run(command.clone());
    assert_eq!(bed.run(command.clone()), first);
    assert_eq!(bed.queue("q").unwrap().totals.enqueued, 2);
    let other = Enqueue { jobs: vec![spec("q")], request: request("r1") };
    assert_eq!(bed.refused(other), Code::Conflict);
    let other_route = RequestKey { route: Route::EnqueueBatch, key: "r1".into() };
    assert_ne!(
        bed.run(Enqueue { request: Some(other_route), ..command.clone() }),
        first,
        "scoped to the route"
    );
    bed.by = "somebody else".into();
    assert_ne!(bed.run(command.clone()), first, "scoped to the principal");
    bed.by = "tester".into();
    bed.namespace = "other".into();
    assert_ne!(bed.run(command.clone()), first, "scoped to the namespace");
    bed.namespace = "default".into();
    bed.wait(secs(24 * 3600));
    assert_eq!(bed.swept(ForgetRequests { limit: 2 }), crate::reply::Swept { done: 2, more: true });
    assert_eq!(bed.swept(ForgetRequests { limit: 9 }), crate::reply::Swept { done: 2, more: false });
    assert_eq!(bed.tables.scan::<Requests>(&[], None, 9).unwrap(), []);
    assert_ne!(bed.run(command), first, "forgotten");
}

#[test]
fn a_refused_call_is_not_remembered() {
    let mut bed = Bed::new();
    bed.set("q", QueueSetting::Drain);
    let command = Enqueue { jobs: vec![spec("q")], request: request("r1") };
    assert_eq!(bed.refused(command.clone()), Code::QueueDraining);
    bed.set("q", QueueSetting::Resume);
    assert!(matches!(bed.run(command), Reply::Enqueued(_)));
}

#[test]
fn a_large_payload_lies_beside_the_job() {
    let mut bed = Bed::new();
    let text = format!("\"{}\"", "x".repeat(INLINE - 1));
    let large = bed.enqueue(JobSpec { payload: Json::from(text.as_str()), ..spec("q") });
    assert_eq!(bed.job(&large).payload, Body::Stored(INLINE as u32 + 1));
    assert_eq!(bed.fetch_one("q").payload, Json::from(text.as_str()), "byte for byte");
    let small = bed.enqueue(JobSpec { payload: Json::from(&text[..INLINE]), ..spec("q") });
    assert!(matches!(bed.job(&small).payload, Body::Inline(_)));
    assert_eq!(bed.tables.scan::<Bodies>(&[], None, 9).unwrap().len(), 1);
}

#[test]
fn no_more_than_the_bound_is_remembered() {
    let mut bed = Bed::new();
    bed.run(Enqueue { jobs: vec![spec("q")], request: request("old") });
    // As if a million had been remembered: the count is what decides.
    let mut ctx =
        crate::apply::context::Context::open(&mut bed.tables, bed.now, &bed.by, &bed.namespace).unwrap();
    ctx.meta.forgets = crate::request::REMEMBERED_MAX;
    let key = request("new").unwrap();
    ctx.remember(&key, [0; 16], crate::request::Answer::Enqueued(Vec::new()), secs(86_400)).unwrap();
    assert_eq!(ctx.meta.forgets, crate::request::REMEMBERED_MAX);
    ctx.close().unwrap();
    let keys: Vec<Name> =
        bed.tables.scan::<Requests>(&[], None, 9).unwrap().into_iter().map(|(row, _)| row.key).collect();
    assert_eq!(keys, [Name::from("new")], "the oldest has been forgotten for the newest");
}
