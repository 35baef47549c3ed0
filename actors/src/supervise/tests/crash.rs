// SPDX-License-Identifier: Apache-2.0
//! One child that ends: by panic, failure or itself.

use super::fixture::*;
use crate::supervise::{
    PortError, State,
    testbed::{TestBed, within},
};

#[tokio::test]
async fn a_panic_in_a_handler_gives_a_fresh_actor_behind_the_same_port() {
    let slot = slot();
    let count = slot.port::<Count>();
    let bed = TestBed::start(group("root", 1).child(puppet("a", &slot, &Diary::default()))).await;
    assert_eq!(within(count.ask(Count)).await, Ok(1));
    assert_eq!(within(count.ask(Count)).await, Ok(2));
    assert_eq!(within(slot.port::<Boom>().ask(Boom)).await, Err(PortError::Lost));
    bed.restarted("a", 1).await;
    assert_eq!(within(count.ask(Count)).await, Ok(1), "the state is new");
    assert_eq!(bed.node("a").last_error.as_deref(), Some("panicked: boom"));
    bed.stop(1).await;
}

#[tokio::test]
async fn messages_behind_a_panic_were_not_seen_and_say_so() {
    let slot = slot();
    let bed = TestBed::start(group("root", 1).child(puppet("a", &slot, &Diary::default()))).await;
    let (block, begun, release) = Block::new();
    let blocked = slot.port::<Block>().ask(block);
    within(begun).await.unwrap();
    let boom = slot.port::<Boom>().ask(Boom);
    let behind = slot.port::<Count>().ask(Count);
    assert_eq!(bed.node("a").mailbox_depth, Some(3));
    release.send(()).unwrap();
    assert_eq!(within(blocked).await, Ok(true));
    assert_eq!(within(boom).await, Err(PortError::Lost));
    assert_eq!(within(behind).await, Err(PortError::Unavailable));
    bed.restarted("a", 1).await;
    assert_eq!(bed.node("a").mailbox_depth, Some(0));
    assert_eq!(within(slot.port::<Count>().ask(Count)).await, Ok(1));
    bed.stop(1).await;
}

#[tokio::test]
async fn a_panic_while_starting_uses_up_the_budget_and_ends_the_tree() {
    let slot = slot();
    let child = custom("a", &slot, &Diary::default(), |puppet| puppet.panic_at_start = true);
    let bed = TestBed::launch(group("root", 2).child(child));
    let exit = within(bed.tree().ready()).await.unwrap_err();
    assert_eq!(exit.code, 70);
    assert_eq!(exit.reason, "a gave up: panicked: no start today");
    assert_eq!(bed.node("a").state, State::Closed);
    assert_eq!(bed.node("a").restarts, 2);
    bed.ended(3).await;
}

#[tokio::test]
async fn a_panic_in_the_factory_is_a_crash_too() {
    let slot = slot();
    let child = custom("a", &slot, &Diary::default(), |_| panic!("no parts"));
    let bed = TestBed::launch(group("root", 0).child(child));
    assert_eq!(within(bed.tree().wait()).await.reason, "a gave up: panicked: no parts");
    bed.ended(1).await;
}

#[tokio::test]
async fn a_panic_in_stopped_neither_aborts_nor_disturbs_the_shutdown() {
    let (bad, good, diary) = (slot(), slot(), Diary::default());
    let root =
        group("root", 0)
            .child(puppet("good", &good, &diary))
            .child(custom("bad", &bad, &diary, |puppet| puppet.panic_at_stop = true));
    let bed = TestBed::start(root).await;
    within(bed.tree().stop()).await;
    assert_eq!(bed.node("bad").last_error.as_deref(), Some("panicked: no stop today"));
    assert_eq!(diary.take(), ["good started", "bad started", "good stopped"]);
    bed.stop(0).await;
}

#[tokio::test]
async fn stopped_is_not_called_on_a_crashed_actor() {
    let (slot, diary) = (slot(), Diary::default());
    let child = custom("a", &slot, &diary, |puppet| puppet.panic_at_stop = puppet.epoch.number() == 1);
    let bed = TestBed::start(group("root", 1).child(child)).await;
    let _ = within(slot.port::<Boom>().ask(Boom)).await;
    bed.restarted("a", 1).await;
    assert_eq!(diary.take(), ["a started", "a started"]);
    bed.stop(1).await;
}

#[tokio::test]
async fn a_failure_has_its_own_words() {
    let slot = slot();
    let bed = TestBed::start(group("root", 1).child(puppet("a", &slot, &Diary::default()))).await;
    let _ = within(slot.port::<Quit>().ask(Quit(Some("disk is full")))).await;
    bed.restarted("a", 1).await;
    assert_eq!(bed.node("a").last_error.as_deref(), Some("disk is full"));
    bed.stop(0).await;
}

#[tokio::test]
async fn policies_decide_who_comes_back() {
    let (permanent, transient, temporary, diary) = (slot(), slot(), slot(), Diary::default());
    let root = group("root", 9)
        .child(puppet("permanent", &permanent, &diary))
        .child(puppet("transient", &transient, &diary).transient())
        .child(puppet("temporary", &temporary, &diary).temporary());
    let bed = TestBed::start(root).await;
    for slot in [&permanent, &transient] {
        let _ = within(slot.port::<Quit>().ask(Quit(None))).await;
    }
    let _ = within(temporary.port::<Boom>().ask(Boom)).await;
    bed.restarted("permanent", 1).await;
    bed.until("transient", |node| node.state == State::Stopped).await;
    bed.until("temporary", |node| node.state == State::Stopped).await;
    assert_eq!(bed.node("temporary").last_error.as_deref(), Some("panicked: boom"));
    assert_eq!(within(permanent.port::<Count>().ask(Count)).await, Ok(1));
    assert_eq!(within(transient.port::<Count>().ask(Count)).await, Err(PortError::Unavailable));
    bed.stop(1).await;
}

#[tokio::test]
async fn a_kill_is_a_crash() {
    let slot = slot();
    let bed = TestBed::start(group("root", 1).child(puppet("a", &slot, &Diary::default()))).await;
    bed.tree().kill("a").unwrap();
    bed.restarted("a", 1).await;
    assert_eq!(bed.node("a").last_error.as_deref(), Some("killed on request"));
    assert!(bed.tree().kill("b").is_err());
    bed.stop(1).await;
}
