// SPDX-License-Identifier: Apache-2.0
use crate::apply::testing::*;
use crate::command::*;
use crate::event::{Change, Event};
use crate::job::{Due, JobSpec};
use crate::reject::Code;
use crate::reply::Enqueued;
use crate::state::{Reason, State, StateKind};

fn cancel(job: &Enqueued) -> Cancel {
    Cancel { job: job_ref(job) }
}

#[test]
fn a_waiting_job_is_cancelled_at_once() {
    let mut bed = Bed::new();
    let pending = bed.enqueue(spec("q"));
    let scheduled = bed.enqueue(JobSpec { due: Due::After(secs(9)), ..spec("q") });
    for job in [&pending, &scheduled] {
        let row = bed.granted(cancel(job)).unwrap();
        assert_eq!(row.state, State::Cancelled { at: bed.now, reason: Reason::Cancelled });
        assert_eq!(bed.news(), ["job.cancelled"]);
        assert_eq!(bed.granted(cancel(job)), Some(row), "twice is no mistake");
        assert_eq!(bed.news(), [] as [&str; 0]);
    }
    bed.wait(secs(9));
    assert_eq!((bed.promote().done, bed.fetched(fetch("q", 9)).len()), (0, 0));
    assert_eq!(bed.queue("q").unwrap().totals.cancelled, 2);
}

#[test]
fn an_active_job_is_only_marked() {
    let mut bed = Bed::new();
    let job = bed.enqueue(spec("q"));
    let leased = bed.fetch_one("q");
    let row = bed.granted(cancel(&job)).unwrap();
    assert_eq!((row.state.kind(), row.cancel_requested_at), (StateKind::Active, Some(bed.now)));
    let Some(Event::Job(event)) = bed.events.last() else { panic!("{:?}", bed.events) };
    let token = leased.job.state.lease().unwrap().token;
    assert_eq!(
        (event.change, event.token),
        (Change::CancelRequested, Some(token)),
        "names the lease to tell"
    );
    assert_eq!((event.took_ms, &*row.timeline.last().unwrap().by), (None, "tester"));
    bed.wait(secs(1));
    assert_eq!(bed.granted(cancel(&job)), Some(row));
    assert_eq!(bed.news(), [] as [&str; 0]);
}

#[test]
fn a_finished_job_cannot_be_cancelled() {
    let mut bed = Bed::new();
    let job = bed.enqueue(spec("q"));
    let lease = claim(&bed.fetch_one("q"));
    bed.run(ack(lease));
    assert_eq!(bed.refused(cancel(&job)), Code::Conflict);
    let job = bed.enqueue(spec("q"));
    let lease = claim(&bed.fetch_one("q"));
    bed.run(Fail { items: vec![FailItem { retry: false, ..fail_item(lease) }] });
    assert_eq!(bed.refused(cancel(&job)), Code::Conflict);
}

#[test]
fn another_namespace_does_not_see_the_job() {
    let mut bed = Bed::new();
    let job = bed.enqueue(spec("q"));
    bed.namespace = "other".into();
    assert_eq!(bed.refused(cancel(&job)), Code::NotFound);
}
