// SPDX-License-Identifier: Apache-2.0
//! Jobs: list, read, and what a person does to one.

use std::sync::Arc;

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use jobbie_actors::ports::JobDetail;
use jobbie_broker::command::{Cancel, CloneJob, Delete, Move, Retry};
use jobbie_broker::{Command, Job, JobRef, Name, Reply, StateKind};

use super::{BodyFailures, Failures, NotFound, Refused};
use crate::call::{Answer, AtIndex, Call, accepted, unexpected};
use crate::error::{Detail, Problem};
use crate::wire::enqueue::EnqueueReply;
use crate::wire::job::{JobPage, JobView, MoveBody, PatchBody, TimelineView};
use crate::wire::query::Query;
use crate::wire::{Place, cursor, name, read, schema};

/// Jobs on a page if the caller does not say.
const DEFAULT_PAGE: u32 = 50;
/// Jobs on a page at most.
const MAX_PAGE: u32 = 1_000;
/// The query parameters of the listing.
pub const PARAMETERS: &[&str] = &["queue", "state", "cursor", "limit"];

/// The job that the path names.
///
/// # Errors
/// `NOT_FOUND` if no job can have that id.
pub fn named(call: &Call) -> Result<JobRef, Problem> {
    name::job(&call.path("job_id")?)
}

/// Reads a job.
///
/// # Errors
/// `NOT_FOUND`.
pub async fn detail(call: &Call, job: JobRef) -> Result<JobDetail, Problem> {
    let missing = Problem::not_found("job", &job.to_string());
    call.ports().read(&call.caller, move |view| view.job(&job)).await?.ok_or(missing)
}

/// Lists jobs, newest first.
#[utoipa::path(
    get, path = "/api/v1/jobs", operation_id = "listJobs", tag = "jobs",
    params(
        ("queue" = inline(Option<schema::QueueName>), Query, description = "only this queue"),
        ("state" = Option<String>, Query, description = "only this state: `scheduled`, `blocked`, `pending`, `active`, `retrying`, `held`, `completed`, `dead`, `cancelled`"),
        ("cursor" = Option<String>, Query, description = "from the page before"),
        ("limit" = Option<u32>, Query, description = "jobs on the page; 50 if absent", minimum = 1, maximum = 1000),
    ),
    responses((status = 200, description = "A page", body = JobPage), Failures),
)]
pub async fn list(call: Call) -> Answer {
    let query = call.query()?;
    let limit = query.number("limit", 1, MAX_PAGE)?.unwrap_or(DEFAULT_PAGE) as usize;
    let cursor = query.get("cursor").map(cursor::read).transpose()?;
    let (queue, state) = (queue(&call, &query)?, state(&query)?);
    let page = call.ports().read(&call.caller, move |view| view.jobs(queue, state, cursor, limit)).await?;
    let jobs = page.jobs.iter().map(JobView::full).collect();
    let cursor = page.next.map(cursor::write);
    let room = 64 + page.jobs.iter().map(room).sum::<usize>();
    call.sized(StatusCode::OK, &JobPage { jobs, has_more: cursor.is_some(), cursor }, room)
}

fn room(detail: &JobDetail) -> usize {
    let bodies = [Some(&detail.payload), detail.checkpoint.as_ref(), detail.result.as_ref()];
    1024 + bodies.into_iter().flatten().map(|body| body.len()).sum::<usize>()
}

fn queue(call: &Call, query: &Query<'_>) -> Result<Option<Name>, Problem> {
    let Some(text) = query.get("queue") else { return Ok(None) };
    let queue = name::queue(&Place::ROOT.key("queue"), text)?;
    call.caller.may_touch(&queue)?;
    Ok(Some(queue))
}

fn state(query: &Query<'_>) -> Result<Option<StateKind>, Problem> {
    let state = query.get("state").map(|text| {
        let names = || StateKind::ALL.map(|kind| kind.name().to_owned()).to_vec();
        StateKind::parse(text).ok_or_else(|| {
            Problem::field("state", format!("must be one of {}", names().join(", ")))
                .with("allowed", Detail::List(names()))
        })
    });
    state.transpose()
}

/// Reads a job with everything.
#[utoipa::path(
    get, path = "/api/v1/jobs/{job_id}", operation_id = "getJob", tag = "jobs",
    params(("job_id" = inline(schema::JobId), Path, description = "the job")),
    responses((status = 200, description = "The job", body = JobView), Failures, NotFound),
)]
pub async fn get(call: Call) -> Answer {
    let detail = detail(&call, named(&call)?).await?;
    call.sized(StatusCode::OK, &JobView::full(&detail), room(&detail))
}

/// Reads what happened to a job.
#[utoipa::path(
    get, path = "/api/v1/jobs/{job_id}/timeline", operation_id = "getTimeline", tag = "jobs",
    params(("job_id" = inline(schema::JobId), Path, description = "the job")),
    responses((status = 200, description = "What happened", body = TimelineView), Failures, NotFound),
)]
pub async fn timeline(call: Call) -> Answer {
    let job = named(&call)?;
    let missing = Problem::not_found("job", &job.to_string());
    let row = call.ports().read(&call.caller, move |view| view.job_row(&job)).await?.ok_or(missing)?;
    call.ok(&TimelineView::from(&row))
}

async fn change(call: &Call, command: impl Into<Command>) -> Result<(u64, Option<Arc<Job>>), Problem> {
    match accepted(call.ports().propose(&call.caller, command).await?)? {
        (index, Reply::Job(job)) => Ok((index, job)),
        (_, other) => Err(unexpected(&other)),
    }
}

async fn changed(call: &Call, command: impl Into<Command>) -> Answer {
    match change(call, command).await? {
        (index, Some(job)) => call.ok(&JobView::row(&job)).at_index(index),
        (_, None) => Err(unexpected(&Reply::Job(None))),
    }
}

/// Sends a dead, cancelled, scheduled or retrying job back to its queue now.
#[utoipa::path(
    post, path = "/api/v1/jobs/{job_id}/retry", operation_id = "retryJob", tag = "jobs",
    params(("job_id" = inline(schema::JobId), Path, description = "the job")),
    responses((status = 200, description = "The job after the call", body = JobView), BodyFailures, NotFound, Refused),
)]
pub async fn retry(call: Call) -> Answer {
    call.no_fields()?;
    changed(&call, Retry { job: named(&call)? }).await
}

/// Calls a job off. An active one stays active until its worker, who is told, or its lease ends it.
#[utoipa::path(
    post, path = "/api/v1/jobs/{job_id}/cancel", operation_id = "cancelJob", tag = "jobs",
    params(("job_id" = inline(schema::JobId), Path, description = "the job")),
    responses((status = 200, description = "The job after the call; `status` is `cancelled` or `cancelling`", body = JobView), BodyFailures, NotFound, Refused),
)]
pub async fn cancel(call: Call) -> Answer {
    call.no_fields()?;
    match change(&call, Cancel { job: named(&call)? }).await? {
        (index, Some(job)) => call.ok(&JobView::row(&job).cancelling()).at_index(index),
        (_, None) => Err(unexpected(&Reply::Job(None))),
    }
}

/// Puts a job into another queue.
#[utoipa::path(
    post, path = "/api/v1/jobs/{job_id}/move", operation_id = "moveJob", tag = "jobs",
    params(("job_id" = inline(schema::JobId), Path, description = "the job")),
    request_body(content = MoveBody, example = json!({"queue": "emails-slow"})),
    responses((status = 200, description = "The job after the call", body = JobView), BodyFailures, NotFound, Refused),
)]
pub async fn move_to(call: Call) -> Answer {
    let body: MoveBody<'_> = read::object(call.text()?)?;
    changed(&call, Move { job: named(&call)?, queue: body.check()? }).await
}

/// Enqueues a copy of a job.
#[utoipa::path(
    post, path = "/api/v1/jobs/{job_id}/clone", operation_id = "cloneJob", tag = "jobs",
    params(("job_id" = inline(schema::JobId), Path, description = "the job")),
    responses((status = 201, description = "The new job", body = EnqueueReply), BodyFailures, NotFound, Refused),
)]
pub async fn clone(call: Call) -> Answer {
    call.no_fields()?;
    let decided = call.ports().propose(&call.caller, CloneJob { job: named(&call)? }).await?;
    let (index, reply) = match accepted(decided)? {
        (index, Reply::Enqueued(jobs)) if !jobs.is_empty() => (index, EnqueueReply::new(&jobs[0], None)),
        (index, Reply::Job(Some(job))) => {
            let state = job.state.kind().name();
            (
                index,
                EnqueueReply { job_id: job.id().to_string(), state, unique_existing: false, result: None },
            )
        }
        (_, other) => return Err(unexpected(&other)),
    };
    call.answer(StatusCode::CREATED, &reply).at_index(index)
}

/// Changes a job that is not active.
#[utoipa::path(
    patch, path = "/api/v1/jobs/{job_id}", operation_id = "patchJob", tag = "jobs",
    params(("job_id" = inline(schema::JobId), Path, description = "the job")),
    request_body(content = PatchBody, example = json!({"priority": "high"})),
    responses((status = 200, description = "The job after the call", body = JobView), BodyFailures, NotFound, Refused),
)]
pub async fn patch(call: Call) -> Answer {
    let body: PatchBody<'_> = read::object(call.text()?)?;
    let patch = body.check(named(&call)?, &call.web.config.limits)?;
    changed(&call, patch).await
}

/// Removes a job.
#[utoipa::path(
    delete, path = "/api/v1/jobs/{job_id}", operation_id = "deleteJob", tag = "jobs",
    params(("job_id" = inline(schema::JobId), Path, description = "the job")),
    responses((status = 204, description = "It is gone"), Failures, NotFound, Refused),
)]
pub async fn delete(call: Call) -> Answer {
    let (index, _) = change(&call, Delete { job: named(&call)? }).await?;
    Ok(HttpResponse::NoContent().finish()).at_index(index)
}
