// SPDX-License-Identifier: Apache-2.0
use crate::apply::testing::*;
use crate::command::*;
use crate::job::JobSpec;
use crate::reject::Code;
use crate::reply::Settled;
use crate::state::{Reason, StateKind};

#[test]
fn a_job_given_back_waits_as_before() {
    let mut bed = Bed::new();
    let job = bed.enqueue(spec("q"));
    let lease = claim(&bed.fetch_one("q"));
    assert_eq!(bed.settled_one(release(lease.clone())), Ok(Settled::Released));
    assert_eq!(bed.news(), ["job.released"]);
    let row = bed.job(&job);
    assert_eq!((row.state.kind(), row.attempt(), row.deliveries), (StateKind::Pending, 1, 1));
    let second = claim(&bed.fetch_one("q"));
    assert_eq!(bed.settled_one(release(lease.clone())), Ok(Settled::Released), "a repeat");
    assert_eq!(bed.state(&job), StateKind::Active, "which does not end the new lease");
    assert_eq!(bed.settled_one(fail(lease)), Err(Code::LeaseLost));
    assert_eq!(bed.settled_one(ack(second)), Ok(Settled::Acked));
}

#[test]
fn a_delay_is_a_snooze() {
    let mut bed = Bed::new();
    let job = bed.enqueue(spec("q"));
    let lease = claim(&bed.fetch_one("q"));
    bed.run(Release { items: vec![ReleaseItem { lease, delay: Some(secs(60)) }] });
    assert_eq!(bed.state(&job), StateKind::Scheduled);
    bed.wait(secs(60));
    assert_eq!(bed.promote().done, 1);
    assert_eq!(bed.fetch_one("q").job.attempt(), 1);
}

#[test]
fn a_job_that_was_to_be_cancelled_is_cancelled() {
    let mut bed = Bed::new();
    let job = bed.enqueue(spec("q"));
    let lease = claim(&bed.fetch_one("q"));
    bed.granted(Cancel { job: job_ref(&job) });
    assert_eq!(bed.settled_one(release(lease)), Ok(Settled::Released));
    assert_eq!(bed.state(&job), StateKind::Cancelled);
}

#[test]
fn an_expired_job_does_not_wait_again() {
    let mut bed = Bed::new();
    let job = bed.enqueue(JobSpec { expire_after: Some(secs(10)), ..spec("q") });
    let lease = claim(&bed.fetch_one("q"));
    bed.wait(secs(10));
    assert_eq!(bed.settled_one(release(lease)), Ok(Settled::Released));
    assert_eq!(bed.job(&job).state.reason(), Some(Reason::Expired));
}
