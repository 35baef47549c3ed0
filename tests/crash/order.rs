// SPDX-License-Identifier: Apache-2.0
//! The checks about order: of deliveries within a queue, and of the log against the clock.

use std::collections::BTreeMap;

use crate::history::{Grant, Op, Outcome, What};
use crate::oracle::Facts;

/// A job that was ready from its enqueue on, and its first delivery.
struct First<'h> {
    id: &'h str,
    enqueued: u64,
    granted: u64,
}

/// Jobs of one batch in one queue at one priority: producer, index of the enqueue, queue, priority.
type Batch<'h> = (u64, u64, &'h str, u64);
/// Place in the batch, index of the grant, id.
type Placed<'h> = (usize, u64, &'h str);

/// P12: of jobs that were ready from their enqueue on, the first deliveries come in order, and none while
/// one of higher priority waits.
pub fn fifo(facts: &mut Facts<'_>) {
    let mut queues: BTreeMap<&str, BTreeMap<u64, Vec<First<'_>>>> = BTreeMap::new();
    let mut batches: BTreeMap<Batch<'_>, Vec<Placed<'_>>> = BTreeMap::new();
    for (item, outcome) in &facts.items {
        let Some((accepted, enqueued)) = outcome.ok() else { continue };
        // Only the token of a first delivery counts from one: an earlier one may have got lost with its answer.
        let first = facts.jobs.get(accepted.id.as_str()).and_then(|job| job.grants.first());
        let is_first = |grant: &Grant| grant.token.starts_with("1.") && !grant.adopted && !grant.repeated;
        let Some((_, grant)) = first.filter(|(_, grant)| is_first(grant)) else { continue };
        if accepted.existing || accepted.repeated || !item.immediate {
            continue;
        }
        let first = First { id: &accepted.id, enqueued, granted: grant.index };
        batches.entry((item.key.producer, enqueued, &item.queue, item.priority)).or_default().push((
            item.place,
            grant.index,
            &accepted.id,
        ));
        queues.entry(&item.queue).or_default().entry(item.priority).or_default().push(first);
    }
    let mut wrong = Vec::new();
    for jobs in batches.values_mut() {
        jobs.sort_unstable();
        for pair in jobs.windows(2).filter(|pair| pair[0].1 > pair[1].1) {
            wrong.push(format!(
                "P12: within a batch {} came at {} and {}, behind it, at {}",
                pair[0].2, pair[0].1, pair[1].2, pair[1].1
            ));
        }
    }
    for (queue, priorities) in &mut queues {
        for jobs in priorities.values_mut() {
            jobs.sort_by_key(|job| (job.enqueued, job.granted));
            in_order(queue, jobs, &mut wrong);
        }
        let levels: Vec<(&u64, &Vec<First<'_>>)> = priorities.iter().collect();
        for (at, (_, low)) in levels.iter().enumerate() {
            for (_, high) in &levels[at + 1..] {
                overtaken(queue, low, high, &mut wrong);
            }
        }
    }
    facts.wrong.extend(wrong);
}

/// Sorted by enqueue: whoever was enqueued strictly earlier must not be granted strictly later.
fn in_order(queue: &str, jobs: &[First<'_>], wrong: &mut Vec<String>) {
    let mut latest: Option<&First<'_>> = None;
    let mut at = 0;
    while at < jobs.len() {
        let same = jobs[at..].iter().take_while(|job| job.enqueued == jobs[at].enqueued).count();
        let group = &jobs[at..at + same];
        if let (Some(before), Some(first)) = (latest, group.iter().min_by_key(|job| job.granted))
            && before.granted > first.granted
        {
            wrong.push(format!(
                "P12: in {queue} {} (enqueued {}) came at {}, before {} (enqueued {}) at {}",
                first.id, first.enqueued, first.granted, before.id, before.enqueued, before.granted
            ));
        }
        let last = group.iter().max_by_key(|job| job.granted);
        if latest.is_none_or(|latest| last.is_some_and(|last| last.granted > latest.granted)) {
            latest = last;
        }
        at += same;
    }
}

/// No job of the lower priority is granted while an earlier one of the higher priority waits.
fn overtaken(queue: &str, low: &[First<'_>], high: &[First<'_>], wrong: &mut Vec<String>) {
    // For each prefix by enqueue, the latest grant.
    let mut latest = Vec::with_capacity(high.len());
    for job in high {
        let before = latest.last().copied().unwrap_or(0);
        latest.push(job.granted.max(before));
    }
    for job in low {
        let ready = high.partition_point(|other| other.enqueued < job.granted);
        if ready > 0 && latest[ready - 1] > job.granted {
            let waiting = high[..ready].iter().find(|other| other.granted > job.granted);
            let waiting = waiting.map_or("", |other| other.id);
            wrong.push(format!(
                "P12: in {queue} {} came at {} while {waiting} of higher priority waited",
                job.id, job.granted
            ));
        }
    }
}

/// P14: a call that begins after another's answer was there is decided after it.
pub fn real_time(facts: &mut Facts<'_>) {
    let mut ended: Vec<(u64, u64)> = facts.ops.iter().filter_map(|op| Some((op.end, index(op)?))).collect();
    ended.sort_unstable();
    let mut begun: Vec<(u64, u64, &Op)> = facts
        .ops
        .iter()
        .filter(|op| !streamed(op))
        .filter_map(|op| Some((op.start, index(op)?, op)))
        .collect();
    begun.sort_by_key(|(start, index, _)| (*start, *index));
    let (mut at, mut highest) = (0, 0);
    for (start, index, op) in begun {
        while at < ended.len() && ended[at].0 < start {
            highest = highest.max(ended[at].1);
            at += 1;
        }
        if index < highest {
            facts.wrong.push(format!(
                "P14: decided at {index} although {highest} was answered before it began: {:?}",
                op.what
            ));
        }
    }
}

fn streamed(op: &Op) -> bool {
    matches!(&op.what, What::Grant(grant) if grant.streamed)
}

fn index(op: &Op) -> Option<u64> {
    fn of<T>(outcome: &Outcome<T>) -> Option<u64> {
        outcome.ok().map(|(_, index)| index)
    }
    match &op.what {
        // The answer of a call that was repeated with its key is the first one's, with the repeat's index;
        // its start is that of the first try, which is earlier and so asks for less.
        What::Enqueue(_, outcome) => of(outcome),
        What::Grant(grant) => Some(grant.index),
        What::Settle { outcome, .. } => of(outcome),
        What::Cancel { outcome } | What::Clone { outcome, .. } => of(outcome),
        What::Queue { outcome } => of(outcome),
        What::Read { .. } => None,
    }
}
