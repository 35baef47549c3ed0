// SPDX-License-Identifier: Apache-2.0
//! What the scheduler does when its alarm rings: bounded commands, a few of each kind in a round, until nothing
//! is due.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jobbie_broker::command::{Command, ForgetRequests, Promote, Purge, Reclaim, Renew, TermStarted};
use jobbie_broker::lease::MIN_LENGTH;
use jobbie_broker::reply::Swept;
use jobbie_broker::{JobNo, LeaseToken, Millis, Queue, QueueKey, Reply, StateKind, Submission, Timestamp};
use jobbie_store::query::DueLease;

use super::actor::{Beats, SchedulerParts};
use crate::ports::{Caller, PortError, read};
use crate::raft_node::Leadership;
use crate::supervise::Epoch;

/// Jobs that one command of upkeep deals with: a few milliseconds of applying, so that it delays nobody.
const LIMIT: u32 = 500;
/// Looked at even if nothing rings: retention, and whatever was forgotten.
const IDLE: Millis = Millis::from_secs(30);
/// How long a queue is left alone in which nothing can be removed although it is past its retention.
const QUIET: Millis = Millis::from_secs(600);
/// After a round that failed.
const AGAIN: Duration = Duration::from_millis(200);

/// Commands of one kind in one round: what is left waits for the next round, which follows at once, so that no
/// kind of upkeep holds up the others.
const STEPS: usize = 8;

/// Runs rounds for ever, while this node leads.
pub(super) async fn rounds(epoch: Epoch, parts: SchedulerParts, beats: Beats) {
    let mut leading = parts.leadership.clone();
    let mut watch = Watch {
        epoch,
        parts,
        beats,
        expire_at: Timestamp(0),
        leases_at: Timestamp(0),
        removed: HashMap::new(),
    };
    loop {
        let Ok(leadership) = leading.wait_for(|leadership| leadership.leads).await.map(|l| *l) else {
            return;
        };
        let result = if watch.beats.watches(leadership) {
            tokio::select! {
                () = watch.parts.alarm.rung(&watch.parts.clock) => {}
                _ = leading.changed() => continue,
            }
            watch.round().await
        } else {
            watch.begin(leadership).await
        };
        match result {
            Ok(next) => watch.parts.alarm.no_later_than(next),
            Err(error) => {
                tracing::warn!(%error, "a round of the scheduler failed and is repeated");
                tokio::time::sleep(AGAIN).await;
                watch.parts.alarm.now();
            }
        }
    }
}

/// One scheduler's watch.
struct Watch {
    epoch: Epoch,
    parts: SchedulerParts,
    beats: Beats,
    /// When to look for jobs past their retention.
    expire_at: Timestamp,
    /// Not before that time leases are looked at: those whose rows end but that go on were seen.
    leases_at: Timestamp,
    /// What the present round of a purge has removed by retention, and since when it found nothing to remove.
    removed: HashMap<QueueKey, Removed>,
}

/// How the purge of a queue goes.
#[derive(Clone, Copy, Default)]
struct Removed {
    /// In the present round.
    jobs: u64,
    /// Not before that time again: the last round found only holders of unique keys.
    not_before: Timestamp,
}

impl Watch {
    /// No lease may end before its full length under this watch: signs of life that the last scheduler had
    /// only in memory are given back. From then on signs of life are answered.
    async fn begin(&mut self, leadership: Leadership) -> Result<Timestamp, PortError> {
        self.upkeep(None, TermStarted {}.into()).await?;
        self.beats.watch(leadership);
        Ok(self.now())
    }

    fn now(&self) -> Timestamp {
        self.parts.clock.now()
    }

    /// One round; answers when to look next.
    async fn round(&mut self) -> Result<Timestamp, PortError> {
        let mut more = self.promote().await?;
        more |= self.leases().await?;
        let expire = self.expire_at <= self.now();
        if self.parts.alarm.take_queues() || expire {
            let left = self.purge(expire).await?;
            if left {
                self.parts.alarm.look_at_queues();
            }
            if expire && !left {
                self.expire_at = self.now().after(IDLE);
                self.parts.rates.forget_idle(self.now());
            }
            more |= left;
        }
        more |= self.forget().await?;
        if more {
            return Ok(self.now());
        }
        let (timer, lease) =
            read(&self.parts.reader, |reader| Ok((reader.first_due()?, reader.first_lease_due()?))).await?;
        let lease = lease.map(|at| at.max(self.leases_at));
        let next = [timer, lease, self.beats.next_save()].into_iter().flatten().min();
        Ok(next.unwrap_or(Timestamp::MAX).min(self.expire_at))
    }

    /// Timers that are due; true if some are left.
    async fn promote(&self) -> Result<bool, PortError> {
        for _ in 0..STEPS {
            let first = read(&self.parts.reader, |reader| reader.first_due()).await?;
            if first.is_none_or(|at| at > self.now()) {
                return Ok(false);
            }
            self.upkeep(None, Promote { limit: LIMIT }.into()).await?;
        }
        Ok(true)
    }

    /// Leases that end, and signs of life to be saved; true if some are left.
    async fn leases(&mut self) -> Result<bool, PortError> {
        let scan = self.leases_at <= self.now();
        let mut after = None;
        loop {
            let now = self.now();
            let mut page: Vec<DueLease> = Vec::new();
            if scan {
                let ask = move |reader: &jobbie_store::Reader| reader.leases_due(now, after, LIMIT as usize);
                page = read(&self.parts.reader, ask).await?;
            }
            let over = |lease: &&DueLease| lease.ends_at <= now;
            let due: Vec<(JobNo, LeaseToken)> =
                page.iter().filter(over).map(|lease| (lease.job, lease.token)).collect();
            let ending = self.beats.close(&due, now);
            if !ending.is_empty() {
                let reclaimed = self.upkeep(None, Reclaim { leases: ending.clone() }.into()).await;
                self.beats.closed(&ending, self.now());
                reclaimed?;
            }
            let renewals = self.beats.unsaved(&due, now, LIMIT as usize);
            if !renewals.is_empty() {
                self.upkeep(None, Renew { items: renewals.clone() }.into()).await?;
                self.beats.saved(&renewals);
            }
            // A lease that goes on by `TermStarted` stays due by its row: it is looked at again after a second,
            // the shortest lease there is.
            if due.len() < page.len() {
                self.leases_at = now.after(MIN_LENGTH);
            }
            match page.last() {
                Some(last) if page.len() == LIMIT as usize => after = Some(last.key()),
                _ => return Ok(renewals.len() == LIMIT as usize),
            }
        }
    }

    /// One step for each queue that was cleared or deleted, and, if it is time, that has finished jobs past
    /// their retention; true if something is left.
    async fn purge(&mut self, expire: bool) -> Result<bool, PortError> {
        let queues = self.parts.reader.all_queues();
        let mut due: Vec<QueueKey> =
            queues.iter().filter(|(_, queue)| queue.wants_purge()).map(|(key, _)| key.clone()).collect();
        let mut finished_before = Timestamp(0);
        let keep = self.parts.retention_count.filter(|_| expire).unwrap_or(u64::MAX);
        if expire {
            if let Some(span) = self.parts.retention {
                finished_before = Timestamp(self.now().0.saturating_sub(span.0));
            }
            let now = self.now();
            self.removed.retain(|_, removed| removed.jobs > 0 || removed.not_before > now);
            let quiet =
                |key: &QueueKey| self.removed.get(key).is_some_and(|removed| removed.not_before > now);
            let queues = queues.into_iter().filter(|(key, queue)| !queue.wants_purge() && !quiet(key));
            due.extend(expired(&self.parts, queues.collect(), finished_before, keep).await?);
        }
        let mut left = false;
        for key in due {
            let purge = Purge { queue: key.queue.clone(), finished_before, limit: LIMIT, keep };
            let swept = self.upkeep(Some(&key), purge.into()).await?;
            left |= swept.more;
            self.note(key, swept);
        }
        Ok(left)
    }

    /// A round that has looked at everything and removed nothing is not repeated at once: what it found are
    /// holders of unique keys, which time alone removes.
    fn note(&mut self, key: QueueKey, swept: Swept) {
        let removed = self.removed.get(&key).map_or(0, |removed| removed.jobs) + u64::from(swept.done);
        let round = match (swept.more, removed) {
            (true, jobs) => Removed { jobs, ..Removed::default() },
            (false, 0) => Removed { jobs: 0, not_before: self.now().after(QUIET) },
            (false, _) => Removed::default(),
        };
        self.removed.insert(key, round);
    }

    /// Remembered calls whose time has passed; true if some are left.
    async fn forget(&self) -> Result<bool, PortError> {
        let now = self.now();
        if !read(&self.parts.reader, move |reader| reader.forget_due(now)).await? {
            return Ok(false);
        }
        Ok(self.upkeep(None, ForgetRequests { limit: LIMIT }.into()).await?.more)
    }

    /// Proposes a command of upkeep.
    async fn upkeep(&self, queue: Option<&QueueKey>, command: Command) -> Result<Swept, PortError> {
        // After a hang another scheduler is at work; the rules would sort it out, at the price of its entries.
        if !self.epoch.is_current() {
            return Err(PortError::unavailable("the scheduler"));
        }
        let Caller { by, namespace, scope, lane } = Caller::broker();
        let namespace = queue.map_or(namespace, |key| key.namespace.clone());
        match self.parts.proposer.propose(lane, Submission { by, namespace, scope, command }).await?.reply {
            Reply::Swept(swept) => Ok(swept),
            other => Err(PortError::Fault(format!("upkeep was answered with {other:?}"))),
        }
    }
}

/// The queues that have jobs past their retention, by time or by number.
async fn expired(
    parts: &SchedulerParts,
    queues: Vec<(QueueKey, Arc<Queue>)>,
    before: Timestamp,
    keep: u64,
) -> Result<Vec<QueueKey>, PortError> {
    read(&parts.reader, move |reader| {
        let mut found = Vec::new();
        for (key, queue) in queues {
            let finished: u64 = StateKind::TERMINAL.iter().map(|kind| queue.count(*kind)).sum();
            let surplus = StateKind::TERMINAL.iter().any(|kind| queue.count(*kind) > keep);
            if surplus || (finished > 0 && reader.finished_before(&key, before)?) {
                found.push(key);
            }
        }
        Ok(found)
    })
    .await
}
