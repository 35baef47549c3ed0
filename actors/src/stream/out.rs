// SPDX-License-Identifier: Apache-2.0
//! The jobs that are out on one stream, in the order in which they went.

use jobbie_broker::command::{HeartbeatItem, LeaseRef};
use jobbie_broker::event::JobEvent;
use jobbie_broker::reply::LeasedJob;
use jobbie_broker::state::Reason;
use jobbie_broker::{Change, JobId, JobNo, JobRef, LeaseToken, StateKind};

use super::StreamNews;

/// One job that is out.
#[derive(Clone, Debug)]
struct Item {
    id: JobId,
    token: LeaseToken,
    cancel_told: bool,
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

    /// Adds a job; false if it carries no lease, or is out already.
    pub fn add(&mut self, leased: &LeasedJob) -> bool {
        let Some(lease) = leased.job.state.lease() else { return false };
        let item = Item { id: leased.job.id(), token: lease.token, cancel_told: false };
        if self.place(item.id.no, Some(item.token)).is_some() {
            return false;
        }
        self.items.push(item);
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
        // The worker knows of what it has answered itself; these two it must be told.
        let lost = matches!(event.change, Change::Crashed | Change::TimedOut)
            || matches!(event.reason, Some(Reason::Crashed | Reason::Timeout));
        lost.then(|| StreamNews::LeaseLost(event.job.clone()))
    }

    /// Compares with the leases that the worker really has, after events were lost.
    pub fn compare(&mut self, held: &[LeasedJob]) -> Vec<StreamNews> {
        let holds = |item: &Item| {
            held.iter().find(|leased| {
                leased.job.no == item.id.no && leased.job.state.lease().is_some_and(|l| l.token == item.token)
            })
        };
        let mut news = Vec::new();
        self.items.retain_mut(|item| match holds(item) {
            None => {
                news.push(StreamNews::LeaseLost(item.id.clone()));
                false
            }
            Some(leased) => {
                if leased.job.cancel_requested_at.is_some() && !item.cancel_told {
                    item.cancel_told = true;
                    news.push(StreamNews::Cancel(item.id.clone()));
                }
                true
            }
        });
        news
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
