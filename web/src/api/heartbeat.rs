// SPDX-License-Identifier: Apache-2.0
//! `POST /heartbeat`.

use actix_web::http::StatusCode;

use super::BodyFailures;
use crate::call::{Answer, AtIndex, Call};
use crate::wire::heartbeat::{BeatReply, Beats, HeartbeatBody, HeartbeatReply};
use crate::wire::read;

/// Extends leases, and tells what a worker should stop.
#[utoipa::path(
    post, path = "/api/v1/heartbeat", operation_id = "heartbeat", tag = "workers",
    request_body(content = HeartbeatBody, description = "Also as `application/msgpack`.", example = json!({"worker_id": "w1", "jobs": {"job_01K9Z3V8E1D2M5T7Q4R6S8W0XY": {"progress": {"current": 3, "total": 10}}}})),
    responses((status = 200, description = "One answer per job", body = HeartbeatReply), BodyFailures),
)]
pub async fn beat(call: Call) -> Answer {
    let body: HeartbeatBody<'_> = read::object(call.text()?)?;
    let checked = body.check(&call.web.config.limits)?;
    let (items, rest): (Vec<_>, Vec<_>) =
        checked.into_iter().map(|checked| (checked.item, checked.refused)).unzip();
    let asked: Vec<bool> = items.iter().map(Option::is_some).collect();
    let decided = call.ports().heartbeat(&call.caller, items.into_iter().flatten().collect()).await?;
    let mut answers = decided.reply.into_iter();
    let ids = body.jobs.0.iter().map(|(id, _)| &**id);
    let beats = ids.zip(asked.into_iter().zip(rest)).map(|(id, (asked, refused))| {
        let answer = if asked { answers.next() } else { None };
        (id, BeatReply::new(answer, refused))
    });
    let reply = HeartbeatReply { jobs: Beats(beats.collect()) };
    let room = 64 + 128 * reply.jobs.0.len();
    call.sized(StatusCode::OK, &reply, room).at_index(decided.index)
}
