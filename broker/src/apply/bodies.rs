// SPDX-License-Identifier: Apache-2.0
//! Opaque values: up to `INLINE` bytes in the job's row, larger ones in a row of their own (J6).

use super::context::Context;
use crate::body::{Body, BodyKind, INLINE, Json};
use crate::id::JobNo;
use crate::job::Job;
use crate::tables::Tables;
use crate::tables::schema::{Bodies, BodyKey};

impl<T: Tables> Context<'_, T> {
    /// Puts a value in the place of an older one; the answer belongs into the job's row.
    pub fn keep_body(
        &mut self,
        job: JobNo,
        kind: BodyKind,
        old: Option<&Body>,
        json: &Json,
    ) -> Result<Body, T::Fault> {
        let key = BodyKey { job, kind };
        if json.len() <= INLINE {
            if matches!(old, Some(Body::Stored(_))) {
                self.tables.delete::<Bodies>(&key)?;
            }
            return Ok(Body::Inline(json.clone()));
        }
        self.tables.put::<Bodies>(&key, json)?;
        Ok(Body::Stored(u32::try_from(json.len()).unwrap_or(u32::MAX)))
    }

    /// Keeps the checkpoint that came with a worker's call, if any did.
    pub fn keep_checkpoint(&mut self, job: &mut Job, checkpoint: Option<&Json>) -> Result<(), T::Fault> {
        if let Some(json) = checkpoint {
            let body = self.keep_body(job.no, BodyKind::Checkpoint, job.checkpoint.as_ref(), json)?;
            job.checkpoint = Some(body);
        }
        Ok(())
    }

    /// The value itself.
    pub fn read_body(&mut self, job: JobNo, kind: BodyKind, body: &Body) -> Result<Json, T::Fault> {
        match body {
            Body::Inline(json) => Ok(json.clone()),
            Body::Stored(_) => {
                let row = self.tables.get::<Bodies>(&BodyKey { job, kind })?;
                debug_assert!(row.is_some(), "J6: a stored body has its row");
                Ok(row.unwrap_or_else(Json::null))
            }
        }
    }

    /// Removes the rows of a job's large values.
    pub fn drop_bodies(&mut self, job: &Job) -> Result<(), T::Fault> {
        for (kind, body) in job.bodies() {
            if matches!(body, Body::Stored(_)) {
                self.tables.delete::<Bodies>(&BodyKey { job: job.no, kind })?;
            }
        }
        Ok(())
    }
}
