// SPDX-License-Identifier: Apache-2.0
//! From the jobs to everything that must exist because of them.

use super::{Check, hex};
use crate::body::Body;
use crate::index::{Place, rows_of};
use crate::job::{Job, MAX_ERRORS, MAX_TIMELINE};
use crate::state::{State, StateKind};
use crate::tables::schema::{Bodies, BodyKey, Due, Finished, Ids, Jobs, Leases, Ready, UniqueKeys, Waiting};
use crate::tables::{Table, Tables};

impl<T: Tables> Check<'_, T> {
    /// Every job, and what it says exists.
    pub(super) fn jobs(&mut self) -> Result<(), T::Fault> {
        self.each::<Jobs>(|check, no, job| {
            check.expect(no == job.no, "J4", || format!("job {} lies under number {}", job.no.0, no.0));
            let counts = check.counts.entry(job.queue_key()).or_default();
            counts[job.state.kind() as usize] += 1;
            check.sense(&job);
            check.rows(&job)?;
            check.stored_bodies(&job)?;
            check.holds_key(&job)?;
            check.has_id(&job)
        })?;
        Ok(())
    }

    /// J4 and J9: what the row says by itself.
    fn sense(&mut self, job: &Job) {
        let (no, kind, meta) = (job.no.0, job.state.kind(), self.meta);
        let live = !kind.is_terminal() && kind != StateKind::Active;
        let newest =
            [Some(job.created_at), job.started_at, job.failed_at, job.ready_at, job.state.finished_at()];
        let token_fits = job.state.lease().is_none_or(|lease| lease.token.delivery == job.deliveries);
        let rules = [
            (job.no <= meta.last_job, "J4", "has a number that was not given yet"),
            (
                job.no <= job.entered && job.entered <= meta.last_job,
                "J4",
                "entered its queue before it was made",
            ),
            (newest.iter().flatten().all(|at| *at <= meta.last_at), "J4", "has something from the future"),
            (token_fits, "J4", "is leased with a token of another delivery"),
            (kind != StateKind::Active || job.started_at.is_some(), "J4", "is active and was never started"),
            (kind != StateKind::Pending || job.ready_at.is_some(), "J4", "is pending since never"),
            (job.errors.len() <= MAX_ERRORS, "J4", "keeps too many errors"),
            (job.timeline.len() <= MAX_TIMELINE, "J4", "keeps too long a timeline"),
            (!job.timeline.is_empty(), "J4", "has no history"),
            (!live || job.failures <= job.options.retry.max_retries, "J4", "waits with no attempts left"),
            (
                !matches!(job.state, State::Completed { .. }) || ended_by_ack(job),
                "J4",
                "is completed without an ack",
            ),
            (!live || job.cancel_requested_at.is_none(), "J9", "waits though it is to be cancelled"),
        ];
        for (holds, name, text) in rules {
            self.expect(holds, name, || format!("job {no} ({}) {text}", kind.name()));
        }
    }

    /// J1 and J2: the index rows it must have.
    fn rows(&mut self, job: &Job) -> Result<(), T::Fault> {
        let rows = rows_of(job);
        match &rows.place {
            Place::Ready(key) => self.must_have::<Ready>("J1", job, key, Some(&()))?,
            Place::Waiting(key) => self.must_have::<Waiting>("J1", job, key, Some(&()))?,
            Place::Leased(key, row) => self.must_have::<Leases>("J2", job, key, Some(row))?,
            Place::Finished(key) => self.must_have::<Finished>("J1", job, key, Some(&()))?,
        }
        for timer in rows.timers.iter().flatten() {
            self.must_have::<Due>("J1", job, timer, Some(&()))?;
        }
        Ok(())
    }

    fn must_have<R: Table>(
        &mut self,
        name: &'static str,
        job: &Job,
        key: &R::Key,
        row: Option<&R::Row>,
    ) -> Result<(), T::Fault> {
        let found = self.tables.get::<R>(key)?;
        self.expect(found.as_ref() == row, name, || {
            let space = R::SPACE.name();
            format!(
                "job {} ({}) needs row {} of {space}, found {found:?}",
                job.no.0,
                job.state.kind().name(),
                hex(key)
            )
        });
        Ok(())
    }

    /// J6, first half.
    fn stored_bodies(&mut self, job: &Job) -> Result<(), T::Fault> {
        for (kind, body) in job.bodies() {
            let Body::Stored(len) = body else { continue };
            let row = self.tables.get::<Bodies>(&BodyKey { job: job.no, kind })?;
            let found = row.map(|json| json.len());
            self.expect(found == usize::try_from(*len).ok(), "J6", || {
                format!("job {} has a {kind:?} of {len} bytes, its row has {found:?}", job.no.0)
            });
        }
        Ok(())
    }

    /// J5, first half: a live job holds its key, a dead or cancelled one does not.
    fn holds_key(&mut self, job: &Job) -> Result<(), T::Fault> {
        let Some(unique) = &job.options.unique else { return Ok(()) };
        let row = self.tables.get::<UniqueKeys>(&(job.namespace.clone(), unique.key.clone()))?;
        let ours = row.as_ref().filter(|row| row.job == job.no);
        let holds = match job.state {
            State::Completed { .. } => {
                let until = job.created_at.after(unique.period);
                let held = until > self.meta.last_at;
                ours.map_or(!held, |row| row.until == Some(until))
            }
            State::Dead { .. } | State::Cancelled { .. } => ours.is_none(),
            _ => ours.is_some_and(|row| row.until.is_none()),
        };
        self.expect(holds, "J5", || {
            format!(
                "job {} ({}) and its unique key {}: {row:?}",
                job.no.0,
                job.state.kind().name(),
                unique.key
            )
        });
        Ok(())
    }

    /// J7, first half.
    fn has_id(&mut self, job: &Job) -> Result<(), T::Fault> {
        let Some(id) = &job.chosen_id else { return Ok(()) };
        let row = self.tables.get::<Ids>(&(job.namespace.clone(), id.clone()))?;
        self.expect(row.as_ref().is_some_and(|row| row.first.job == job.id()), "J7", || {
            format!("job {} chose the id {id}, whose row is {row:?}", job.no.0)
        });
        Ok(())
    }
}

fn ended_by_ack(job: &Job) -> bool {
    matches!(job.last_lease, Some((_, crate::job::Ended::Acked)))
}
