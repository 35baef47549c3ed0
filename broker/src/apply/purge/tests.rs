// SPDX-License-Identifier: Apache-2.0
use crate::apply::testing::*;
use crate::command::*;
use crate::job::{Due, JobSpec};
use crate::reply::Swept;
use crate::state::StateKind;
use crate::tables::Tables;
use crate::tables::schema::UniqueKeys;
use crate::time::Timestamp;
use crate::unique::Unique;

fn purge(finished_before: Timestamp, limit: u32) -> Purge {
    Purge { queue: "q".into(), finished_before, limit, keep: u64::MAX }
}

/// Completes, kills and cancels `n` jobs each.
fn finish(bed: &mut Bed, n: usize) {
    for _ in 0..n {
        bed.enqueue(spec("q"));
        let lease = claim(&bed.fetch_one("q"));
        bed.run(ack(lease));
        bed.enqueue(spec("q"));
        let lease = claim(&bed.fetch_one("q"));
        bed.run(Fail { items: vec![FailItem { retry: false, ..fail_item(lease) }] });
        let job = bed.enqueue(spec("q"));
        bed.granted(Cancel { job: job_ref(&job) });
    }
}

#[test]
fn finished_jobs_go_when_they_finished_before_that_time() {
    let mut bed = Bed::new();
    finish(&mut bed, 2);
    bed.wait(secs(10));
    let middle = bed.now;
    finish(&mut bed, 1);
    let waiting = bed.enqueue(spec("q"));
    assert_eq!(bed.swept(purge(middle, 100)), Swept { done: 6, more: false });
    assert_eq!(bed.news(), [] as [&str; 0], "retention is no news");
    let queue = bed.queue("q").unwrap();
    let left = [StateKind::Completed, StateKind::Dead, StateKind::Cancelled].map(|kind| queue.count(kind));
    assert_eq!((left, queue.sweep), ([1, 1, 1], None));
    assert_eq!(bed.swept(purge(middle, 100)), Swept::default());
    assert_eq!(bed.swept(purge(Timestamp::MAX, 100)), Swept { done: 3, more: false });
    assert_eq!(bed.state(&waiting), StateKind::Pending);
}

#[test]
fn a_round_goes_on_where_the_last_step_stopped() {
    let mut bed = Bed::new();
    finish(&mut bed, 3);
    bed.wait(secs(1));
    let mut done = 0;
    let mut steps = 0;
    loop {
        let swept = bed.swept(purge(bed.now, 2));
        assert!(swept.done <= 2);
        done += swept.done;
        steps += 1;
        if !swept.more {
            break;
        }
    }
    assert_eq!((done, steps), (9, 5));
}

#[test]
fn a_holder_of_a_unique_key_stays_until_its_period_is_over() {
    let mut bed = Bed::new();
    for (key, period) in [("a", 100), ("b", 100), ("c", 5)] {
        let mut spec = spec("q");
        spec.options.unique = Some(Unique { key: key.into(), period: secs(period) });
        bed.enqueue(spec);
        let lease = claim(&bed.fetch_one("q"));
        bed.run(ack(lease));
    }
    bed.wait(secs(10));
    // Two are skipped; a step of one row at a time gets past them all the same.
    let mut done = 0;
    for _ in 0..9 {
        let swept = bed.swept(purge(bed.now, 1));
        done += swept.done;
        if !swept.more {
            break;
        }
    }
    assert_eq!((done, bed.queue("q").unwrap().count(StateKind::Completed)), (1, 2));
    bed.wait(secs(90));
    assert_eq!(bed.swept(purge(bed.now, 10)), Swept { done: 2, more: false });
    assert_eq!(bed.tables.scan::<UniqueKeys>(&[], None, 9).unwrap(), []);
}

#[test]
fn a_lapsed_key_that_somebody_else_took_stays_theirs() {
    let mut bed = Bed::new();
    let mut unique = spec("q");
    unique.options.unique = Some(Unique { key: "k".into(), period: secs(5) });
    bed.enqueue(unique.clone());
    let lease = claim(&bed.fetch_one("q"));
    bed.run(ack(lease));
    bed.wait(secs(5));
    let second = bed.enqueue(unique.clone());
    bed.wait(secs(1));
    assert_eq!(bed.swept(purge(bed.now, 10)).done, 1);
    assert_eq!(bed.enqueue(unique).job, second.job);
}

#[test]
fn an_unknown_queue_has_nothing_to_purge() {
    let mut bed = Bed::new();
    assert_eq!(bed.swept(purge(Timestamp::MAX, 10)), Swept::default());
    assert_eq!(bed.queue("q"), None);
}

#[test]
fn waiting_jobs_are_none_of_its_business() {
    let mut bed = Bed::new();
    bed.enqueue_n("q", 3);
    bed.enqueue(JobSpec { due: Due::After(secs(9)), ..spec("q") });
    bed.fetch_one("q");
    assert_eq!(bed.swept(purge(Timestamp::MAX, 10)), Swept::default());
    assert_eq!(bed.queue("q").unwrap().total(), 4);
}

fn keep(keep: u64, limit: u32) -> Purge {
    Purge { keep, ..purge(Timestamp(0), limit) }
}

#[test]
fn of_each_state_only_the_newest_stay() {
    let mut bed = Bed::new();
    for _ in 0..4 {
        finish(&mut bed, 1);
        bed.wait(secs(1));
    }
    let newest = bed.enqueue(spec("q"));
    let lease = claim(&bed.fetch_one("q"));
    bed.run(ack(lease));
    let waiting = bed.enqueue_n("q", 5);
    assert_eq!(bed.swept(keep(4, 100)), Swept { done: 1, more: false });
    assert_eq!(bed.swept(keep(1, 100)), Swept { done: 9, more: false });
    let queue = bed.queue("q").unwrap();
    let left = [StateKind::Completed, StateKind::Dead, StateKind::Cancelled].map(|kind| queue.count(kind));
    assert_eq!((left, queue.sweep), ([1, 1, 1], None));
    assert!(bed.exists(&newest) && waiting.iter().all(|job| bed.exists(job)), "what has not run stays");
    assert_eq!(bed.swept(keep(0, 100)), Swept { done: 3, more: false });
    assert_eq!(bed.news(), [] as [&str; 0], "retention is no news");
}

/// A batch of acks finishes all its jobs in the same millisecond.
#[test]
fn what_is_over_the_number_goes_even_if_all_finished_in_one_moment() {
    let mut bed = Bed::new();
    let jobs = bed.enqueue_n("q", 7);
    for _ in 0..7 {
        let lease = claim(&bed.fetch_one("q"));
        bed.run(ack(lease));
    }
    let mut steps = 0;
    while bed.swept(keep(3, 2)).more {
        steps += 1;
        assert!(steps < 10, "a round ends");
    }
    let there: Vec<bool> = jobs.iter().map(|job| bed.exists(job)).collect();
    assert_eq!(
        there,
        [false, false, false, false, true, true, true],
        "the ones that finished first are gone"
    );
}

#[test]
fn a_holder_of_a_unique_key_counts_and_stays() {
    let mut bed = Bed::new();
    let unique = Some(Unique { key: "k".into(), period: secs(100) });
    let mut holder = spec("q");
    holder.options.unique = unique;
    let holder = bed.enqueue(holder);
    let lease = claim(&bed.fetch_one("q"));
    bed.run(ack(lease));
    bed.wait(secs(1));
    let other = bed.enqueue(spec("q"));
    let lease = claim(&bed.fetch_one("q"));
    bed.run(ack(lease));
    assert_eq!(bed.swept(keep(1, 10)), Swept { done: 1, more: false });
    assert!(bed.exists(&holder) && !bed.exists(&other));
    assert_eq!(bed.swept(keep(0, 10)), Swept { done: 0, more: false });
    bed.wait(secs(100));
    assert_eq!(bed.swept(keep(0, 10)), Swept { done: 1, more: false });
}
