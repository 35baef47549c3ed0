// SPDX-License-Identifier: Apache-2.0
//! What a caller sees.

use super::fixture::*;
use crate::supervise::{
    Port, PortError, Slot,
    testbed::{TestBed, within},
};

#[tokio::test]
async fn a_port_without_an_actor_is_unavailable() {
    let slot = slot();
    let count = slot.port::<Count>();
    assert_eq!(within(count.ask(Count)).await, Err(PortError::Unavailable));
    assert_eq!(count.tell(Count), Err(PortError::Unavailable));
    let bed = TestBed::start(group("root", 0).child(puppet("a", &slot, &Diary::default()))).await;
    assert_eq!(within(count.ask(Count)).await, Ok(1));
    bed.stop(0).await;
    assert_eq!(within(count.ask(Count)).await, Err(PortError::Unavailable));
}

#[tokio::test]
async fn a_full_mailbox_answers_overloaded_over_all_ports() {
    let slot = Slot::new(3);
    let bed = TestBed::start(group("root", 0).child(puppet("a", &slot, &Diary::default()))).await;
    let (block, begun, release) = Block::new();
    let blocked = slot.port::<Block>().ask(block);
    within(begun).await.unwrap();
    let (one, other) = (slot.port::<Count>(), slot.port::<Count>().clone());
    let first = one.ask(Count);
    other.tell(Count).unwrap();
    assert_eq!(within(one.ask(Count)).await, Err(PortError::Overloaded));
    assert_eq!(other.tell(Count), Err(PortError::Overloaded));
    release.send(()).unwrap();
    assert_eq!(within(first).await, Ok(1));
    assert_eq!(within(blocked).await, Ok(true));
    assert_eq!(within(one.ask(Count)).await, Ok(3), "there is room again, and the told message counted");
    bed.stop(0).await;
}

#[tokio::test]
async fn a_message_whose_caller_went_away_is_skipped() {
    let slot = slot();
    let bed = TestBed::start(group("root", 0).child(puppet("a", &slot, &Diary::default()))).await;
    let (block, begun, release) = Block::new();
    let blocked = slot.port::<Block>().ask(block);
    within(begun).await.unwrap();
    drop(slot.port::<Count>().ask(Count));
    release.send(()).unwrap();
    within(blocked).await.unwrap();
    assert_eq!(within(slot.port::<Count>().ask(Count)).await, Ok(1));
    bed.stop(0).await;
}

#[tokio::test]
async fn doubles_answer_without_an_actor() {
    let port = Port::<Count>::answering(|_| 7);
    assert_eq!(within(port.ask(Count)).await, Ok(7));
    assert_eq!(port.tell(Count), Ok(()));
    let port = Port::<Count>::failing(PortError::Overloaded);
    assert_eq!(within(port.ask(Count)).await, Err(PortError::Overloaded));
}
