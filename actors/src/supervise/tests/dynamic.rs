// SPDX-License-Identifier: Apache-2.0
//! Children that come and go.

use super::fixture::*;
use crate::supervise::{
    Backoff, Children, NoSuchChild, PortError, StartError, dynamic, secs,
    testbed::{TestBed, within},
};

#[tokio::test]
async fn children_start_crash_and_stop_on_their_own() {
    let (queues, diary) = (Children::new(), Diary::default());
    assert_eq!(within(queues.start(puppet("a", &slot(), &diary))).await, Err(StartError::NotRunning));
    let spec = dynamic("queues", &queues).budget(5, secs(60)).backoff(Backoff::NONE);
    let bed = TestBed::start(group("root", 0).child(spec)).await;
    let (a, b) = (slot(), slot());
    within(queues.start(puppet("a/1", &a, &diary))).await.unwrap();
    within(queues.start(puppet("b", &b, &diary))).await.unwrap();
    assert_eq!(within(queues.start(puppet("b", &slot(), &diary))).await, Err(StartError::Exists));
    assert_eq!(within(a.port::<Count>().ask(Count)).await, Ok(1));
    let _ = within(a.port::<Boom>().ask(Boom)).await;
    bed.restarted("queues/a/1", 1).await;
    assert_eq!(within(b.port::<Count>().ask(Count)).await, Ok(1));
    bed.tree().kill("queues/a/1").unwrap();
    bed.restarted("queues/a/1", 2).await;
    within(queues.stop("a/1")).await.unwrap();
    assert_eq!(within(queues.stop("a/1")).await, Err(NoSuchChild));
    assert_eq!(within(a.port::<Count>().ask(Count)).await, Err(PortError::Unavailable));
    assert!(bed.tree().view().find("queues/a/1").is_none());
    bed.stop(2).await;
    assert_eq!(within(queues.start(puppet("a", &slot(), &diary))).await, Err(StartError::NotRunning));
}

#[tokio::test]
async fn stopping_drains_the_mailbox() {
    let (queues, diary, a) = (Children::new(), Diary::default(), slot());
    let bed = TestBed::start(group("root", 0).child(dynamic("queues", &queues))).await;
    within(queues.start(puppet("a", &a, &diary))).await.unwrap();
    let (block, begun, release) = Block::new();
    let blocked = a.port::<Block>().ask(block);
    within(begun).await.unwrap();
    let admitted = a.port::<Count>().ask(Count);
    let stopping = tokio::spawn({
        let queues = queues.clone();
        async move { queues.stop("a").await }
    });
    while a.is_open() {
        tokio::task::yield_now().await;
    }
    assert_eq!(within(a.port::<Count>().ask(Count)).await, Err(PortError::Unavailable));
    release.send(()).unwrap();
    assert_eq!(within(blocked).await, Ok(true), "a stopping actor is still the current one");
    assert_eq!(within(admitted).await, Ok(1));
    within(stopping).await.unwrap().unwrap();
    assert_eq!(diary.take(), ["a started", "a released, current: true", "a stopped"]);
    bed.stop(0).await;
}

#[tokio::test]
async fn a_child_that_does_not_start_is_forgotten() {
    let (queues, diary, a) = (Children::new(), Diary::default(), slot());
    let bed = TestBed::start(group("root", 0).child(dynamic("queues", &queues))).await;
    let broken = custom("a", &a, &diary, |puppet| puppet.panic_at_start = true);
    let error = within(queues.start(broken)).await.unwrap_err();
    assert_eq!(error, StartError::Failed("panicked: no start today".to_owned()));
    assert!(bed.node("queues").children.is_empty());
    within(queues.start(puppet("a", &a, &diary))).await.unwrap();
    bed.stop(0).await;
}

#[tokio::test]
async fn a_child_that_is_done_is_forgotten() {
    let (queues, diary, a) = (Children::new(), Diary::default(), slot());
    let bed = TestBed::start(group("root", 0).child(dynamic("queues", &queues))).await;
    within(queues.start(puppet("a", &a, &diary).transient())).await.unwrap();
    let _ = within(a.port::<Quit>().ask(Quit(None))).await;
    bed.until("queues", |node| node.children.is_empty()).await;
    within(queues.start(puppet("a", &a, &diary).transient())).await.unwrap();
    assert_eq!(within(a.port::<Count>().ask(Count)).await, Ok(1));
    bed.stop(0).await;
}

#[tokio::test]
async fn a_restarted_dynamic_supervisor_starts_its_children_again() {
    let (queues, diary) = (Children::new(), Diary::default());
    let (dispatch, a) = (slot(), slot());
    let jobs = group("jobs", 1)
        .rest_for_one()
        .child(puppet("dispatch", &dispatch, &diary))
        .child(dynamic("queues", &queues));
    let bed = TestBed::start(group("root", 0).child(jobs)).await;
    within(queues.start(puppet("a", &a, &diary))).await.unwrap();
    diary.take();
    let _ = within(dispatch.port::<Boom>().ask(Boom)).await;
    bed.restarted("jobs/queues", 1).await;
    assert_eq!(within(a.port::<Count>().ask(Count)).await, Ok(1));
    assert_eq!(diary.take(), ["a stopped", "dispatch started", "a started"]);
    within(queues.start(puppet("b", &slot(), &diary))).await.unwrap();
    bed.stop(1).await;
}
