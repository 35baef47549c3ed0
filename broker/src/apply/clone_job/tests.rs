// SPDX-License-Identifier: Apache-2.0
use crate::apply::testing::*;
use crate::body::{Body, INLINE, Json};
use crate::command::*;
use crate::job::{Due, JobSpec};
use crate::reject::Code;
use crate::state::StateKind;
use crate::unique::Unique;

#[test]
fn a_copy_is_a_new_job_without_what_names_the_original() {
    let mut bed = Bed::new();
    let large = Json::from("1".repeat(INLINE + 1).as_str());
    let mut original = JobSpec {
        payload: large.clone(),
        id: Some("chosen".into()),
        due: Due::After(secs(60)),
        expire_after: Some(secs(90)),
        ..spec("q")
    };
    original.options.priority = 77;
    original.options.unique = Some(Unique { key: "k".into(), period: secs(60) });
    let first = bed.enqueue(original);
    bed.wait(secs(10));
    let copy = bed.granted(CloneJob { job: job_ref(&first) }).unwrap();
    assert_eq!(bed.news(), ["job.enqueued"]);
    assert_eq!((copy.state.kind(), copy.options.priority), (StateKind::Pending, 77));
    assert_eq!((&copy.chosen_id, &copy.options.unique), (&None, &None));
    assert_eq!(copy.expire_at, Some(bed.now.after(secs(90))));
    assert_eq!(copy.payload, Body::Stored(INLINE as u32 + 1));
    bed.granted(Delete { job: job_ref(&first) });
    assert_eq!(bed.fetch_one("q").payload, large, "the copy has its own");
}

#[test]
fn a_dead_job_is_copied_without_its_past() {
    let mut bed = Bed::new();
    let job = bed.enqueue(spec("q"));
    let lease = claim(&bed.fetch_one("q"));
    let item = FailItem { retry: false, checkpoint: Some(Json::from("1")), ..fail_item(lease) };
    bed.run(Fail { items: vec![item] });
    let copy = bed.granted(CloneJob { job: job_ref(&job) }).unwrap();
    assert_eq!((copy.failures, copy.errors.len(), copy.checkpoint, copy.deliveries), (0, 0, None, 0));
    assert_eq!(bed.state(&job), StateKind::Dead);
}

#[test]
fn a_copy_is_an_enqueue_from_outside() {
    let mut bed = Bed::new();
    let job = bed.enqueue(spec("q"));
    bed.set("q", QueueSetting::Drain);
    assert_eq!(bed.refused(CloneJob { job: job_ref(&job) }), Code::QueueDraining);
    assert_eq!(bed.refused(CloneJob { job: crate::JobRef::parse("nobody") }), Code::NotFound);
}
