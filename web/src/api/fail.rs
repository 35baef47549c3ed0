// SPDX-License-Identifier: Apache-2.0
//! `POST /fail/{job_id}` and `POST /fail/batch`.

use jobbie_broker::command::Fail;

use super::{BodyFailures, NotFound, Refused, settle};
use crate::call::{Answer, Call};
use crate::wire::fail::{FailBatchBody, FailBody};
use crate::wire::lease::{Results, SettledReply, Settling as _};
use crate::wire::{Place, read, schema};

/// Reports that an attempt failed: it is tried again as the job's policy says, or the job is dead.
#[utoipa::path(
    post, path = "/api/v1/fail/{job_id}", operation_id = "fail", tag = "workers",
    params(("job_id" = inline(schema::JobId), Path, description = "the job")),
    request_body(content = FailBody, description = "Also as `application/msgpack`.", example = json!({"lease_token": "1.9f0c3a5be1d27748", "error": "connection refused"})),
    responses((status = 200, description = "Done; a repeat with the same token gets the same answer", body = SettledReply), BodyFailures, NotFound, Refused),
)]
pub async fn one(call: Call) -> Answer {
    let id = call.path("job_id")?;
    let body: FailBody<'_> = read::object(call.text()?)?;
    let item = body.check(&Place::ROOT, Some(&id), &call.web.config.limits)?;
    settle::one(&call, &id, Fail { items: vec![item] }).await
}

/// The same for many jobs; each item stands alone.
#[utoipa::path(
    post, path = "/api/v1/fail/batch", operation_id = "failBatch", tag = "workers",
    request_body(content = FailBatchBody, description = "Also as `application/msgpack`."),
    responses((status = 200, description = "One answer per item, in order", body = Results), BodyFailures),
)]
pub async fn batch(call: Call) -> Answer {
    let body: FailBatchBody<'_> = read::object(call.text()?)?;
    settle::batch::<FailBody<'_>, _>(&call, "fails", &body.fails, |items| Fail { items }).await
}
