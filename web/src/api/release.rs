// SPDX-License-Identifier: Apache-2.0
//! `POST /release/{job_id}` and `POST /release/batch`.

use jobbie_broker::command::Release;

use super::{BodyFailures, NotFound, Refused, settle};
use crate::call::{Answer, Call};
use crate::wire::lease::{Results, SettledReply, Settling as _};
use crate::wire::release::{ReleaseBatchBody, ReleaseBody};
use crate::wire::{Place, read, schema};

/// Gives a job back without spending an attempt.
#[utoipa::path(
    post, path = "/api/v1/release/{job_id}", operation_id = "release", tag = "workers",
    params(("job_id" = inline(schema::JobId), Path, description = "the job")),
    request_body(content = Option<ReleaseBody>, description = "Also as `application/msgpack`.", example = json!({"lease_token": "1.9f0c3a5be1d27748", "delay": "10s"})),
    responses((status = 200, description = "Done; a repeat with the same token gets the same answer", body = SettledReply), BodyFailures, NotFound, Refused),
)]
pub async fn one(call: Call) -> Answer {
    let id = call.path("job_id")?;
    let body: ReleaseBody<'_> = read::object(call.optional_text()?)?;
    let item = body.check(&Place::ROOT, Some(&id), &call.web.config.limits)?;
    settle::one(&call, &id, Release { items: vec![item] }).await
}

/// The same for many jobs; each item stands alone.
#[utoipa::path(
    post, path = "/api/v1/release/batch", operation_id = "releaseBatch", tag = "workers",
    request_body(content = ReleaseBatchBody, description = "Also as `application/msgpack`."),
    responses((status = 200, description = "One answer per item, in order", body = Results), BodyFailures),
)]
pub async fn batch(call: Call) -> Answer {
    let body: ReleaseBatchBody<'_> = read::object(call.text()?)?;
    settle::batch::<ReleaseBody<'_>, _>(&call, "releases", &body.releases, |items| Release { items }).await
}
