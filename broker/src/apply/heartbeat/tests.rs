// SPDX-License-Identifier: Apache-2.0
//! Heartbeat, and `Renew`, which is many of them heard earlier.

use crate::apply::testing::*;
use crate::body::{Body, INLINE, Json};
use crate::command::*;
use crate::id::JobNo;
use crate::job::Progress;
use crate::reject::Code;
use crate::reply::{Settled, Swept};
use crate::tables::Tables;
use crate::tables::schema::Bodies;

fn beat(lease: LeaseRef) -> Heartbeat {
    Heartbeat { items: vec![HeartbeatItem { lease, progress: None, checkpoint: None }] }
}

fn progress(current: u64) -> Option<Progress> {
    Some(Progress { current, total: Some(10), message: None })
}

#[test]
fn a_heartbeat_gives_the_full_length_from_now() {
    let mut bed = Bed::new();
    let job = bed.enqueue(spec("q"));
    let lease = claim(&bed.fetch_one("q"));
    bed.wait(secs(40));
    let lease_expires_at = bed.now.after(LEASE);
    let alive = Settled::Alive { lease_expires_at, length: LEASE, cancel: false };
    assert_eq!(bed.settled_one(beat(lease.clone())), Ok(alive));
    assert_eq!(bed.news(), [] as [&str; 0], "a sign of life alone is no news");
    assert_eq!(bed.job(&job).state.lease().unwrap().deadline, lease_expires_at);
    bed.granted(Cancel { job: job_ref(&job) });
    assert!(matches!(bed.settled_one(beat(lease)), Ok(Settled::Alive { cancel: true, .. })));
}

#[test]
fn checkpoint_and_progress_are_kept() {
    let mut bed = Bed::new();
    let job = bed.enqueue(spec("q"));
    let lease = claim(&bed.fetch_one("q"));
    let with = |checkpoint: &str| Heartbeat {
        items: vec![HeartbeatItem {
            lease: lease.clone(),
            progress: progress(3),
            checkpoint: Some(Json::from(checkpoint)),
        }],
    };
    bed.run(with(&"1".repeat(INLINE + 1)));
    assert_eq!(bed.news(), ["job.progress"]);
    assert_eq!(bed.job(&job).progress, progress(3));
    assert_eq!(bed.job(&job).checkpoint, Some(Body::Stored(INLINE as u32 + 1)));
    bed.run(with("2"));
    assert_eq!(bed.job(&job).checkpoint, Some(Body::Inline(Json::from("2"))));
    assert_eq!(bed.tables.scan::<Bodies>(&[], None, 9).unwrap(), [], "the large one is gone");
    assert_eq!(bed.job(&job).timeline.len(), 2, "progress does not fill the timeline");
    bed.run(release(lease.clone()));
    assert_eq!(bed.fetch_one("q").job.progress, None, "a new attempt begins at nothing");
    assert_eq!(bed.settled_one(with("3")), Err(Code::LeaseLost));
    assert_eq!(bed.job(&job).checkpoint, Some(Body::Inline(Json::from("2"))));
}

#[test]
fn a_lease_never_becomes_shorter() {
    let mut bed = Bed::new();
    let job = bed.enqueue(spec("q"));
    let leased = bed.fetch_one("q");
    let token = leased.job.state.lease().unwrap().token;
    let heard_at = bed.now.after(secs(20));
    let renewal = Renewal { job: job.job.no, token, heard_at, progress: None };
    assert_eq!(bed.swept(Renew { items: vec![renewal.clone()] }), Swept { done: 1, more: false });
    assert_eq!(bed.job(&job).state.lease().unwrap().deadline, heard_at.after(LEASE));
    bed.wait(secs(10));
    let Ok(Settled::Alive { lease_expires_at, .. }) = bed.settled_one(beat(claim(&leased))) else {
        panic!("alive")
    };
    assert_eq!(lease_expires_at, heard_at.after(LEASE));
    let before = bed.tables.clone();
    let earlier = Renewal { heard_at: bed.now, ..renewal };
    assert_eq!(bed.swept(Renew { items: vec![earlier] }), Swept { done: 1, more: false });
    assert_eq!(bed.tables, before);
}

#[test]
fn renewals_of_ended_leases_are_passed_over() {
    let mut bed = Bed::new();
    let job = bed.enqueue(spec("q"));
    let leased = bed.fetch_one("q");
    let token = leased.job.state.lease().unwrap().token;
    bed.run(release(claim(&leased)));
    let renewal =
        Renewal { job: job.job.no, token, heard_at: bed.now.after(secs(99)), progress: progress(1) };
    let nobody = Renewal { job: JobNo(77), ..renewal.clone() };
    assert_eq!(bed.swept(Renew { items: vec![renewal.clone(), nobody.clone()] }), Swept::default());
    bed.fetch_one("q");
    assert_eq!(bed.swept(Renew { items: vec![renewal, nobody] }), Swept::default());
    assert_eq!(bed.job(&job).progress, None);
}

#[test]
fn collected_progress_is_news() {
    let mut bed = Bed::new();
    let job = bed.enqueue(spec("q"));
    let token = bed.fetch_one("q").job.state.lease().unwrap().token;
    let renewal = Renewal { job: job.job.no, token, heard_at: bed.now, progress: progress(4) };
    bed.namespace = "the leader speaks for all".into();
    bed.run(Renew { items: vec![renewal] });
    assert_eq!(bed.news(), ["job.progress"]);
    assert_eq!(bed.job(&job).progress, progress(4));
}
