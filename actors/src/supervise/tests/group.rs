// SPDX-License-Identifier: Apache-2.0
//! Siblings and parents: who is restarted with whom, who gives up, in which order all stops.

use std::future::pending;

use super::fixture::*;
use crate::supervise::{
    ChildSpec, PortError, State, secs, supervisor, task,
    testbed::{TestBed, within},
};

/// A task that notes its life in the diary.
fn clerk(name: &'static str, diary: &Diary) -> ChildSpec {
    let diary = diary.clone();
    task(name, move |start| {
        let diary = diary.clone();
        async move {
            diary.note(format!("{name} started"));
            start.ready();
            start.stopping().await;
            diary.note(format!("{name} stopped"));
            Ok::<(), String>(())
        }
    })
}

#[tokio::test]
async fn children_start_top_down_and_stop_bottom_up_through_all_levels() {
    let diary = Diary::default();
    let (b, c) = (slot(), slot());
    let inner = supervisor("inner").child(puppet("b", &b, &diary)).child(puppet("c", &c, &diary).family("x"));
    let root = supervisor("root").child(clerk("a", &diary)).child(inner).child(clerk("d", &diary));
    let bed = TestBed::start(root).await;
    assert_eq!(diary.take(), ["a started", "b started", "c started", "d started"]);
    bed.stop(0).await;
    assert_eq!(diary.take(), ["d stopped", "c stopped", "b stopped", "a stopped"]);
}

#[tokio::test]
async fn rest_for_one_stops_the_later_siblings_in_reverse_and_starts_them_in_order() {
    let diary = Diary::default();
    let slots = [slot(), slot(), slot()];
    let root = group("root", 3)
        .rest_for_one()
        .child(puppet("a", &slots[0], &diary))
        .child(puppet("b", &slots[1], &diary))
        .child(puppet("c", &slots[2], &diary))
        .child(clerk("d", &diary));
    let bed = TestBed::start(root).await;
    diary.take();
    let _ = within(slots[1].port::<Boom>().ask(Boom)).await;
    bed.restarted("d", 1).await;
    assert_eq!(diary.take(), ["d stopped", "c stopped", "b started", "c started", "d started"]);
    assert_eq!(bed.node("a").restarts, 0);
    bed.stop(1).await;
}

#[tokio::test]
async fn a_restart_storm_escalates_level_by_level_and_ends_the_tree_with_the_error() {
    let (a, b, diary) = (slot(), slot(), Diary::default());
    let jobs = group("jobs", 2).child(puppet("a", &a, &diary)).child(puppet("b", &b, &diary));
    let bed = TestBed::start(group("root", 1).child(jobs)).await;
    for crash in 0..6 {
        bed.restarted("jobs/b", crash / 3).await;
        bed.restarted("jobs/a", crash).await;
        assert_eq!(within(a.port::<Boom>().ask(Boom)).await, Err(PortError::Lost));
    }
    let exit = within(bed.tree().wait()).await;
    assert_eq!((exit.code, exit.reason.as_str()), (70, "jobs gave up: a gave up: panicked: boom"));
    assert!(!b.is_open());
    bed.ended(8).await;
}

#[tokio::test]
async fn an_optional_child_closes_alone() {
    let (a, b, diary) = (slot(), slot(), Diary::default());
    let optional = group("optional", 0)
        .budget_each(1, secs(60))
        .closes_children()
        .child(puppet("a", &a, &diary))
        .child(puppet("b", &b, &diary));
    let bed = TestBed::start(group("root", 0).child(optional)).await;
    let _ = within(a.port::<Boom>().ask(Boom)).await;
    bed.restarted("optional/a", 1).await;
    let _ = within(b.port::<Boom>().ask(Boom)).await;
    bed.restarted("optional/b", 1).await;
    let _ = within(a.port::<Boom>().ask(Boom)).await;
    bed.until("optional/a", |node| node.state == State::Closed).await;
    assert_eq!(within(b.port::<Count>().ask(Count)).await, Ok(1));
    bed.stop(3).await;
}

#[tokio::test]
async fn a_task_that_fails_ends_the_tree() {
    let (slot, diary) = (slot(), Diary::default());
    let (fail, failed) = tokio::sync::watch::channel(false);
    let http = task("http", move |start| {
        let mut failed = failed.clone();
        async move {
            start.ready();
            failed.wait_for(|failed| *failed).await.map_err(|error| error.to_string())?;
            Err::<(), String>("socket closed".to_owned())
        }
    });
    let bed = TestBed::start(supervisor("root").child(puppet("a", &slot, &diary)).child(http)).await;
    fail.send_replace(true);
    assert_eq!(within(bed.tree().wait()).await.reason, "http gave up: socket closed");
    assert_eq!(diary.take(), ["a started", "a stopped"]);
    bed.ended(0).await;
}

#[tokio::test]
async fn a_killed_task_is_dropped_and_restarted() {
    let diary = Diary::default();
    let bed = TestBed::start(group("root", 1).child(clerk("a", &diary))).await;
    bed.tree().kill("a").unwrap();
    bed.restarted("a", 1).await;
    assert_eq!(diary.take(), ["a started", "a started"]);
    bed.stop(1).await;
}

#[tokio::test]
async fn a_killed_supervisor_comes_back_with_its_children() {
    let (a, diary) = (slot(), Diary::default());
    let bed = TestBed::start(group("root", 1).child(group("jobs", 0).child(puppet("a", &a, &diary)))).await;
    bed.tree().kill("jobs").unwrap();
    bed.restarted("jobs", 1).await;
    assert_eq!(within(a.port::<Count>().ask(Count)).await, Ok(1));
    assert_eq!(diary.take(), ["a started", "a stopped", "a started"]);
    bed.stop(1).await;
}

#[tokio::test]
async fn a_task_that_ignores_the_stop_is_dropped_after_its_timeout() {
    let deaf = task("deaf", |start| async move {
        start.ready();
        pending::<Result<(), String>>().await
    });
    let bed = TestBed::start(supervisor("root").child(deaf.stop_timeout(secs(0)))).await;
    within(bed.tree().stop()).await;
    assert_eq!(bed.node("deaf").last_error.as_deref(), Some("did not stop in time"));
    bed.stop(0).await;
}

#[tokio::test]
async fn a_stop_during_the_start_does_not_wait_for_it() {
    let slow = task("slow", |_start| pending::<Result<(), String>>());
    let inner = supervisor("inner").child(slow.stop_timeout(secs(0)));
    let bed = TestBed::launch(supervisor("root").child(inner));
    bed.until("inner/slow", |node| node.state == State::Starting).await;
    bed.stop(0).await;
}

#[tokio::test]
async fn a_child_that_never_gets_ready_is_a_crash() {
    let slow = task("slow", |_start| pending::<Result<(), String>>());
    let bed = TestBed::launch(supervisor("root").child(slow.start_timeout(secs(0))));
    let exit = within(bed.tree().ready()).await.unwrap_err();
    assert_eq!(exit.reason, "slow gave up: did not become ready in time");
    bed.ended(1).await;
}

#[test]
fn a_spec_prints_as_a_tree() {
    let (a, diary) = (slot(), Diary::default());
    let root = supervisor("root")
        .child(clerk("log", &diary))
        .child(supervisor("jobs").rest_for_one().budget(5, secs(30)).child(puppet("a", &a, &diary)))
        .child(supervisor("optional").budget_each(5, secs(60)).closes_children());
    let expected = "\
root (supervisor) one_for_one, 0 restarts
├─ log (task)
├─ jobs (supervisor) rest_for_one, 5 in 30 s
│  └─ a (actor)
└─ optional (supervisor) one_for_one, 5 in 60 s each, then closes the child
";
    assert_eq!(format!("{root:?}"), expected);
}
