// SPDX-License-Identifier: Apache-2.0
//! What the scheduler does when its alarm rings: one bounded command after another until nothing is due.

use std::sync::Arc;
use std::time::Duration;

use jobbie_broker::command::{Command, ForgetRequests, Promote, Purge, Reclaim, Renew, TermStarted};
use jobbie_broker::reply::Swept;
use jobbie_broker::{JobNo, LeaseToken, Millis, Queue, QueueKey, StateKind, Submission, Timestamp};
use jobbie_store::query::DueLease;

use super::actor::{Beats, SchedulerParts};
use crate::ports::{Caller, PortError, read};

/// Jobs that one command of upkeep deals with: a few milliseconds of applying, so that it delays nobody.
const LIMIT: u32 = 500;
/// Looked at even if nothing rings: retention, and whatever was forgotten.
const IDLE: Millis = Millis::from_secs(30);
/// After a round that failed.
const AGAIN: Duration = Duration::from_millis(200);

/// Runs rounds for ever, while this node leads.
pub(super) async fn rounds(mut parts: SchedulerParts, beats: Beats) {
    let mut watched_term = None;
    let mut expire_at = Timestamp(0);
    loop {
        let Ok(leadership) = parts.leadership.wait_for(|leadership| leadership.leads).await.map(|l| *l)
        else {
            return;
        };
        let result = match watched_term == Some(leadership.term) {
            true => {
                let rung = parts.alarm.rung(&parts.clock);
                tokio::pin!(rung);
                tokio::select! {
                    () = &mut rung => {}
                    _ = parts.leadership.changed() => continue,
                }
                round(&parts, &beats, &mut expire_at).await
            }
            // No lease may end before its full length under this watch: signs of life that the last
            // scheduler had only in memory are given back.
            false => upkeep(&parts, None, TermStarted {}.into()).await.map(|_| {
                watched_term = Some(leadership.term);
                parts.clock.now()
            }),
        };
        match result {
            Ok(next) => parts.alarm.no_later_than(next),
            Err(error) => {
                tracing::warn!(%error, "a round of the scheduler failed and is repeated");
                tokio::time::sleep(AGAIN).await;
                parts.alarm.now();
            }
        }
    }
}

/// One round; answers when to look next. From `expire_at` on it also looks for jobs past their retention.
async fn round(
    parts: &SchedulerParts,
    beats: &Beats,
    expire_at: &mut Timestamp,
) -> Result<Timestamp, PortError> {
    promote(parts).await?;
    leases(parts, beats).await?;
    let expire = *expire_at <= parts.clock.now();
    purge(parts, expire).await?;
    if expire {
        *expire_at = parts.clock.now().after(IDLE);
    }
    forget(parts).await?;
    parts.rates.forget_idle(parts.clock.now());
    let (timer, lease) =
        read(&parts.reader, |reader| Ok((reader.first_due()?, reader.first_lease_due()?))).await?;
    let idle = parts.clock.now().after(IDLE);
    // A lease that goes on by `TermStarted` or by what was heard stays due by its row; it is looked at again
    // after a second, the shortest lease there is.
    let lease = lease.map(|at| at.max(parts.clock.now().after(jobbie_broker::lease::MIN_LENGTH)));
    Ok([Some(idle), timer, lease, beats.next_save()].into_iter().flatten().min().unwrap_or(idle))
}

/// Timers that are due.
async fn promote(parts: &SchedulerParts) -> Result<(), PortError> {
    while read(&parts.reader, |reader| reader.first_due()).await?.is_some_and(|at| at <= parts.clock.now()) {
        upkeep(parts, None, Promote { limit: LIMIT }.into()).await?;
    }
    Ok(())
}

/// Leases that end, and signs of life to be saved.
async fn leases(parts: &SchedulerParts, beats: &Beats) -> Result<(), PortError> {
    let mut after = None;
    loop {
        let now = parts.clock.now();
        let from = after.take();
        let page: Vec<DueLease> =
            read(&parts.reader, move |reader| reader.leases_due(now, from, LIMIT as usize)).await?;
        let due: Vec<(JobNo, LeaseToken)> =
            page.iter().filter(|lease| lease.ends_at <= now).map(|lease| (lease.job, lease.token)).collect();
        let ending = beats.close(&due, now);
        if !ending.is_empty() {
            let reclaimed = upkeep(parts, None, Reclaim { leases: ending.clone() }.into()).await;
            beats.closed(&ending);
            reclaimed?;
        }
        let renewals = beats.unsaved(&due, now, LIMIT as usize);
        if !renewals.is_empty() {
            upkeep(parts, None, Renew { items: renewals.clone() }.into()).await?;
            beats.saved(&renewals);
        }
        match page.last() {
            Some(last) if page.len() == LIMIT as usize => after = Some(last.key()),
            _ if renewals.len() == LIMIT as usize => {}
            _ => return Ok(()),
        }
    }
}

/// Jobs of cleared and deleted queues; and, if it is time to look, finished ones past their retention.
async fn purge(parts: &SchedulerParts, expire: bool) -> Result<(), PortError> {
    let queues = parts.reader.all_queues();
    let mut due: Vec<QueueKey> =
        queues.iter().filter(|(_, queue)| queue.wants_purge()).map(|(key, _)| key.clone()).collect();
    let mut finished_before = Timestamp(0);
    if let Some(span) = parts.retention.filter(|_| expire) {
        finished_before = Timestamp(parts.clock.now().0.saturating_sub(span.0));
        due.extend(expired(parts, queues, finished_before).await?);
    }
    for key in due {
        let purge = Purge { queue: key.queue.clone(), finished_before, limit: LIMIT };
        while upkeep(parts, Some(&key), purge.clone().into()).await?.more {}
    }
    Ok(())
}

/// The queues that have jobs past their retention.
async fn expired(
    parts: &SchedulerParts,
    queues: Vec<(QueueKey, Arc<Queue>)>,
    before: Timestamp,
) -> Result<Vec<QueueKey>, PortError> {
    read(&parts.reader, move |reader| {
        let mut found = Vec::new();
        for (key, queue) in queues {
            let finished: u64 = StateKind::TERMINAL.iter().map(|kind| queue.count(*kind)).sum();
            if finished > 0 && reader.finished_before(&key, before)? {
                found.push(key);
            }
        }
        Ok(found)
    })
    .await
}

/// Remembered calls whose time has passed.
async fn forget(parts: &SchedulerParts) -> Result<(), PortError> {
    let now = parts.clock.now();
    let mut more = read(&parts.reader, move |reader| reader.forget_due(now)).await?;
    while more {
        more = upkeep(parts, None, ForgetRequests { limit: LIMIT }.into()).await?.more;
    }
    Ok(())
}

async fn upkeep(
    parts: &SchedulerParts,
    queue: Option<&QueueKey>,
    command: Command,
) -> Result<Swept, PortError> {
    let Caller { by, namespace } = Caller::broker();
    let namespace = queue.map_or(namespace, |key| key.namespace.clone());
    parts.proposer.propose(Submission { by, namespace, command }).await?.expect_swept()
}
