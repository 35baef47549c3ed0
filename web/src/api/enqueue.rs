// SPDX-License-Identifier: Apache-2.0
//! `POST /enqueue` and `POST /enqueue/batch`.

use actix_web::http::StatusCode;
use jobbie_broker::command::Enqueue;
use jobbie_broker::reply::Enqueued;
use jobbie_broker::request::{RequestKey, Route};
use jobbie_broker::{JobRef, Json, Name, Reply, StateKind};

use super::{BodyFailures, Refused};
use crate::call::{Answer, AtIndex, Call, accepted, unexpected};
use crate::error::Problem;
use crate::wire::enqueue::{BatchBody, BatchReply, EnqueueReply, JobBody};
use crate::wire::limits::MAX_NAME;
use crate::wire::{Place, name, read};

/// The header that makes an enqueue repeatable.
const KEY_HEADER: &str = "idempotency-key";

fn request_key(call: &Call, route: Route) -> Result<Option<RequestKey>, Problem> {
    let Some(text) = call.header(KEY_HEADER)? else { return Ok(None) };
    let key = name::key(&Place::ROOT.key("Idempotency-Key"), text, MAX_NAME)?;
    Ok(Some(RequestKey { route, key }))
}

/// Gives jobs that say nothing of a trace that of the call.
fn trace(call: &Call, command: &mut Enqueue) {
    let Some(context) = call.trace() else { return };
    let context = Name::from(context.to_string());
    for job in command.jobs.iter_mut().filter(|job| job.options.trace.is_none()) {
        job.options.trace = Some(context.clone());
    }
}

/// Enqueues a job.
#[utoipa::path(
    post, path = "/api/v1/enqueue", operation_id = "enqueue", tag = "producers",
    params(
        ("Idempotency-Key" = Option<String>, Header, description = "makes the call repeatable for 24 hours", min_length = 1, max_length = 256),
        ("traceparent" = Option<String>, Header, description = "W3C Trace Context: kept on jobs that have no `trace` of their own; ignored if it is not valid"),
    ),
    request_body(content = JobBody, description = "The job. Also as `application/msgpack`.", example = json!({"queue": "emails", "payload": {"to": "a@example.com"}})),
    responses(
        (status = 201, description = "Enqueued", body = EnqueueReply),
        (status = 200, description = "The unique key is held: this is the job that holds it", body = EnqueueReply),
        BodyFailures, Refused,
    ),
)]
pub async fn one(call: Call) -> Answer {
    let body: JobBody<'_> = read::object(call.text()?)?;
    let job = body.check(&Place::ROOT, &call.web.config.limits)?;
    let request = request_key(&call, Route::Enqueue)?;
    let mut command = Enqueue { jobs: vec![job], request };
    trace(&call, &mut command);
    let decided = call.ports().propose(&call.caller, command).await?;
    match accepted(decided)? {
        (index, Reply::Enqueued(jobs)) if !jobs.is_empty() => {
            let enqueued = &jobs[0];
            let status = if enqueued.existing { StatusCode::OK } else { StatusCode::CREATED };
            let result = cached(&call, enqueued).await?;
            call.answer(status, &EnqueueReply::new(enqueued, result.as_ref())).at_index(index)
        }
        (_, other) => Err(unexpected(&other)),
    }
}

/// The result of a completed job that answers for a unique key. It may have been removed since it was found:
/// then there is none any more.
async fn cached(call: &Call, enqueued: &Enqueued) -> Result<Option<Json>, Problem> {
    if !enqueued.existing || enqueued.state != StateKind::Completed {
        return Ok(None);
    }
    let job = JobRef::from(&enqueued.job);
    let found = call.ports().read(&call.caller, move |view| view.job(&job)).await?;
    Ok(found.and_then(|detail| detail.result))
}

/// Enqueues jobs, all or nothing: up to 10,000 in 16 MiB.
#[utoipa::path(
    post, path = "/api/v1/enqueue/batch", operation_id = "enqueueBatch", tag = "producers",
    params(
        ("Idempotency-Key" = Option<String>, Header, description = "makes the call repeatable for 24 hours", min_length = 1, max_length = 256),
        ("traceparent" = Option<String>, Header, description = "W3C Trace Context: kept on jobs that have no `trace` of their own; ignored if it is not valid"),
    ),
    request_body(content = BatchBody, description = "The jobs. Also as `application/msgpack`.", example = json!({"jobs": [{"queue": "emails", "payload": 1}, {"queue": "emails", "payload": 2}]})),
    responses(
        (status = 201, description = "Enqueued", body = BatchReply),
        BodyFailures, Refused,
    ),
)]
pub async fn batch(call: Call) -> Answer {
    let body: BatchBody<'_> = read::object(call.text()?)?;
    let mut command = body.check(request_key(&call, Route::EnqueueBatch)?, &call.web.config.limits)?;
    trace(&call, &mut command);
    let decided = call.ports().propose(&call.caller, command).await?;
    match accepted(decided)? {
        (index, Reply::Enqueued(jobs)) => {
            let job_ids: Vec<String> = jobs.iter().map(|enqueued| enqueued.job.to_string()).collect();
            let room = 64 + 34 * job_ids.len();
            call.sized(StatusCode::CREATED, &BatchReply { job_ids }, room).at_index(index)
        }
        (_, other) => Err(unexpected(&other)),
    }
}
