// SPDX-License-Identifier: Apache-2.0
//! One job.

use std::sync::Arc;

use jobbie_broker::body::BodyKind;
use jobbie_broker::tables::Table;
use jobbie_broker::tables::schema::{Bodies, BodyKey, Ids, Jobs};
use jobbie_broker::{Body, Job, JobNo, JobRef, Json, Name};

use super::{JobDetail, Reader};
use crate::keyspaces::Fault;
use crate::tables::View;

/// What is known of a job and its bodies, and where to find the rest.
struct Found {
    job: Job,
    /// Bodies that were changed and are not in the database, by kind; `None` inside for a deleted one.
    changed: [Option<Option<Json>>; BodyKind::ALL.len()],
    view: View,
}

impl Reader {
    /// A job with its bodies.
    ///
    /// # Errors
    /// If the machine fails.
    pub fn job(&self, namespace: &Name, job: &JobRef) -> Result<Option<JobDetail>, Fault> {
        let Some(Found { job, mut changed, view }) = self.find(namespace, job)? else { return Ok(None) };
        detail_from(job, |no, kind, body| {
            let place = BodyKind::ALL.iter().position(|other| *other == kind).unwrap_or_default();
            match (body, changed[place].take()) {
                (Some(Body::Stored(_)), Some(changed)) => Ok(changed),
                _ => self::body(&view, no, kind, body),
            }
        })
        .map(Some)
    }

    /// A job without its bodies.
    ///
    /// # Errors
    /// If the machine fails.
    pub fn job_row(&self, namespace: &Name, job: &JobRef) -> Result<Option<Job>, Fault> {
        Ok(self.find(namespace, job)?.map(|found| found.job))
    }

    /// The job of an id within a namespace. A given id must name the time too, so that a guess finds nothing.
    fn find(&self, namespace: &Name, job: &JobRef) -> Result<Option<Found>, Fault> {
        let (no, created_at) = match job {
            JobRef::Given(no, at) => (*no, *at),
            JobRef::Chosen(id) => match self.row::<Ids>(&(namespace.clone(), id.clone()))? {
                Some(row) => (row.first.job.no, row.first.job.created_at),
                None => return Ok(None),
            },
        };
        let ((job, changed), view) = self.look(|tables| {
            let mut changed = BodyKind::ALL.map(|_| None);
            for (place, kind) in BodyKind::ALL.into_iter().enumerate() {
                changed[place] = tables.changed::<Bodies>(&BodyKey { job: no, kind })?;
            }
            Ok((tables.changed::<Jobs>(&no)?, changed))
        })?;
        let job = job.map_or_else(|| view.row::<Jobs>(&no), Ok)?;
        let job = job.filter(|job| job.namespace == *namespace && job.created_at == created_at);
        Ok(job.map(|job| Found { job: Arc::unwrap_or_clone(job), changed, view }))
    }

    /// One row.
    pub(super) fn row<T: Table>(&self, key: &T::Key) -> Result<Option<T::Row>, Fault> {
        let (changed, view) = self.look(|tables| tables.changed::<T>(key))?;
        changed.map_or_else(|| view.row::<T>(key), Ok)
    }
}

/// Adds its bodies to a job.
pub(super) fn detail(view: &View, job: Job) -> Result<JobDetail, Fault> {
    detail_from(job, |no, kind, body| self::body(view, no, kind, body))
}

fn detail_from(
    job: Job,
    mut body: impl FnMut(JobNo, BodyKind, Option<&Body>) -> Result<Option<Json>, Fault>,
) -> Result<JobDetail, Fault> {
    let payload = body(job.no, BodyKind::Payload, Some(&job.payload))?.unwrap_or_else(Json::null);
    let checkpoint = body(job.no, BodyKind::Checkpoint, job.checkpoint.as_ref())?;
    let result = body(job.no, BodyKind::Result, job.result.as_ref())?;
    Ok(JobDetail { job, payload, checkpoint, result })
}

/// One body of a job.
pub(super) fn body(
    view: &View,
    job: JobNo,
    kind: BodyKind,
    body: Option<&Body>,
) -> Result<Option<Json>, Fault> {
    match body {
        None => Ok(None),
        Some(Body::Inline(json)) => Ok(Some(json.clone())),
        Some(Body::Stored(_)) => view.row::<Bodies>(&BodyKey { job, kind }),
    }
}
