// SPDX-License-Identifier: Apache-2.0
use crate::apply::testing::*;
use crate::command::*;
use crate::reject::Code;
use crate::throttle::{Arrival, Throttle};
use crate::time::Millis;

#[test]
fn settings_are_kept_and_told_once() {
    let mut bed = Bed::new();
    bed.set("q", QueueSetting::Pause);
    assert_eq!(bed.news(), ["queue.created", "queue.paused"]);
    let paused_at = bed.queue("q").unwrap().paused_at;
    assert_eq!(paused_at, Some(bed.now));
    bed.wait(secs(1));
    bed.set("q", QueueSetting::Pause);
    assert_eq!((bed.news().len(), bed.queue("q").unwrap().paused_at), (0, paused_at));
    bed.set("q", QueueSetting::Drain);
    assert_eq!(bed.news(), ["queue.draining"]);
    bed.set("q", QueueSetting::Resume);
    assert_eq!(bed.news(), ["queue.resumed"]);
    let queue = bed.queue("q").unwrap();
    assert_eq!((queue.paused_at, queue.draining_at), (None, None));
    bed.set("q", QueueSetting::Resume);
    assert_eq!(bed.news(), [] as [&str; 0]);
    bed.set("q", QueueSetting::Concurrency(Some(3)));
    assert_eq!((bed.news(), bed.queue("q").unwrap().concurrency), (vec!["queue.limited"], Some(3)));
}

#[test]
fn a_draining_queue_refuses_new_jobs_and_finishes_its_own() {
    let mut bed = Bed::new();
    bed.enqueue(spec("q"));
    bed.set("q", QueueSetting::Drain);
    assert_eq!(bed.refused(enqueue([spec("q")])), Code::QueueDraining);
    let lease = claim(&bed.fetch_one("q"));
    bed.failed(fail(lease));
    bed.wait(secs(5));
    bed.promote();
    let lease = claim(&bed.fetch_one("q"));
    bed.run(ack(lease));
}

#[test]
fn a_new_rate_does_not_wait_for_the_old_one() {
    let mut bed = Bed::new();
    bed.enqueue_n("q", 2);
    let hourly = Throttle { count: 1, period: secs(3600) };
    bed.set("q", QueueSetting::Throttle(Some(hourly)));
    bed.fetch_one("q");
    assert_eq!(bed.fetched(fetch("q", 1)), []);
    let arrival = bed.queue("q").unwrap().arrival;
    bed.set("q", QueueSetting::Throttle(Some(hourly)));
    assert_eq!(bed.queue("q").unwrap().arrival, arrival, "the same rate again counts on");
    bed.set("q", QueueSetting::Throttle(Some(Throttle { count: 10, period: Millis(1000) })));
    assert_eq!(bed.queue("q").unwrap().arrival, Arrival::default());
    bed.fetch_one("q");
}
