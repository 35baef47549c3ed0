// SPDX-License-Identifier: Apache-2.0
//! The jobs that are out on one stream, in the order in which they went.

use std::collections::{HashMap, VecDeque, hash_map};

use jobbie_broker::command::{HeartbeatItem, LeaseRef};
use jobbie_broker::event::JobEvent;
use jobbie_broker::reply::LeasedJob;
use jobbie_broker::state::Reason;
use jobbie_broker::{Change, Job, JobId, JobNo, JobRef, LeaseToken, StateKind};

use super::StreamNews;

/// One job that is out.
#[derive(Clone, Debug)]
struct Item {
    /// Counted up: items lie in this order.
    number: u64,
    id: JobId,
    token: LeaseToken,
    cancel_told: bool,
}

/// The jobs that are out. With a large prefetch there are a thousand of them, so no call looks at all.
#[derive(Debug, Default)]
pub(super) struct Out {
    items: VecDeque<Item>,
    /// The numbers of the items.
    numbers: HashMap<(JobNo, LeaseToken), u64>,
    next: u64,
    /// So many of the oldest run: their worker keeps them alive itself.
    running: usize,
}

impl Out {
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Adds a job, where the oldest `running` ones run; false if it carries no lease, or is out already.
    pub fn add(&mut self, leased: &LeasedJob, running: usize) -> bool {
        let Some(lease) = leased.job.state.lease() else { return false };
        let hash_map::Entry::Vacant(number) = self.numbers.entry((leased.job.no, lease.token)) else {
            return false;
        };
        let number = *number.insert(self.next);
        self.next += 1;
        // A fresh lease has its whole length, whoever keeps it alive from here on.
        if self.running == self.items.len() && self.running < running {
            self.running += 1;
        }
        self.items.push_back(Item { number, id: leased.job.id(), token: lease.token, cancel_told: false });
        true
    }

    fn place(&self, job: JobNo, token: Option<LeaseToken>) -> Option<usize> {
        let number = self.numbers.get(&(job, token?))?;
        self.items.binary_search_by_key(number, |item| item.number).ok()
    }

    /// True if the event is about a lease that is out.
    pub fn knows(&self, event: &JobEvent) -> bool {
        event.token.is_some_and(|token| self.numbers.contains_key(&(event.job.no, token)))
    }

    /// What an event means for the worker, if anything. Credit comes back here.
    pub fn heed(&mut self, event: &JobEvent) -> Option<StreamNews> {
        let place = self.place(event.job.no, event.token)?;
        if event.state == StateKind::Active {
            let tell = event.change == Change::CancelRequested && !self.items[place].cancel_told;
            self.items[place].cancel_told |= tell;
            return tell.then(|| StreamNews::Cancel(event.job.clone()));
        }
        self.remove(place);
        // The worker knows of what it has answered itself; these it must be told. It may have released the job
        // itself, then it hears of it twice.
        let lost = matches!(event.change, Change::Crashed | Change::TimedOut | Change::Released)
            || matches!(event.reason, Some(Reason::Crashed | Reason::Timeout));
        lost.then(|| StreamNews::LeaseLost(event.job.clone()))
    }

    fn remove(&mut self, place: usize) {
        if let Some(item) = self.items.remove(place) {
            self.numbers.remove(&(item.id.no, item.token));
            self.running -= usize::from(place < self.running);
        }
    }

    /// The jobs that are out.
    pub fn jobs(&self) -> Vec<JobRef> {
        self.items.iter().map(|item| JobRef::from(&item.id)).collect()
    }

    /// Compares with the rows of [`Out::jobs`], after events were lost.
    pub fn compare(&mut self, rows: &[Option<Job>]) -> Vec<StreamNews> {
        let mut news = Vec::new();
        // From the end, so that the places before stay what they are.
        for (place, row) in rows.iter().enumerate().take(self.items.len()).rev() {
            let item = &mut self.items[place];
            let holds = |job: &&Job| job.state.lease().is_some_and(|lease| lease.token == item.token);
            match row.as_ref().filter(holds) {
                None => {
                    news.push(StreamNews::LeaseLost(item.id.clone()));
                    self.remove(place);
                }
                Some(job) if job.cancel_requested_at.is_some() && !item.cancel_told => {
                    item.cancel_told = true;
                    news.push(StreamNews::Cancel(item.id.clone()));
                }
                Some(_) => {}
            }
        }
        news.reverse();
        news
    }

    /// Signs of life for the jobs that have come among the oldest `running` since this was last asked: the
    /// worker begins with them now, and has a whole lease to say so.
    pub fn begun(&mut self, running: usize) -> Vec<HeartbeatItem> {
        let begun = self.running..running.min(self.items.len()).max(self.running);
        self.running = begun.end;
        self.items.range(begun).map(|item| alive(&item.id, item.token)).collect()
    }

    /// Signs of life for the jobs beyond the oldest `running`: those have not begun.
    pub fn buffered(&self, running: usize) -> Vec<HeartbeatItem> {
        self.items.iter().skip(running).map(|item| alive(&item.id, item.token)).collect()
    }
}

/// A bare sign of life.
pub(super) fn alive(id: &JobId, token: LeaseToken) -> HeartbeatItem {
    let lease = LeaseRef { job: JobRef::from(id), token: Some(token), worker: None };
    HeartbeatItem { lease, progress: None, checkpoint: None }
}

#[cfg(test)]
mod tests;
