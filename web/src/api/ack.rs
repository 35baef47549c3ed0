// SPDX-License-Identifier: Apache-2.0
//! `POST /ack/{job_id}` and `POST /ack/batch`.

use jobbie_broker::command::Ack;

use super::{BodyFailures, NotFound, Refused, settle};
use crate::call::{Answer, Call};
use crate::wire::ack::{AckBatchBody, AckBody};
use crate::wire::lease::{Results, SettledReply, Settling as _};
use crate::wire::{Place, read, schema};

/// Acknowledges a job: the attempt succeeded. Answered 200, it is never undone.
#[utoipa::path(
    post, path = "/api/v1/ack/{job_id}", operation_id = "ack", tag = "workers",
    params(("job_id" = inline(schema::JobId), Path, description = "the job")),
    request_body(content = Option<AckBody>, description = "Also as `application/msgpack`.", example = json!({"lease_token": "1.9f0c3a5be1d27748", "result": {"sent": true}})),
    responses((status = 200, description = "Done; a repeat with the same token gets the same answer", body = SettledReply), BodyFailures, NotFound, Refused),
)]
pub async fn one(call: Call) -> Answer {
    let id = call.path("job_id")?;
    let body: AckBody<'_> = read::object(call.optional_text()?)?;
    let item = body.check(&Place::ROOT, Some(&id), &call.web.config.limits)?;
    settle::one(&call, &id, Ack { items: vec![item] }).await
}

/// The same for many jobs; each item stands alone.
#[utoipa::path(
    post, path = "/api/v1/ack/batch", operation_id = "ackBatch", tag = "workers",
    request_body(content = AckBatchBody, description = "Also as `application/msgpack`."),
    responses((status = 200, description = "One answer per item, in order", body = Results), BodyFailures),
)]
pub async fn batch(call: Call) -> Answer {
    let body: AckBatchBody<'_> = read::object(call.text()?)?;
    settle::batch::<AckBody<'_>, _>(&call, "acks", &body.acks, |items| Ack { items }).await
}
