// SPDX-License-Identifier: Apache-2.0
//! The scheduler actor.
//!
//! It caches the signs of life that have not gone into the log yet. It wakes up when its alarm rings. When
//! it dies, the next one proposes `TermStarted`, which gives every lease its full length again: a sign of
//! life that was only in memory costs a worker nothing.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use actix::fut::wrap_future;
use actix::{Actor, AsyncContext, Context, Handler, MessageResult};
use jobbie_broker::command::Renewal;
use jobbie_broker::job::Progress;
use jobbie_broker::{JobNo, LeaseToken, Millis, Timestamp};
use jobbie_store::Reader;
use tokio::sync::watch;

use super::alarm::Alarm;
use super::messages::{Beat, Heard};
use super::round;
use crate::clock::Clock;
use crate::dispatch::rates::Rates;
use crate::raft_node::Leadership;
use crate::raft_node::proposer::Proposer;
use crate::supervise::Epoch;

/// What the scheduler works with.
#[derive(Clone)]
pub struct SchedulerParts {
    /// The time now.
    pub clock: Clock,
    /// The applied state.
    pub reader: Reader,
    /// The way into the log.
    pub proposer: Proposer,
    /// When to look next.
    pub alarm: Arc<Alarm>,
    /// Whether this node leads.
    pub leadership: watch::Receiver<Leadership>,
    /// Finished jobs are removed after this long; `None` keeps them.
    pub retention: Option<Millis>,
    /// Of each queue's jobs in each terminal state that many stay; `None` keeps all.
    pub retention_count: Option<u64>,
    /// Tidied on the way.
    pub rates: Arc<Rates>,
}

/// The scheduler actor.
pub struct Scheduler {
    epoch: Epoch,
    parts: SchedulerParts,
    beats: Beats,
}

impl Scheduler {
    /// A scheduler that has heard nothing yet.
    #[must_use]
    pub fn new(epoch: Epoch, parts: SchedulerParts) -> Self {
        Self { epoch, parts, beats: Beats::default() }
    }
}

impl Actor for Scheduler {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.parts.alarm.now();
        ctx.spawn(wrap_future(round::rounds(self.epoch.clone(), self.parts.clone(), self.beats.clone())));
    }
}

impl Handler<Beat> for Scheduler {
    type Result = MessageResult<Beat>;

    fn handle(&mut self, beat: Beat, _: &mut Self::Context) -> Self::Result {
        if !self.beats.watches(*self.parts.leadership.borrow()) {
            return MessageResult(None);
        }
        let now = self.parts.clock.now();
        let mut book = self.beats.lock();
        let heard = beat.items.into_iter().map(|item| {
            let known = book.heard.get(&item.job).map(|(heard, _)| heard.token.delivery);
            if book.is_closing(item.job, item.token) || known > Some(item.token.delivery) {
                return Heard::Late;
            }
            self.parts.alarm.no_later_than(now.after(third(item.length)));
            let news =
                HeardLease { token: item.token, length: item.length, heard_at: now, progress: item.progress };
            match book.heard.get_mut(&item.job).filter(|(old, _)| old.token == news.token) {
                // The first unsaved sign of life decides when they are saved.
                Some((old, _)) => {
                    let progress = news.progress.or_else(|| old.progress.take());
                    *old = HeardLease { progress, ..news };
                }
                None => {
                    book.heard.insert(item.job, (news, now));
                }
            }
            Heard::Until(now.after(item.length))
        });
        MessageResult(Some(heard.collect()))
    }
}

/// How long an ended lease is remembered: longer than a sign of life takes from its check to here.
const REMEMBERED: Millis = Millis::from_secs(5);

/// A third of a lease: how long a sign of life may stay in memory only.
pub(super) const fn third(length: Millis) -> Millis {
    Millis(length.0 / 3)
}

/// A sign of life that is not in the log yet.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct HeardLease {
    pub token: LeaseToken,
    pub length: Millis,
    pub heard_at: Timestamp,
    pub progress: Option<Progress>,
}

/// What the scheduler has heard and what it is about to end; shared between its handler and its rounds.
#[derive(Clone, Default)]
pub(super) struct Beats {
    book: Arc<Mutex<Book>>,
}

#[derive(Default)]
pub(super) struct Book {
    /// By job: the latest sign of life, and when the first one after the last `Renew` came.
    heard: HashMap<JobNo, (HeardLease, Timestamp)>,
    /// Leases whose end is being proposed, or was decided at that time: a sign of life that was checked
    /// before it comes too late.
    closing: HashMap<JobNo, (LeaseToken, Option<Timestamp>)>,
    /// The leadership under which `TermStarted` was applied: before it nothing is promised.
    watch: Option<Leadership>,
}

impl Book {
    fn is_closing(&self, job: JobNo, token: LeaseToken) -> bool {
        self.closing.get(&job).is_some_and(|(closing, _)| *closing == token)
    }
}

impl Beats {
    fn lock(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on signs of life are answered, as long as this leadership lasts.
    pub(super) fn watch(&self, leadership: Leadership) {
        self.lock().watch = Some(leadership);
    }

    /// True if `TermStarted` was applied under this leadership.
    pub(super) fn watches(&self, leadership: Leadership) -> bool {
        leadership.leads && self.lock().watch == Some(leadership)
    }

    /// Splits leases that end by their rows into those that live on by what was heard and those that end.
    /// From here on the latter accept no sign of life.
    pub(super) fn close(&self, due: &[(JobNo, LeaseToken)], now: Timestamp) -> Vec<(JobNo, LeaseToken)> {
        let mut book = self.lock();
        let ending: Vec<_> = due
            .iter()
            .filter(|(job, token)| {
                !book.heard.get(job).is_some_and(|(heard, _)| {
                    heard.token == *token && heard.heard_at.after(heard.length) > now
                })
            })
            .copied()
            .collect();
        book.closing.retain(|_, (_, decided)| decided.is_none_or(|at| at.after(REMEMBERED) > now));
        book.closing.extend(ending.iter().map(|(job, token)| (*job, (*token, None))));
        ending
    }

    /// The ends have been decided.
    pub(super) fn closed(&self, ended: &[(JobNo, LeaseToken)], now: Timestamp) {
        let mut book = self.lock();
        for (job, token) in ended {
            book.closing.insert(*job, (*token, Some(now)));
            if book.heard.get(job).is_some_and(|(heard, _)| heard.token == *token) {
                book.heard.remove(job);
            }
        }
    }

    /// Up to `limit` signs of life that have been in memory for a third of their lease, or whose lease ends
    /// by its row.
    pub(super) fn unsaved(&self, due: &[(JobNo, LeaseToken)], now: Timestamp, limit: usize) -> Vec<Renewal> {
        let ending: HashSet<JobNo> = due.iter().map(|(job, _)| *job).collect();
        let book = self.lock();
        let row_ends = |job: &JobNo| ending.contains(job);
        let mut unsaved: Vec<Renewal> = book
            .heard
            .iter()
            .filter(|(job, (heard, since))| since.after(third(heard.length)) <= now || row_ends(job))
            .map(|(job, (heard, _))| Renewal {
                job: *job,
                token: heard.token,
                heard_at: heard.heard_at,
                progress: heard.progress.clone(),
            })
            .take(limit)
            .collect();
        unsaved.sort_by_key(|renewal| renewal.job);
        unsaved
    }

    /// These are in the log now.
    pub(super) fn saved(&self, renewals: &[Renewal]) {
        let mut book = self.lock();
        for renewal in renewals {
            let unchanged = |(heard, _): &&mut (HeardLease, Timestamp)| heard.token == renewal.token;
            if let Some((heard, since)) = book.heard.get_mut(&renewal.job).filter(unchanged) {
                if heard.heard_at == renewal.heard_at {
                    book.heard.remove(&renewal.job);
                } else {
                    *since = heard.heard_at;
                }
            }
        }
    }

    /// When the next sign of life must be saved.
    pub(super) fn next_save(&self) -> Option<Timestamp> {
        self.lock().heard.values().map(|(heard, since)| since.after(third(heard.length))).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beats_with(heard_at: u64) -> (Beats, JobNo, LeaseToken) {
        let beats = Beats::default();
        let (job, token) = (JobNo(1), LeaseToken { delivery: 1, salt: 7 });
        let heard = HeardLease { token, length: Millis(3000), heard_at: Timestamp(heard_at), progress: None };
        beats.lock().heard.insert(job, (heard, Timestamp(heard_at)));
        (beats, job, token)
    }

    #[test]
    fn a_lease_that_was_heard_of_is_not_closed_until_its_length_is_over() {
        let (beats, job, token) = beats_with(1000);
        assert_eq!(beats.close(&[(job, token)], Timestamp(3999)), vec![]);
        assert_eq!(beats.close(&[(job, token)], Timestamp(4000)), vec![(job, token)]);
        let other = LeaseToken { delivery: 2, salt: 9 };
        assert_eq!(beats.close(&[(job, other)], Timestamp(1001)), vec![(job, other)], "another lease");
    }

    #[test]
    fn a_lease_whose_end_was_decided_is_not_promised_again() {
        let (beats, job, token) = beats_with(1000);
        let ending = beats.close(&[(job, token)], Timestamp(4000));
        assert!(beats.lock().is_closing(job, token), "while it is decided");
        beats.closed(&ending, Timestamp(4001));
        assert!(beats.lock().is_closing(job, token), "and for what was checked before it");
        assert!(beats.close(&[], Timestamp(4001 + REMEMBERED.0)).is_empty());
        assert!(!beats.lock().is_closing(job, token), "but not for ever");
    }

    #[test]
    fn nothing_is_promised_before_the_watch_began_or_after_it_ended() {
        let beats = Beats::default();
        let leads = Leadership { term: 3, leader: Some(1), leads: true };
        assert!(!beats.watches(leads));
        beats.watch(leads);
        assert!(beats.watches(leads));
        assert!(!beats.watches(Leadership { leads: false, ..leads }));
        assert!(!beats.watches(Leadership { term: 4, ..leads }));
    }

    #[test]
    fn a_sign_of_life_is_saved_after_a_third_of_the_lease_or_when_the_row_ends() {
        let (beats, job, token) = beats_with(1000);
        assert!(beats.unsaved(&[], Timestamp(1999), 10).is_empty());
        assert_eq!(beats.unsaved(&[(job, token)], Timestamp(1001), 10).len(), 1);
        let renewals = beats.unsaved(&[], Timestamp(2000), 10);
        assert_eq!(renewals.len(), 1);
        beats.saved(&renewals);
        assert_eq!(beats.next_save(), None);
    }

    #[test]
    fn a_sign_of_life_that_comes_while_an_older_one_is_saved_stays() {
        let (beats, job, _) = beats_with(1000);
        let renewals = beats.unsaved(&[], Timestamp(2000), 10);
        beats.lock().heard.get_mut(&job).unwrap().0.heard_at = Timestamp(2001);
        beats.saved(&renewals);
        assert_eq!(beats.next_save(), Some(Timestamp(3001)));
    }
}
