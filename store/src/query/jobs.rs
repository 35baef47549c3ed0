// SPDX-License-Identifier: Apache-2.0
//! Listing jobs, newest first, a bounded number of rows per call.
//!
//! | filter | read through | newest is |
//! |---|---|---|
//! | terminal state, queue or few queues | Finished | finished last |
//! | pending, queue | Ready, priorities merged | enqueued last |
//! | scheduled or retrying, queue | Waiting | enqueued last |
//! | active, queue, not too many leases | Leases | enqueued last |
//! | anything else | Jobs, filtered | enqueued last |
//!
//! No index exists for searching alone: the hot path would pay for it.

mod sources;

use std::sync::Arc;

use jobbie_broker::tables::schema::Jobs;
use jobbie_broker::{Job, JobNo, QueueKey, StateKind, Timestamp};

use super::job::detail;
use super::{Cursor, JobFilter, Page, Reader};
use crate::keyspaces::Fault;
use crate::tables::View;
use sources::Source;

/// Jobs of one page at most.
const MOST: usize = 1000;
/// Rows looked at per call: some 20 ms when none of them matches.
const EXAMINED: usize = 10_000;
/// Bodies of one page: when it is reached the page ends, however few jobs it has.
const BYTES: usize = 8 << 20;
/// Queues whose finished jobs are merged; with more, jobs are listed by number.
const MERGED: usize = 64;
/// Active jobs of a namespace up to which its leases are read and sorted.
const LEASES: u64 = 10_000;

impl Reader {
    /// Jobs that match, newest first, behind `cursor`; at most `limit`, and at most 1,000.
    ///
    /// # Errors
    /// If the machine fails.
    pub fn jobs(&self, filter: &JobFilter, cursor: Option<Cursor>, limit: usize) -> Result<Page, Fault> {
        let mut page = Page { jobs: Vec::new(), next: None };
        let queues = self.matching(filter);
        if queues.iter().all(|(_, _, jobs)| *jobs == 0) {
            return Ok(page);
        }
        let (view, _live) = self.view()?;
        let source = source(&view, filter, cursor, &queues)?;
        let limit = limit.clamp(1, MOST);
        let (mut examined, mut bytes, mut last) = (0, 0, cursor);
        for found in source {
            let (at, no, row) = found?;
            if page.jobs.len() >= limit || examined >= EXAMINED || bytes >= BYTES {
                page.next = last;
                break;
            }
            examined += 1;
            last = Some(Cursor { at, job: no });
            let row = row.map_or_else(|| view.row::<Jobs>(&no), |job| Ok(Some(job)))?;
            if let Some(job) = row.filter(|job| matches(filter, job)) {
                let job = detail(&view, Arc::unwrap_or_clone(job))?;
                bytes += [Some(&job.payload), job.checkpoint.as_ref(), job.result.as_ref()]
                    .into_iter()
                    .flatten()
                    .map(|body| body.len())
                    .sum::<usize>();
                page.jobs.push(job);
            }
        }
        Ok(page)
    }

    /// The queues that the filter means, with their jobs: active ones, and those in the state.
    fn matching(&self, filter: &JobFilter) -> Vec<(QueueKey, u64, u64)> {
        let queues = self.queues(&filter.namespace).into_iter();
        let meant = queues.filter(|queue| filter.scope.allows(&queue.name));
        let meant = meant.filter(|queue| filter.queue.as_ref().is_none_or(|name| *name == queue.name));
        meant
            .map(|named| {
                let jobs = filter.state.map_or_else(|| named.queue.total(), |state| named.queue.count(state));
                let key = QueueKey { namespace: filter.namespace.clone(), queue: named.name };
                (key, named.queue.count(StateKind::Active), jobs)
            })
            .collect()
    }
}

fn matches(filter: &JobFilter, job: &Job) -> bool {
    job.namespace == filter.namespace
        && filter.scope.allows(&job.queue)
        && filter.queue.as_ref().is_none_or(|queue| *queue == job.queue)
        && filter.state.is_none_or(|state| state == job.state.kind())
}

/// Candidates in the order of the listing, behind the cursor.
fn source(
    view: &View,
    filter: &JobFilter,
    cursor: Option<Cursor>,
    queues: &[(QueueKey, u64, u64)],
) -> Result<Source, Fault> {
    let before = cursor.map_or(JobNo(u64::MAX), |cursor| cursor.job);
    let the_queue = filter.queue.as_ref().and_then(|_| queues.first()).map(|(key, _, _)| key);
    match (filter.state, the_queue) {
        (Some(state), _) if state.is_terminal() => {
            let with_jobs: Vec<_> =
                queues.iter().filter(|(_, _, jobs)| *jobs > 0).map(|(key, _, _)| key).collect();
            // A listing goes on in the order it was begun in, whatever the number of queues is now.
            let by_time = cursor.map_or(with_jobs.len() <= MERGED, |cursor| cursor.at > Timestamp(0));
            if by_time {
                return sources::finished(view, &with_jobs, state, cursor);
            }
        }
        (Some(StateKind::Pending), Some(queue)) => return sources::pending(view, queue, before),
        (Some(StateKind::Scheduled | StateKind::Retrying), Some(queue)) => {
            return Ok(sources::waiting(view, queue, before));
        }
        (Some(StateKind::Active), Some(queue)) => {
            if queues.iter().map(|(_, active, _)| active).sum::<u64>() <= LEASES
                && let Some(leases) = sources::active(view, queue, before, LEASES)?
            {
                return Ok(leases);
            }
        }
        _ => {}
    }
    Ok(sources::all(view, before))
}
