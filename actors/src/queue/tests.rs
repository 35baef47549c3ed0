// SPDX-License-Identifier: Apache-2.0
//! What a queue may hand out, as far as its row says. Who waits there is tested on whole nodes, in
//! `actors/tests/hand_off.rs`.

use jobbie_broker::command::Enqueue;
use jobbie_broker::job::{Due, JobSpec};
use jobbie_broker::throttle::Throttle;
use jobbie_broker::{Json, Millis, Queue, QueueKey, Scope, StateKind, Submission, Timestamp};

use super::directory::enqueued;
use super::line::{may_hand_off, startable};

const NOW: Timestamp = Timestamp(1_000_000);

fn queue(pending: u64) -> Queue {
    let mut queue = Queue::default();
    queue.counts[StateKind::Pending as usize] = pending;
    queue
}

/// Else every waiter is woken for the few jobs that a throttle lets through.
#[test]
fn a_throttle_wakes_no_more_than_it_admits() {
    let throttled =
        Queue { throttle: Some(Throttle { count: 10, period: Millis(1000) }), ..queue(1_000_000) };
    assert_eq!(startable(Some(&throttled), 0, NOW), (10, Some(Timestamp(1_000_100))));
    let few = Queue { throttle: throttled.throttle, ..queue(3) };
    assert_eq!(startable(Some(&few), 0, NOW), (3, None));
    let narrow = Queue { concurrency: Some(4), ..throttled };
    assert_eq!(startable(Some(&narrow), 0, NOW), (4, None));
}

#[test]
fn jobs_that_are_coming_count_as_if_they_were_there() {
    assert_eq!(startable(None, 3, NOW), (3, None), "their queue is made with them");
    assert_eq!(startable(Some(&queue(2)), 3, NOW), (5, None));
    let paused = Queue { paused_at: Some(NOW), ..queue(2) };
    assert_eq!(startable(Some(&paused), 3, NOW), (0, None));
}

#[test]
fn a_queue_with_limits_hands_nothing_off() {
    assert!(may_hand_off(None) && may_hand_off(Some(&queue(0))));
    for blocked in [
        Queue { paused_at: Some(NOW), ..queue(0) },
        Queue { deleting: true, ..queue(0) },
        Queue { concurrency: Some(4), ..queue(0) },
        Queue { throttle: Some(Throttle { count: 10, period: Millis(1000) }), ..queue(0) },
    ] {
        assert!(!may_hand_off(Some(&blocked)), "{blocked:?}");
    }
}

#[test]
fn what_is_enqueued_for_now_is_counted_by_queue() {
    let job = |queue: &str, due| JobSpec { due, ..JobSpec::new(queue, Json::null()) };
    let submission = |jobs| Submission {
        by: "anonymous".into(),
        namespace: "default".into(),
        scope: Scope::ALL,
        command: Enqueue { jobs, request: None }.into(),
    };
    let later = Due::After(Millis(1));
    let submissions = [
        submission(vec![job("a", Due::Now), job("a", later), job("a", Due::Now), job("b", Due::Now)]),
        submission(vec![job("c", later)]),
        submission(vec![job("a", Due::Now)]),
    ];
    let key = |queue: &str| QueueKey::new(&"default".into(), &queue.into());
    let counted: Vec<_> = enqueued(&submissions).into_iter().collect();
    assert_eq!(counted, [(key("a"), 3), (key("b"), 1)]);
}
