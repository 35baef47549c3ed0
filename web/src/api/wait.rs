// SPDX-License-Identifier: Apache-2.0
//! `GET /jobs/{id}/wait`: a long poll until a job is finished.

use std::time::Duration;

use actix_web::http::StatusCode;
use jobbie_actors::ports::{JobDetail, News, Subscription, Topic, trace};
use jobbie_broker::{Change, Event, JobRef, Millis};
use tokio::time::Instant;

use super::job::{detail, named};
use super::{Failures, NotFound};
use crate::call::{Answer, Call};
use crate::error::Problem;
use crate::wire::fetch::MAX_WAIT;
use crate::wire::job::JobView;
use crate::wire::schema;

/// How long to wait if the caller does not say.
const DEFAULT_WAIT: Millis = Millis::from_secs(30);

/// The query parameters.
pub const PARAMETERS: &[&str] = &["timeout"];

/// Waits until a job is finished, or `timeout` is over, and returns the job as it is then.
#[utoipa::path(
    get, path = "/api/v1/jobs/{job_id}/wait", operation_id = "waitForJob", tag = "producers",
    params(
        ("job_id" = inline(schema::JobId), Path, description = "the job"),
        ("timeout" = Option<String>, Query, description = "how long to wait, 0 to 60 seconds; 30 if absent", example = "30"),
    ),
    responses((status = 200, description = "The job, finished or not", body = JobView), Failures, NotFound),
)]
pub async fn wait(call: Call) -> Answer {
    let timeout = call.query()?.span("timeout")?.map_or(DEFAULT_WAIT, |span| span.0);
    if timeout > MAX_WAIT {
        return Err(Problem::field("timeout", "must be from 0 to 60 seconds"));
    }
    let deadline = Instant::now() + Duration::from_millis(timeout.0);
    let detail = finished(&call, named(&call)?, deadline).await?;
    call.sized(StatusCode::OK, &JobView::full(&detail), 1024 + detail.payload.len())
}

async fn finished(call: &Call, job: JobRef, deadline: Instant) -> Result<JobDetail, Problem> {
    let mut now = detail(call, job.clone()).await?;
    if now.job.state.kind().is_terminal() {
        return Ok(now);
    }
    // First the subscription, then the look: what happens between the two is told.
    let mut subscription = call.ports().subscribe(&call.caller, vec![Topic::Job(now.job.no)], None);
    let mut stopping = call.ports().stopping();
    loop {
        now = detail(call, job.clone()).await?;
        if now.job.state.kind().is_terminal() || Instant::now() >= deadline || *stopping.borrow_and_update() {
            return Ok(now);
        }
        let wait = async {
            tokio::select! {
                () = end(&mut subscription) => {}
                () = tokio::time::sleep_until(deadline) => {}
                _ = stopping.changed() => {}
            }
        };
        trace::waiting(wait).await;
    }
}

/// Resolves when the job may be finished or gone.
async fn end(subscription: &mut Subscription) {
    loop {
        match subscription.next().await {
            News::Resync => return,
            News::Event(numbered) => match &numbered.event {
                Event::Job(event) if event.state.is_terminal() || event.change == Change::Deleted => return,
                _ => {}
            },
        }
    }
}
