// SPDX-License-Identifier: Apache-2.0
//! Handing out leases: the only place where a job becomes active.
//!
//! Queues are asked in the order given, each for its next job in line as long as it admits one more. What
//! stands in the way is dealt with on the way: an expired job is dead, a cleared one is removed. That work
//! is bounded by [`MAX_SKIPPED`] per command; a fetch that met more than that ends early, maybe with no
//! job, and the events in its outcome say so.

use std::sync::Arc;

use super::Verdict;
use super::context::Context;
use super::settle::Open;
use crate::body::{Body, BodyKind};
use crate::command::Fetch;
use crate::event::Change;
use crate::fingerprint;
use crate::id::{JobNo, LeaseToken, QueueKey};
use crate::job::Job;
use crate::lease::Lease;
use crate::reject::Reject;
use crate::reply::{LeasedJob, Reply};
use crate::request::{Answer, remembered_for};
use crate::state::{Reason, State, StateKind};
use crate::tables::Tables;
use crate::tables::schema::Ready;
use crate::throttle::Arrival;

/// Leases that one command grants at most, as the API promises.
pub const MAX_COUNT: u32 = 1000;
/// Expired or cleared jobs that one command deals with at most: a few milliseconds of work. A clear or a
/// wave of expiries larger than that is the business of `Purge` and `Promote`.
pub const MAX_SKIPPED: u32 = 256;

/// What a fetch has got and may still get.
struct Basket {
    jobs: Vec<LeasedJob>,
    bytes: usize,
    skipped: u32,
}

impl<T: Tables> Context<'_, T> {
    pub fn fetch(&mut self, command: &Fetch) -> Verdict<Reply, T::Fault> {
        if let Err(reject) = command.queues.iter().try_for_each(|queue| self.may_touch(queue)) {
            return Ok(Err(reject));
        }
        let request = command.request.as_ref().map(|key| (key, fingerprint_of(command)));
        if let Some((key, fingerprint)) = &request {
            match self.remembered(key, fingerprint)? {
                Some(Ok(Answer::Fetched(leases))) => {
                    return Ok(Ok(Reply::Fetched(self.still_held(&leases)?)));
                }
                Some(Ok(Answer::Enqueued(_))) => return Ok(Err(Reject::key_reused("request key", &key.key))),
                Some(Err(reject)) => return Ok(Err(reject)),
                None => {}
            }
        }
        let mut basket = Basket { jobs: Vec::new(), bytes: 0, skipped: 0 };
        for queue in &command.queues {
            if !self.fetch_from(&self.queue_key(queue), command, &mut basket)? {
                break;
            }
        }
        if let Some((key, fingerprint)) = request
            && !basket.jobs.is_empty()
        {
            let lease_of = |leased: &LeasedJob| Some((leased.job.no, leased.job.state.lease()?.token));
            let leases = basket.jobs.iter().filter_map(lease_of).collect();
            self.remember(key, fingerprint, Answer::Fetched(leases), remembered_for(command.lease))?;
        }
        Ok(Ok(Reply::Fetched(basket.jobs)))
    }

    /// Takes what there is in a queue; false if the fetch ends here.
    fn fetch_from(&mut self, key: &QueueKey, command: &Fetch, basket: &mut Basket) -> Result<bool, T::Fault> {
        let count = usize::try_from(command.count.min(MAX_COUNT)).unwrap_or(usize::MAX);
        let max_bytes = usize::try_from(command.max_bytes).unwrap_or(usize::MAX);
        while basket.jobs.len() < count {
            let now = self.now;
            let arrival = match self.queue(key)? {
                Some(queue) if queue.count(StateKind::Pending) > 0 => queue.admit(now),
                _ => return Ok(true),
            };
            let Ok(arrival) = arrival else { return Ok(true) };
            let Some(head) = self.tables.first_ready(key)? else { return Ok(true) };
            let open = match self.job(head.job)? {
                Some(open) if open.kind() == StateKind::Pending => open,
                _ => {
                    debug_assert!(false, "J1: the job of a ready row is pending");
                    self.tables.delete::<Ready>(&head)?;
                    continue;
                }
            };
            let gone = self.is_gone(&open.job)?;
            if gone || open.job.is_expired(self.now) {
                if basket.skipped >= MAX_SKIPPED {
                    return Ok(false);
                }
                basket.skipped += 1;
                if gone {
                    self.remove(open, true)?;
                } else {
                    self.die(open, Reason::Expired)?;
                }
                continue;
            }
            let bytes = open.job.payload.len() + open.job.checkpoint.as_ref().map_or(0, Body::len);
            if !basket.jobs.is_empty() && basket.bytes.saturating_add(bytes) > max_bytes {
                return Ok(false);
            }
            basket.bytes = basket.bytes.saturating_add(bytes);
            let job = self.grant(key, open, command, arrival)?;
            basket.jobs.push(self.leased(job)?);
        }
        Ok(false)
    }

    fn grant(
        &mut self,
        key: &QueueKey,
        mut open: Open,
        c: &Fetch,
        arrival: Arrival,
    ) -> Result<Arc<Job>, T::Fault> {
        let job = &mut open.job;
        job.deliveries = job.deliveries.saturating_add(1);
        job.started_at = Some(self.now);
        job.progress = None;
        let state = State::Active(Lease {
            token: LeaseToken { delivery: job.deliveries, salt: self.random(job.no) },
            worker: c.worker.clone(),
            hostname: c.hostname.clone(),
            granted_at: self.now,
            length: c.lease,
            deadline: self.now.after(c.lease),
            stream_concurrency: c.stream_concurrency,
        });
        self.queue_mut(key)?.arrival = arrival;
        self.go_to(open, state, Change::Started)
    }

    /// The leases of an earlier answer that are still that worker's.
    fn still_held(&mut self, leases: &[(JobNo, LeaseToken)]) -> Result<Vec<LeasedJob>, T::Fault> {
        let mut jobs = Vec::with_capacity(leases.len());
        for (no, token) in leases {
            if let Some(open) = self.job(*no)?
                && open.job.state.lease().is_some_and(|lease| lease.token == *token)
            {
                jobs.push(self.leased(Arc::new(open.job))?);
            }
        }
        Ok(jobs)
    }

    fn leased(&mut self, job: Arc<Job>) -> Result<LeasedJob, T::Fault> {
        let payload = self.read_body(job.no, BodyKind::Payload, &job.payload)?;
        let checkpoint = match &job.checkpoint {
            Some(body) => Some(self.read_body(job.no, BodyKind::Checkpoint, body)?),
            None => None,
        };
        Ok(LeasedJob { job, payload, checkpoint })
    }
}

fn fingerprint_of(command: &Fetch) -> [u8; 16] {
    fingerprint::of(&Fetch { request: None, ..command.clone() })
}

#[cfg(test)]
mod tests;
