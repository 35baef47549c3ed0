// SPDX-License-Identifier: Apache-2.0
//! Leases: which end, and what a worker holds.

use jobbie_broker::body::BodyKind;
use jobbie_broker::reply::LeasedJob;
use jobbie_broker::tables::schema::{Due, DueKey, Jobs, Lane, Leases};
use jobbie_broker::tables::{Key, Space};
use jobbie_broker::{Job, JobNo, Json, Name, Timestamp};

use super::job::body;
use super::{DueLease, Reader};
use crate::keyspaces::Fault;
use crate::tables::{View, bounds, pair, read_key};

/// Leases of one worker that are looked at: sorting by grant needs all of them. A worker that holds more
/// (10,000 parallel jobs under one id) gets those with the lowest numbers.
const MOST_OF_WORKER: usize = 10_000;

/// The timers of a lane in order, behind `after`, nothing below `front`.
fn timers(
    view: &View,
    lane: Lane,
    front: Option<DueKey>,
    after: Option<DueKey>,
) -> impl Iterator<Item = Result<DueKey, Fault>> + use<> {
    let after = after.map(|key| {
        let mut from = key.bytes();
        from.push(0);
        from
    });
    let from = after.max(front.map(|key| key.bytes()));
    let (start, end) = bounds(Space::Due, &[lane as u8], from.as_deref());
    view.range::<Due>((&start, &end)).map(|found| read_key::<Due>(&found?.0))
}

impl Reader {
    /// When the first lease ends by its row.
    ///
    /// # Errors
    /// If the machine fails.
    pub fn first_lease_due(&self) -> Result<Option<Timestamp>, Fault> {
        self.first_timer(Lane::Leases)
    }

    /// When the first other timer is due.
    ///
    /// # Errors
    /// If the machine fails.
    pub fn first_due(&self) -> Result<Option<Timestamp>, Fault> {
        self.first_timer(Lane::Timers)
    }

    /// Leases whose row says that they end by `until`, in that order, behind `after`; at most `limit`. With
    /// fewer than `limit` there are no more; else the last one's [`DueLease::key`] is the next `after`.
    ///
    /// # Errors
    /// If the machine fails.
    pub fn leases_due(
        &self,
        until: Timestamp,
        after: Option<DueKey>,
        limit: usize,
    ) -> Result<Vec<DueLease>, Fault> {
        // The scheduler asks all the time and mostly in vain: nothing is written for that.
        let first = self.ask(|tables| tables.peek_due(Lane::Leases))?;
        if first.is_none_or(|first| first.at > until) {
            return Ok(Vec::new());
        }
        let term_started = self.meta().term_started_at;
        // The view first, the hint second (H1).
        let (view, live) = self.view()?;
        let front = live.hints.windows().due_front(Lane::Leases);
        let mut due = Vec::new();
        for key in timers(&view, Lane::Leases, front, after) {
            let key = key?;
            if due.len() >= limit || key.at > until {
                break;
            }
            let job = view.row::<Jobs>(&key.job)?;
            // In one view a lease's timer and its job belong together (J2); a row without is nobody's lease.
            let Some(lease) = job.as_ref().and_then(|job| job.state.lease()) else { continue };
            let ends_at = lease.ends_at(term_started);
            due.push(DueLease {
                job: key.job,
                token: lease.token,
                deadline: key.at,
                ends_at,
                length: lease.length,
            });
        }
        Ok(due)
    }

    fn first_timer(&self, lane: Lane) -> Result<Option<Timestamp>, Fault> {
        Ok(self.ask(|tables| tables.peek_due(lane))?.map(|key| key.at))
    }

    /// The jobs that a worker holds and that are wanted, with payload and checkpoint, oldest grant first.
    ///
    /// # Errors
    /// If the machine fails.
    pub fn leases_of(
        &self,
        namespace: &Name,
        worker: &Name,
        limit: usize,
        wanted: impl Fn(&Job) -> bool,
    ) -> Result<Vec<LeasedJob>, Fault> {
        let (view, _live) = self.view()?;
        let mut prefix = namespace.bytes();
        worker.write(&mut prefix);
        let (start, end) = bounds(Space::Leases, &prefix, None);
        let mut held: Vec<(Timestamp, JobNo)> = Vec::new();
        for found in view.range::<Leases>((&start, &end)).take(MOST_OF_WORKER) {
            let (key, row) = pair::<Leases>(&found?)?;
            held.push((row.granted_at, key.job));
        }
        held.sort_unstable();
        let mut jobs = Vec::new();
        for (_, no) in held {
            if jobs.len() >= limit {
                break;
            }
            let Some(job) = view.row::<Jobs>(&no)?.filter(|job| wanted(job)) else { continue };
            let payload = body(&view, no, BodyKind::Payload, Some(&job.payload))?.unwrap_or_else(Json::null);
            let checkpoint = body(&view, no, BodyKind::Checkpoint, job.checkpoint.as_ref())?;
            jobs.push(LeasedJob { job, payload, checkpoint });
        }
        Ok(jobs)
    }
}
