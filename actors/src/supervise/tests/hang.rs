// SPDX-License-Identifier: Apache-2.0
//! Children that give no sign of life. The watchdog's clock is moved by hand.

use super::fixture::*;
use crate::supervise::{
    PortError, secs,
    testbed::{TestBed, within},
};

#[tokio::test]
async fn a_blocked_actor_is_fenced_and_replaced_together_with_its_neighbours() {
    let (a, b, c, diary) = (slot(), slot(), slot(), Diary::default());
    let root = group("root", 1)
        .child(puppet("a", &a, &diary).hang_limit(secs(5)))
        .child(puppet("b", &b, &diary))
        .child(puppet("c", &c, &diary).family("other"));
    let mut bed = TestBed::start(root).await;
    let (block, begun, release) = Block::new();
    let blocked = a.port::<Block>().ask(block);
    within(begun).await.unwrap();
    let behind = a.port::<Count>().ask(Count);
    let neighbour = b.port::<Count>().ask(Count);

    bed.watchdog(secs(0)).await;
    bed.watchdog(secs(4)).await;
    assert_eq!(bed.node("a").restarts, 0);
    bed.watchdog(secs(1)).await;

    // Nobody waits for the blocked thread any more, and all work again.
    assert_eq!(within(blocked).await, Err(PortError::Lost));
    assert_eq!(within(behind).await, Err(PortError::Unavailable));
    assert_eq!(within(neighbour).await, Err(PortError::Unavailable));
    bed.restarted("a", 1).await;
    bed.restarted("b", 1).await;
    assert_eq!(within(a.port::<Count>().ask(Count)).await, Ok(1));
    assert_eq!(within(b.port::<Count>().ask(Count)).await, Ok(1));
    assert_eq!(bed.node("c").restarts, 0);
    assert_eq!(bed.node("a").last_error.as_deref(), Some("hung: blocked its thread for 5s"));
    assert_eq!(bed.node("b").last_error.as_deref(), Some("evicted: a blocked the thread"));

    // The old life comes back, finds itself fenced and goes without touching the new one.
    diary.take();
    release.send(()).unwrap();
    while bed.tree().counts().0 > 3 {
        tokio::task::yield_now().await;
    }
    assert_eq!(diary.take(), ["a released, current: false"]);
    assert_eq!(within(a.port::<Count>().ask(Count)).await, Ok(2));
    bed.stop(1).await;
}

#[tokio::test]
async fn an_actor_stuck_in_a_wait_is_replaced_alone() {
    let (a, b, diary) = (slot(), slot(), Diary::default());
    let root =
        group("root", 1).child(puppet("a", &a, &diary)).child(puppet("b", &b, &diary).hang_limit(None));
    let mut bed = TestBed::start(root).await;
    let (wait, waits) = tokio::sync::oneshot::channel();
    let stuck = a.port::<WaitForEver>().ask(WaitForEver(wait));
    let behind = a.port::<Count>().ask(Count);
    within(waits).await.unwrap();
    assert_eq!(within(b.port::<Count>().ask(Count)).await, Ok(1), "so the turn of `a` is over");
    bed.watchdog_until_restart("a", secs(60)).await;
    assert_eq!(within(stuck).await, Err(PortError::Lost));
    assert_eq!(within(behind).await, Err(PortError::Unavailable));
    bed.restarted("a", 1).await;
    assert_eq!(within(b.port::<Count>().ask(Count)).await, Ok(2), "the neighbour was left alone");
    bed.stop(1).await;
}

#[tokio::test]
async fn a_busy_and_an_idle_actor_are_left_alone() {
    let (a, diary) = (slot(), Diary::default());
    let mut bed = TestBed::start(group("root", 0).child(puppet("a", &a, &diary))).await;
    for round in 1..=20 {
        bed.watchdog(secs(3600)).await;
        assert_eq!(within(a.port::<Count>().ask(Count)).await, Ok(round));
    }
    bed.stop(0).await;
}

#[tokio::test]
async fn shutdown_passes_a_blocked_actor() {
    let (a, b, diary) = (slot(), slot(), Diary::default());
    let root = group("root", 0)
        .child(puppet("b", &b, &diary).family("other"))
        .child(puppet("a", &a, &diary).stop_timeout(secs(0)));
    let bed = TestBed::start(root).await;
    let (block, begun, release) = Block::new();
    let blocked = a.port::<Block>().ask(block);
    within(begun).await.unwrap();
    assert_eq!(within(bed.tree().stop()).await.code, 0);
    assert_eq!(within(blocked).await, Err(PortError::Lost));
    assert_eq!(diary.take(), ["b started", "a started", "b stopped"]);
    release.send(()).unwrap();
    while bed.tree().counts().0 > 0 {
        tokio::task::yield_now().await;
    }
    bed.stop(0).await;
}
