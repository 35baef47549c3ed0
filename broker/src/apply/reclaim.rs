// SPDX-License-Identifier: Apache-2.0
//! Leases that have run out, each looked at again: the leader named them from what it knew then.
//!
//! A lost lease counts in `crashes`, not in `failures`; the job keeps its checkpoint and comes back after a
//! backoff that grows with its crashes. After `max_crashes` it is quarantined: dead with reason `crashed`,
//! or pending in `on_crash_queue`. That way out is taken once: the job goes there with no crashes and
//! without an `on_crash_queue`, so whoever crashes there too is dead, and no job goes round for ever.
//!
//! Of the leases of a stream that has vanished only the oldest `stream_concurrency` were running; the rest
//! is released. How many of them have been counted is kept in the leases that are left, so it does not matter
//! whether they run out in one entry or in several.

use std::collections::BTreeMap;

use super::context::Context;
use super::ready::Again;
use super::settle::Open;
use crate::command::Reclaim;
use crate::event::Change;
use crate::id::{JobNo, LeaseToken, Name, QueueKey};
use crate::lease::Lease;
use crate::reply::{Reply, Swept};
use crate::state::{Reason, State};
use crate::tables::schema::{LeaseKey, Leases};
use crate::tables::{Key, Tables};
use crate::time::Timestamp;

/// Leases of one worker that are compared with each other; more than any stream may prefetch.
const MAX_STREAM: usize = 1024;

/// The leases of streams that have run out: by namespace and worker, the tokens by job.
type Streams = BTreeMap<(Name, Name), BTreeMap<JobNo, LeaseToken>>;

impl<T: Tables> Context<'_, T> {
    pub fn reclaim(&mut self, command: &Reclaim) -> Result<Reply, T::Fault> {
        let mut done = 0u32;
        let mut streams = Streams::new();
        for (no, token) in &command.leases {
            let Some(open) = self.run_out(*no, *token)? else { continue };
            let Some(lease) = open.job.state.lease() else { continue };
            if lease.stream_concurrency.is_some() {
                let stream = (open.job.namespace.clone(), lease.worker.clone());
                streams.entry(stream).or_default().insert(*no, *token);
            } else {
                self.crash(open)?;
                done = done.saturating_add(1);
            }
        }
        for ((namespace, worker), lost) in streams {
            done = done.saturating_add(self.reclaim_stream(&namespace, &worker, &lost)?);
        }
        Ok(Reply::Swept(Swept { done, more: false }))
    }

    /// The job, if that lease is still its lease and has run out.
    fn run_out(&mut self, no: JobNo, token: LeaseToken) -> Result<Option<Open>, T::Fault> {
        let (now, term_started) = (self.now, self.meta.term_started_at);
        let is_over = |lease: &Lease| lease.token == token && lease.ends_at(term_started) <= now;
        Ok(self.job(no)?.filter(|open| open.job.state.lease().is_some_and(is_over)))
    }

    fn reclaim_stream(
        &mut self,
        namespace: &Name,
        worker: &Name,
        lost: &BTreeMap<JobNo, LeaseToken>,
    ) -> Result<u32, T::Fault> {
        let mut prefix = namespace.bytes();
        worker.write(&mut prefix);
        let leases: Vec<(LeaseKey, _)> = self.tables.scan::<Leases>(&prefix, None, MAX_STREAM)?;
        let mut oldest: Vec<(Timestamp, JobNo)> =
            leases.into_iter().map(|(key, row)| (row.granted_at, key.job)).collect();
        oldest.sort_unstable();
        let (mut done, mut crashed) = (0u32, 0u32);
        for (rank, (_, no)) in (0u32..).zip(&oldest) {
            let Some(open) = lost.get(no).map(|token| self.run_out(*no, *token)).transpose()?.flatten()
            else {
                continue;
            };
            let running = open.job.state.lease().and_then(|lease| lease.stream_concurrency);
            if running.is_none_or(|running| rank < running) {
                self.crash(open)?;
                crashed += 1;
            } else {
                let state = self.state_after_attempt(&open.job, Ok(Again::Now));
                self.go_to(open, state, Change::Released)?;
            }
            done += 1;
        }
        if crashed > 0 {
            for (_, no) in oldest.iter().filter(|(_, no)| !lost.contains_key(no)) {
                self.count_out(*no, crashed)?;
            }
        }
        Ok(done)
    }

    /// Keeps in a lease that goes on how many of its stream's running jobs have been counted already.
    fn count_out(&mut self, no: JobNo, crashed: u32) -> Result<(), T::Fault> {
        let Some(mut open) = self.job(no)? else { return Ok(()) };
        if let State::Active(Lease { stream_concurrency: Some(running), .. }) = &mut open.job.state
            && *running > 0
        {
            *running = running.saturating_sub(crashed);
            self.write_quietly(open)?;
        }
        Ok(())
    }

    fn crash(&mut self, mut open: Open) -> Result<(), T::Fault> {
        let totals = &mut self.queue_mut(&open.job.queue_key())?.totals;
        totals.crashed = totals.crashed.saturating_add(1);
        let job = &mut open.job;
        job.crashes = job.crashes.saturating_add(1);
        let worker = job.state.lease().map(|lease| lease.worker.clone()).filter(|worker| !worker.is_empty());
        let who = worker.map_or_else(|| "the worker".to_owned(), |worker| format!("worker {worker}"));
        job.record_error(
            format!("{who} lost its lease without a word (crash {})", job.crashes),
            None,
            self.now,
        );
        let next = if job.crashes < job.options.max_crashes {
            let delay = job.options.retry.jittered(job.crashes, self.random(job.no));
            Ok(Again::Retrying(self.now.after(delay)))
        } else if job.cancel_requested_at.is_none() && self.take_way_out(&mut open)? {
            Ok(Again::Now)
        } else {
            Err(Reason::Crashed)
        };
        let state = self.state_after_attempt(&open.job, next);
        self.go_to(open, state, Change::Crashed)?;
        Ok(())
    }

    /// Puts a quarantined job into its `on_crash_queue`, if it has one that is not being deleted.
    fn take_way_out(&mut self, open: &mut Open) -> Result<bool, T::Fault> {
        let Some(queue) = open.job.options.on_crash_queue.take() else { return Ok(false) };
        let key = QueueKey::new(&open.job.namespace, &queue);
        if self.queue(&key)?.is_some_and(|queue| queue.deleting) {
            return Ok(false);
        }
        open.job.queue = queue;
        open.job.crashes = 0;
        Ok(true)
    }
}

#[cfg(test)]
mod tests;
