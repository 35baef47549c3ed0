// SPDX-License-Identifier: Apache-2.0
//! The jobs that are out on one stream, in the order in which they went.

use jobbie_broker::command::{HeartbeatItem, LeaseRef};
use jobbie_broker::event::JobEvent;
use jobbie_broker::reply::LeasedJob;
use jobbie_broker::state::Reason;
use jobbie_broker::{Change, Job, JobId, JobNo, JobRef, LeaseToken, StateKind};

use super::StreamNews;

/// One job that is out.
#[derive(Clone, Debug)]
struct Item {
    id: JobId,
    token: LeaseToken,
    cancel_told: bool,
    /// Among the oldest, which the worker runs and keeps alive itself.
    running: bool,
}

/// The jobs that are out.
#[derive(Debug, Default)]
pub(super) struct Out {
    items: Vec<Item>,
}

impl Out {
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Adds a job, where the oldest `running` ones run; false if it carries no lease, or is out already.
    pub fn add(&mut self, leased: &LeasedJob, running: usize) -> bool {
        let Some(lease) = leased.job.state.lease() else { return false };
        if self.place(leased.job.no, Some(lease.token)).is_some() {
            return false;
        }
        // A fresh lease has its whole length, whoever keeps it alive from here on.
        let running = self.items.len() < running;
        self.items.push(Item { id: leased.job.id(), token: lease.token, cancel_told: false, running });
        true
    }

    fn place(&self, job: JobNo, token: Option<LeaseToken>) -> Option<usize> {
        self.items.iter().position(|item| item.id.no == job && Some(item.token) == token)
    }

    /// True if the event is about a lease that is out.
    pub fn knows(&self, event: &JobEvent) -> bool {
        self.place(event.job.no, event.token).is_some()
    }

    /// What an event means for the worker, if anything. Credit comes back here.
    pub fn heed(&mut self, event: &JobEvent) -> Option<StreamNews> {
        let place = self.place(event.job.no, event.token)?;
        if event.state == StateKind::Active {
            let tell = event.change == Change::CancelRequested && !self.items[place].cancel_told;
            self.items[place].cancel_told |= tell;
            return tell.then(|| StreamNews::Cancel(event.job.clone()));
        }
        self.items.remove(place);
        // The worker knows of what it has answered itself; these it must be told. It may have released the job
        // itself, then it hears of it twice.
        let lost = matches!(event.change, Change::Crashed | Change::TimedOut | Change::Released)
            || matches!(event.reason, Some(Reason::Crashed | Reason::Timeout));
        lost.then(|| StreamNews::LeaseLost(event.job.clone()))
    }

    /// The jobs that are out.
    pub fn jobs(&self) -> Vec<JobRef> {
        self.items.iter().map(|item| JobRef::from(&item.id)).collect()
    }

    /// Compares with the rows of [`Out::jobs`], after events were lost.
    pub fn compare(&mut self, rows: &[Option<Job>]) -> Vec<StreamNews> {
        let mut news = Vec::new();
        let mut rows = rows.iter();
        self.items.retain_mut(|item| {
            let row = rows.next().and_then(Option::as_ref);
            let holds = |job: &&Job| job.state.lease().is_some_and(|lease| lease.token == item.token);
            let Some(job) = row.filter(holds) else {
                news.push(StreamNews::LeaseLost(item.id.clone()));
                return false;
            };
            if job.cancel_requested_at.is_some() && !item.cancel_told {
                item.cancel_told = true;
                news.push(StreamNews::Cancel(item.id.clone()));
            }
            true
        });
        news
    }

    /// Signs of life for the jobs that have come among the oldest `running` since this was last asked: the
    /// worker begins with them now, and has a whole lease to say so.
    pub fn begun(&mut self, running: usize) -> Vec<HeartbeatItem> {
        let mut begun = Vec::new();
        for item in self.items.iter_mut().take(running).filter(|item| !item.running) {
            item.running = true;
            begun.push(alive(&item.id, item.token));
        }
        begun
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
