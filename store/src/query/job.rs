// SPDX-License-Identifier: Apache-2.0
//! One job.

use jobbie_broker::body::BodyKind;
use jobbie_broker::tables::schema::{Bodies, BodyKey, Ids, Jobs};
use jobbie_broker::{Body, Job, JobNo, JobRef, Json, Name};

use super::{JobDetail, Reader};
use crate::keyspaces::Fault;
use crate::tables::View;

impl Reader {
    /// A job with its bodies.
    ///
    /// # Errors
    /// If the machine fails.
    pub fn job(&self, namespace: &Name, job: &JobRef) -> Result<Option<JobDetail>, Fault> {
        let (view, _live) = self.view();
        find(&view, namespace, job)?.map(|job| detail(&view, job)).transpose()
    }

    /// A job without its bodies.
    ///
    /// # Errors
    /// If the machine fails.
    pub fn job_row(&self, namespace: &Name, job: &JobRef) -> Result<Option<Job>, Fault> {
        let (view, _live) = self.view();
        find(&view, namespace, job)
    }
}

/// The job of an id within a namespace. A given id must name the time too, so that a guess finds nothing.
fn find(view: &View, namespace: &Name, job: &JobRef) -> Result<Option<Job>, Fault> {
    let (no, created_at) = match job {
        JobRef::Given(no, at) => (*no, *at),
        JobRef::Chosen(id) => match view.row::<Ids>(&(namespace.clone(), id.clone()))? {
            Some(row) => (row.first.job.no, row.first.job.created_at),
            None => return Ok(None),
        },
    };
    let found = view.row::<Jobs>(&no)?;
    Ok(found.filter(|job| job.namespace == *namespace && job.created_at == created_at))
}

/// Adds its bodies to a job.
pub(super) fn detail(view: &View, job: Job) -> Result<JobDetail, Fault> {
    let payload = body(view, job.no, BodyKind::Payload, Some(&job.payload))?.unwrap_or_else(Json::null);
    let checkpoint = body(view, job.no, BodyKind::Checkpoint, job.checkpoint.as_ref())?;
    let result = body(view, job.no, BodyKind::Result, job.result.as_ref())?;
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
