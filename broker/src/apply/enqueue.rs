// SPDX-License-Identifier: Apache-2.0
//! New jobs, all or nothing: everything that could refuse one is looked at before the first is written.
//!
//! Three things make an enqueue answer with what is there already: the same request key, the same chosen
//! id (both with the same content, else a conflict), and a unique key that is held. A repeat is answered
//! even if the queue would not accept a new job any more; nothing new is enqueued.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Verdict;
use super::context::Context;
use super::ready::Again;
use super::settle::Open;
use crate::body::{Body, BodyKind};
use crate::command::Enqueue;
use crate::event::Change;
use crate::fingerprint;
use crate::id::{JobNo, JobRef, Name};
use crate::job::{Due, Job, JobSpec};
use crate::reject::Reject;
use crate::reply::{Enqueued, Reply};
use crate::request::{Answer, ChosenId, Forget, REMEMBERED};
use crate::state::State;
use crate::tables::Tables;
use crate::tables::schema::Ids;

type Fingerprint = [u8; 16];

impl<T: Tables> Context<'_, T> {
    pub fn enqueue(&mut self, command: &Enqueue) -> Verdict<Reply, T::Fault> {
        let named =
            command.jobs.iter().flat_map(|spec| [Some(&spec.queue), spec.options.on_crash_queue.as_ref()]);
        if let Err(reject) = named.flatten().try_for_each(|queue| self.may_touch(queue)) {
            return Ok(Err(reject));
        }
        let request = command.request.as_ref().map(|key| (key, fingerprint_of(&command.jobs)));
        if let Some((key, fingerprint)) = &request {
            match self.remembered(key, fingerprint)? {
                Some(Ok(Answer::Enqueued(first))) => return Ok(Ok(Reply::Enqueued(first))),
                Some(Ok(Answer::Fetched(_))) => return Ok(Err(Reject::key_reused("request key", &key.key))),
                Some(Err(reject)) => return Ok(Err(reject)),
                None => {}
            }
        }
        let fingerprints = match self.check_all(&command.jobs)? {
            Ok(fingerprints) => fingerprints,
            Err(reject) => return Ok(Err(reject)),
        };
        let mut answers = Vec::with_capacity(command.jobs.len());
        for (spec, fingerprint) in command.jobs.iter().zip(fingerprints) {
            answers.push(self.enqueue_one(spec, fingerprint)?);
        }
        if let Some((key, fingerprint)) = request {
            self.remember(key, fingerprint, Answer::Enqueued(answers.clone()), REMEMBERED)?;
        }
        Ok(Ok(Reply::Enqueued(answers)))
    }

    /// Whether every job can be enqueued, or is a repeat. Writes nothing. The answer has the fingerprints of
    /// the jobs that come with an id.
    fn check_all(&mut self, jobs: &[JobSpec]) -> Verdict<Vec<Option<Fingerprint>>, T::Fault> {
        let mut in_batch = BTreeMap::new();
        let mut fingerprints = Vec::with_capacity(jobs.len());
        for spec in jobs {
            let mut repeat = false;
            let mut fingerprint = None;
            if let Some(id) = &spec.id {
                let own = fingerprint_of(std::slice::from_ref(spec));
                let first = match self.tables.get::<Ids>(&(self.namespace.clone(), id.clone()))? {
                    Some(row) => Some(row.fingerprint),
                    None => in_batch.insert(id.clone(), own),
                };
                repeat = first.is_some();
                if first.is_some_and(|first| first != own) || (!repeat && self.is_given(id)?) {
                    return Ok(Err(Reject::key_reused("id", id)));
                }
                fingerprint = Some(own);
            }
            if !repeat && let Err(reject) = self.accepts(&self.queue_key(&spec.queue))? {
                return Ok(Err(reject));
            }
            // Nothing that is enqueued before in this batch changes that: all of it goes to the caller's queues.
            if !repeat
                && let Some(unique) = &spec.options.unique
                && let Err(reject) = self.may_name_holder(&unique.key)?
            {
                return Ok(Err(reject));
            }
            fingerprints.push(fingerprint);
        }
        Ok(Ok(fingerprints))
    }

    /// True if an id that a caller chose is the one that jobbie gave to another job.
    fn is_given(&mut self, id: &Name) -> Result<bool, T::Fault> {
        let job = JobRef::parse(id);
        Ok(matches!(job, JobRef::Given(..)) && self.find_anywhere(&job)?.is_some())
    }

    fn enqueue_one(
        &mut self,
        spec: &JobSpec,
        fingerprint: Option<Fingerprint>,
    ) -> Result<Enqueued, T::Fault> {
        let Some((id, fingerprint)) = spec.id.as_ref().zip(fingerprint) else {
            return self.enqueue_new(spec);
        };
        let row = (self.namespace.clone(), id.clone());
        if let Some(known) = self.tables.get::<Ids>(&row)? {
            return Ok(known.first);
        }
        let first = self.enqueue_new(spec)?;
        self.tables.put::<Ids>(&row, &ChosenId { first: first.clone(), fingerprint })?;
        if first.existing {
            // No job has this id, so no job's end will let go of it.
            self.forget_at(self.now.after(REMEMBERED), &Forget::Id(row.0, row.1))?;
        }
        Ok(first)
    }

    fn enqueue_new(&mut self, spec: &JobSpec) -> Result<Enqueued, T::Fault> {
        if let Some(unique) = &spec.options.unique
            && let Some(holder) = self.unique_holder(&unique.key)?
        {
            return Ok(Enqueued { job: holder.job.id(), state: holder.kind(), existing: true });
        }
        let job = self.create(spec)?;
        Ok(Enqueued { job: job.id(), state: job.state.kind(), existing: false })
    }

    /// Writes a new job.
    pub fn create(&mut self, spec: &JobSpec) -> Result<Arc<Job>, T::Fault> {
        self.meta.last_job = JobNo(self.meta.last_job.0.saturating_add(1));
        let no = self.meta.last_job;
        let payload = self.keep_body(no, BodyKind::Payload, None, &spec.payload)?;
        let again = match spec.due {
            Due::Now => Again::Now,
            Due::After(delay) => Again::Scheduled(self.now.after(delay)),
            Due::At(at) => Again::Scheduled(at),
        };
        let mut job = self.blank(no, spec, payload);
        job.state = self.waiting_state(&job, again);
        // Set only now: whatever it is, a new job is pending or scheduled, and the timer finds it.
        job.expire_at = spec.expire_after.map(|span| self.now.after(span));
        self.settle(Open::create(job), Change::Enqueued)
    }

    fn blank(&self, no: JobNo, spec: &JobSpec, payload: Body) -> Job {
        Job {
            no,
            namespace: self.namespace.clone(),
            queue: spec.queue.clone(),
            chosen_id: spec.id.clone(),
            created_at: self.now,
            state: State::Pending,
            options: spec.options.clone(),
            payload,
            expire_at: None,
            failures: 0,
            crashes: 0,
            deliveries: 0,
            started_at: None,
            failed_at: None,
            cancel_requested_at: None,
            last_worker: None,
            last_lease: None,
            progress: None,
            checkpoint: None,
            result: None,
            errors: Vec::new(),
            timeline: Vec::with_capacity(1),
            timeline_dropped: 0,
            ready_at: None,
            entered: no,
        }
    }
}

/// The fingerprint of what was asked for. The trace is left out: a repeat may well come with a new one.
fn fingerprint_of(jobs: &[JobSpec]) -> Fingerprint {
    if jobs.iter().all(|spec| spec.options.trace.is_none()) {
        return fingerprint::of(&jobs);
    }
    let mut jobs = jobs.to_vec();
    jobs.iter_mut().for_each(|spec| spec.options.trace = None);
    fingerprint::of(&jobs)
}

#[cfg(test)]
mod tests;
