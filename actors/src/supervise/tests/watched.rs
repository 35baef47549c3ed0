// SPDX-License-Identifier: Apache-2.0
//! The watchdog as it runs in a server: by its own clock, without anybody's hand.

use std::time::Duration;

use super::fixture::*;
use crate::supervise::{
    PortError, secs,
    testbed::{TestBed, within},
};

#[tokio::test]
async fn the_watchdog_looks_by_itself() {
    let (a, b, diary) = (slot(), slot(), Diary::default());
    let root = group("root", 1)
        .child(puppet("a", &a, &diary).hang_limit(Duration::from_millis(200)))
        .child(puppet("b", &b, &diary).family("other"));
    let bed = TestBed::start_watched(root).await;
    let (block, begun, release) = Block::new();
    let blocked = a.port::<Block>().ask(block);
    within(begun).await.unwrap();
    assert_eq!(
        within(blocked).await,
        Err(PortError::Lost),
        "the caller is told, though the thread never returns"
    );
    bed.restarted("a", 1).await;
    assert_eq!(bed.node("a").last_error.as_deref(), Some("hung: blocked its thread for 200ms"));
    assert_eq!(within(a.port::<Count>().ask(Count)).await, Ok(1));
    assert_eq!(bed.node("b").restarts, 0);
    // What comes back is fenced: it knows, and changes nothing.
    diary.take();
    release.send(()).unwrap();
    while bed.tree().counts().0 > 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(diary.take(), ["a released, current: false"]);
    bed.stop(1).await;
}

/// In one test, because the counter of blocking calls is that of the process.
#[tokio::test]
async fn what_blocks_an_arbiter_is_replaced_and_counted() {
    let before = jobbie_store::blocking::calls();
    jobbie_store::blocking::may_block("a test");
    assert_eq!(jobbie_store::blocking::calls(), before, "this thread may block");
    let (a, diary) = (slot(), Diary::default());
    let planted = custom("a", &a, &diary, |puppet| {
        if puppet.epoch.number() == 1 {
            jobbie_store::blocking::may_block("a test");
        }
    });
    let bed =
        TestBed::start_watched(group("root", 1).child(planted.hang_limit(Duration::from_millis(200)))).await;
    assert_eq!(jobbie_store::blocking::calls(), before + 1);

    bed.tree().hang("a", secs(2)).unwrap();
    bed.restarted("a", 1).await;
    assert!(bed.tree().hang("nobody", secs(1)).is_err());
    assert!(bed.tree().hang("", secs(1)).is_err(), "a supervisor has no thread of its own");
    assert_eq!(jobbie_store::blocking::calls(), before + 2);
    // A turn is counted when it ends, be its thread condemned or not.
    let stalled = async {
        loop {
            match bed.tree().stalls().first() {
                Some((family, stalled)) if stalled.turns > 0 => return (*family, *stalled),
                _ => tokio::task::yield_now().await,
            }
        }
    };
    let (family, stalled) = within(stalled).await;
    assert_eq!((family, stalled.turns), ("main", 1));
    assert!(stalled.time >= secs(2), "{stalled:?}");
    while bed.tree().counts().0 > 1 {
        tokio::task::yield_now().await;
    }
    bed.stop(1).await;
}
