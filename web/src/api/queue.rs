// SPDX-License-Identifier: Apache-2.0
//! Queues: list, read, and what a person does to one.

use actix_web::HttpResponse;
use jobbie_broker::command::{ClearQueue, DeleteQueue, QueueSetting, SetQueue};
use jobbie_broker::{Command, Name, Reply};

use super::stats;
use super::{BodyFailures, Failures, NotFound, Refused};
use crate::call::{Answer, AtIndex, Call, JSON, accepted, unexpected};
use crate::error::Problem;
use crate::wire::queue::{ConcurrencyBody, QueueDeleted, QueueView, QueuesView, ThrottleBody};
use crate::wire::{name, read, schema};

/// The query parameters of `DELETE /queues/{queue}`.
pub const DELETE_PARAMETERS: &[&str] = &["confirm"];

fn named(call: &Call) -> Result<Name, Problem> {
    name::queue_in_path(&call.path("queue")?)
}

/// Lists the queues with their counts and rates.
#[utoipa::path(
    get, path = "/api/v1/queues", operation_id = "listQueues", tag = "queues",
    responses((status = 200, description = "The queues, by name", body = QueuesView), Failures),
)]
pub async fn list(call: Call) -> Answer {
    let body = stats::queues(call.ports(), &call.caller).await?;
    Ok(HttpResponse::Ok().content_type(JSON).body(body))
}

/// Reads a queue.
#[utoipa::path(
    get, path = "/api/v1/queues/{queue}", operation_id = "getQueue", tag = "queues",
    params(("queue" = inline(schema::QueueName), Path, description = "the queue")),
    responses((status = 200, description = "The queue", body = QueueView), Failures, NotFound),
)]
pub async fn get(call: Call) -> Answer {
    show(&call, &named(&call)?).await
}

async fn show(call: &Call, queue: &Name) -> Answer {
    let Some(row) = call.ports().queue(&call.caller, queue)? else {
        return Err(Problem::not_found("queue", queue));
    };
    let rates = call.ports().rates(&call.caller, queue);
    let name = queue.clone();
    let oldest = call.ports().read(&call.caller, move |view| view.oldest_pending(&name)).await?;
    call.ok(&QueueView::new(queue, &row, &rates, oldest).with_minutes(&rates))
}

async fn change(call: &Call, command: impl Into<Command>) -> Result<u64, Problem> {
    match accepted(call.ports().propose(&call.caller, command).await?)? {
        (index, Reply::Queue) => Ok(index),
        (_, other) => Err(unexpected(&other)),
    }
}

async fn set(call: &Call, setting: QueueSetting) -> Answer {
    let queue = named(call)?;
    let index = change(call, SetQueue { queue: queue.clone(), setting }).await?;
    show(call, &queue).await.at_index(index)
}

/// Stops handing out jobs; everything else goes on. An unknown queue is created.
#[utoipa::path(
    post, path = "/api/v1/queues/{queue}/pause", operation_id = "pauseQueue", tag = "queues",
    params(("queue" = inline(schema::QueueName), Path, description = "the queue")),
    responses((status = 200, description = "The queue after the call", body = QueueView), BodyFailures, Refused),
)]
pub async fn pause(call: Call) -> Answer {
    call.no_fields()?;
    set(&call, QueueSetting::Pause).await
}

/// Ends pause and drain.
#[utoipa::path(
    post, path = "/api/v1/queues/{queue}/resume", operation_id = "resumeQueue", tag = "queues",
    params(("queue" = inline(schema::QueueName), Path, description = "the queue")),
    responses((status = 200, description = "The queue after the call", body = QueueView), BodyFailures, Refused),
)]
pub async fn resume(call: Call) -> Answer {
    call.no_fields()?;
    set(&call, QueueSetting::Resume).await
}

/// Refuses new jobs from outside; what is in the queue finishes.
#[utoipa::path(
    post, path = "/api/v1/queues/{queue}/drain", operation_id = "drainQueue", tag = "queues",
    params(("queue" = inline(schema::QueueName), Path, description = "the queue")),
    responses((status = 200, description = "The queue after the call", body = QueueView), BodyFailures, Refused),
)]
pub async fn drain(call: Call) -> Answer {
    call.no_fields()?;
    set(&call, QueueSetting::Drain).await
}

/// Limits how many jobs of a queue are active at once.
#[utoipa::path(
    post, path = "/api/v1/queues/{queue}/concurrency", operation_id = "limitQueueConcurrency", tag = "queues",
    params(("queue" = inline(schema::QueueName), Path, description = "the queue")),
    request_body(content = ConcurrencyBody, example = json!({"concurrency": 10})),
    responses((status = 200, description = "The queue after the call", body = QueueView), BodyFailures, Refused),
)]
pub async fn concurrency(call: Call) -> Answer {
    let body: ConcurrencyBody = read::object(call.text()?)?;
    set(&call, body.check()?).await
}

/// Limits how many jobs of a queue start per period.
#[utoipa::path(
    post, path = "/api/v1/queues/{queue}/throttle", operation_id = "throttleQueue", tag = "queues",
    params(("queue" = inline(schema::QueueName), Path, description = "the queue")),
    request_body(content = ThrottleBody, example = json!({"count": 100, "period": "1m"})),
    responses((status = 200, description = "The queue after the call", body = QueueView), BodyFailures, Refused),
)]
pub async fn throttle(call: Call) -> Answer {
    let body: ThrottleBody = read::object(call.text()?)?;
    set(&call, body.check()?).await
}

/// Lifts the limit of starts per period.
#[utoipa::path(
    delete, path = "/api/v1/queues/{queue}/throttle", operation_id = "unthrottleQueue", tag = "queues",
    params(("queue" = inline(schema::QueueName), Path, description = "the queue")),
    responses((status = 200, description = "The queue after the call", body = QueueView), Failures, NotFound, Refused),
)]
pub async fn unthrottle(call: Call) -> Answer {
    let queue = named(&call)?;
    // A limit that is lifted should not create a queue.
    if call.ports().queue(&call.caller, &queue)?.is_none() {
        return Err(Problem::not_found("queue", &queue));
    }
    set(&call, QueueSetting::Throttle(None)).await
}

/// Removes the waiting jobs of a queue: invisible at once, removed in steps.
#[utoipa::path(
    post, path = "/api/v1/queues/{queue}/clear", operation_id = "clearQueue", tag = "queues",
    params(("queue" = inline(schema::QueueName), Path, description = "the queue")),
    responses((status = 200, description = "The queue after the call", body = QueueView), BodyFailures, NotFound, Refused),
)]
pub async fn clear(call: Call) -> Answer {
    call.no_fields()?;
    let queue = named(&call)?;
    let index = change(&call, ClearQueue { queue: queue.clone() }).await?;
    show(&call, &queue).await.at_index(index)
}

/// Removes a queue with all its jobs; refused while jobs are active.
#[utoipa::path(
    delete, path = "/api/v1/queues/{queue}", operation_id = "deleteQueue", tag = "queues",
    params(
        ("queue" = inline(schema::QueueName), Path, description = "the queue"),
        ("confirm" = bool, Query, description = "must be `true`"),
    ),
    responses((status = 200, description = "It is being removed", body = QueueDeleted), Failures, NotFound, Refused),
)]
pub async fn delete(call: Call) -> Answer {
    if call.query()?.get("confirm") != Some("true") {
        return Err(Problem::field("confirm", "must be true: the queue goes with all its jobs"));
    }
    let queue = named(&call)?;
    let index = change(&call, DeleteQueue { queue: queue.clone() }).await?;
    call.ok(&QueueDeleted { name: &queue, deleting: true }).at_index(index)
}
