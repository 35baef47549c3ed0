// SPDX-License-Identifier: Apache-2.0
use crate::apply::testing::*;
use crate::body::{INLINE, Json};
use crate::command::*;
use crate::job::{Due, JobSpec};
use crate::reject::Code;
use crate::reply::Enqueued;
use crate::state::{State, StateKind};
use crate::tables::Tables;
use crate::tables::schema::Bodies;
use crate::time::Timestamp;

fn patch(job: &Enqueued) -> Patch {
    Patch { job: job_ref(job), payload: None, priority: None, tags: None, scheduled_at: None }
}

#[test]
fn a_larger_priority_moves_the_job_forward() {
    let mut bed = Bed::new();
    let jobs = bed.enqueue_n("q", 3);
    bed.granted(Patch { priority: Some(90), ..patch(&jobs[2]) });
    assert_eq!(bed.news(), ["job.updated"]);
    assert_eq!(bed.fetch_one("q").job.no, jobs[2].job.no);
    let row = bed.granted(Patch { priority: Some(255), ..patch(&jobs[1]) }).unwrap();
    assert_eq!(row.options.priority, 100);
}

#[test]
fn payload_and_tags_are_replaced() {
    let mut bed = Bed::new();
    let large = Json::from("1".repeat(INLINE + 1).as_str());
    let job = bed.enqueue(JobSpec { payload: large.clone(), ..spec("q") });
    let tags = Some(vec![("b".into(), "1".into()), ("a".into(), "2".into())]);
    let row = bed.granted(Patch { payload: Some(Json::from("2")), tags, ..patch(&job) }).unwrap();
    let sorted: Vec<_> = row.options.tags.iter().map(|(name, _)| &**name).collect();
    assert_eq!(sorted, ["a", "b"]);
    assert_eq!(bed.tables.scan::<Bodies>(&[], None, 9).unwrap(), []);
    bed.granted(Patch { payload: Some(large.clone()), ..patch(&job) });
    assert_eq!(bed.fetch_one("q").payload, large);
}

#[test]
fn a_new_due_time_decides_the_state() {
    let mut bed = Bed::new();
    let job = bed.enqueue(spec("q"));
    let later = bed.now.after(secs(60));
    let at = |at| Patch { scheduled_at: Some(at), ..patch(&job) };
    assert_eq!(bed.granted(at(later)).unwrap().state, State::Scheduled { at: later });
    assert_eq!(
        bed.granted(at(later.after(secs(1)))).unwrap().state,
        State::Scheduled { at: later.after(secs(1)) }
    );
    assert_eq!(bed.granted(at(Timestamp(1))).unwrap().state, State::Pending);
    assert_eq!(bed.granted(at(bed.now)).unwrap().state, State::Pending);
    let lease = claim(&bed.fetch_one("q"));
    bed.failed(fail(lease));
    assert_eq!(bed.granted(at(later)).unwrap().state, State::Scheduled { at: later });
    assert_eq!(bed.job(&job).failures, 1);
}

#[test]
fn only_a_waiting_job_can_be_changed() {
    let mut bed = Bed::new();
    let job = bed.enqueue(JobSpec { due: Due::After(secs(1)), ..spec("q") });
    let change = Patch { priority: Some(1), ..patch(&job) };
    assert!(bed.granted(change.clone()).is_some());
    bed.wait(secs(1));
    bed.promote();
    let lease = claim(&bed.fetch_one("q"));
    assert_eq!(bed.refused(change.clone()), Code::Conflict);
    bed.run(ack(lease));
    assert_eq!(bed.refused(change), Code::Conflict);
    assert_eq!(bed.state(&job), StateKind::Completed);
}
