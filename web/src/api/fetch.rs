// SPDX-License-Identifier: Apache-2.0
//! `POST /fetch` and `POST /fetch/batch`.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use jobbie_broker::Reply;
use jobbie_broker::reply::LeasedJob;

use super::{BodyFailures, Refused};
use crate::body::Body;
use crate::call::{Answer, AtIndex, Call, accepted, unexpected};
use crate::error::Problem;
use crate::wire::fetch::{FetchBatchReply, FetchBody, Leased, room};
use crate::wire::read;

async fn leased(call: &mut Call, batch: bool) -> Result<(u64, Vec<LeasedJob>), Problem> {
    let body: FetchBody<'_> = read::object(call.text()?)?;
    let (fetch, wait) = body.check(batch, call.turn(), &call.web.config.limits)?;
    // The wait may be long, and many wait.
    call.body = Body::default();
    match accepted(call.ports().fetch(&call.caller, fetch, wait).await?)? {
        (index, Reply::Fetched(jobs)) => Ok((index, jobs)),
        (_, other) => Err(unexpected(&other)),
    }
}

/// Leases a job; waits for one up to `timeout`.
#[utoipa::path(
    post, path = "/api/v1/fetch", operation_id = "fetch", tag = "workers",
    request_body(content = FetchBody, description = "What the worker takes. Also as `application/msgpack`.", example = json!({"queues": ["emails"], "worker_id": "w1", "timeout": 0})),
    responses((status = 200, description = "A job", body = Leased), (status = 204, description = "No job came in time"), BodyFailures, Refused),
)]
pub async fn one(mut call: Call) -> Answer {
    let (index, jobs) = leased(&mut call, false).await?;
    match jobs.first() {
        Some(job) => call.sized(StatusCode::OK, &Leased::from(job), room(&jobs)).at_index(index),
        None => Ok(HttpResponse::NoContent().finish()).at_index(index),
    }
}

/// Leases up to `count` jobs; waits for the first one up to `timeout`.
#[utoipa::path(
    post, path = "/api/v1/fetch/batch", operation_id = "fetchBatch", tag = "workers",
    request_body(content = FetchBody, description = "What the worker takes. Also as `application/msgpack`.", example = json!({"queues": ["emails"], "worker_id": "w1", "timeout": 0, "count": 10})),
    responses((status = 200, description = "The jobs; none if none came in time", body = FetchBatchReply), BodyFailures, Refused),
)]
pub async fn batch(mut call: Call) -> Answer {
    let (index, jobs) = leased(&mut call, true).await?;
    let reply = FetchBatchReply { jobs: jobs.iter().map(Leased::from).collect() };
    call.sized(StatusCode::OK, &reply, room(&jobs)).at_index(index)
}
