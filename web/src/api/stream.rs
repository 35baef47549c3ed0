// SPDX-License-Identifier: Apache-2.0
//! `GET /stream`: jobs pushed to a worker as server-sent events. `curl -N` on it is a working worker.
//!
//! The stream behind the port keeps the credit; here its news are only written. Dropping the connection
//! drops the stream at once, which gives back what was not delivered.

use futures_util::stream;
use jobbie_actors::ports::{JobStream, StreamNews, StreamRequest};
use jobbie_broker::JobId;
use serde::Serialize;

use super::{Failures, TooMany};
use crate::call::{Answer, Call};
use crate::error::Problem;
use crate::sse::{self, Frame};
use crate::wire::fetch::{Leased, lease_length, queue_list};
use crate::wire::limits::MAX_FETCH;
use crate::wire::query::Query;
use crate::wire::{Place, name};

/// The query parameters.
pub const PARAMETERS: &[&str] =
    &["queues", "worker_id", "hostname", "prefetch", "concurrency", "lease_duration"];

/// Streams jobs to a worker: server-sent events.
#[utoipa::path(
    get, path = "/api/v1/stream", operation_id = "streamJobs", tag = "workers",
    params(
        ("queues" = String, Query, description = "names with commas between them, asked in this order", example = "emails,reports"),
        ("worker_id" = Option<String>, Query, description = "the same id may reconnect and adopts its leases", max_length = 256),
        ("hostname" = Option<String>, Query, description = "the worker's host", max_length = 256),
        ("prefetch" = Option<u32>, Query, description = "unacknowledged jobs on the stream; as `concurrency` if absent", minimum = 1, maximum = 1000),
        ("concurrency" = Option<u32>, Query, description = "how many of them the worker runs at once; 1 if absent", minimum = 1, maximum = 1000),
        ("lease_duration" = Option<String>, Query, description = "1 s to 24 h; 60 s if absent", example = "60s"),
    ),
    responses(
        (status = 200, description = "Events `job` (as from fetch), `cancel`, `lease_lost`, `ping`, `drain`", body = String, content_type = "text/event-stream"),
        Failures, TooMany,
    ),
)]
pub async fn open(call: Call) -> Answer {
    let request = request(&call.query()?)?;
    let permit = call.stream_permit()?;
    let jobs = call.ports().open_stream(call.caller.clone(), request).await?;
    let frames = stream::unfold(jobs, |mut jobs: JobStream| async {
        let news = jobs.next().await?;
        Some((frame(news), jobs))
    });
    // The stream says `drain` by itself.
    Ok(sse::respond(permit, None, frames))
}

fn request(query: &Query<'_>) -> Result<StreamRequest, Problem> {
    let place = Place::ROOT;
    let concurrency = query.number("concurrency", 1, MAX_FETCH)?.unwrap_or(1);
    Ok(StreamRequest {
        queues: queue_list(&place.key("queues"), query.list("queues"))?,
        worker: name::worker(&place.key("worker_id"), query.get("worker_id"))?,
        hostname: name::worker(&place.key("hostname"), query.get("hostname"))?,
        prefetch: query.number("prefetch", 1, MAX_FETCH)?.unwrap_or(concurrency),
        concurrency,
        lease: lease_length(&place.key("lease_duration"), query.span("lease_duration")?)?,
    })
}

#[derive(Serialize)]
struct About {
    job_id: String,
}

fn about(name: &str, job: &JobId) -> Frame {
    Frame::json(name, None, &About { job_id: job.to_string() })
}

fn frame(news: StreamNews) -> Frame {
    match news {
        StreamNews::Job { index, leased, adopted } => {
            let job = Leased { index: Some(index), adopted: Some(adopted), ..Leased::from(&*leased) };
            Frame::json("job", None, &job)
        }
        StreamNews::Cancel(job) => about("cancel", &job),
        StreamNews::LeaseLost(job) => about("lease_lost", &job),
        StreamNews::Drain => Frame::bare("drain"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(text: &str) -> Result<StreamRequest, Problem> {
        request(&Query::parse(text, PARAMETERS)?)
    }

    #[test]
    fn queues_are_enough() {
        let request = ask("queues=a,b").unwrap();
        assert_eq!((request.queues.len(), request.prefetch, request.concurrency), (2, 1, 1));
        assert_eq!((&*request.worker, request.lease.0), ("", 60_000));
        let request = ask("queues=a&concurrency=4&worker_id=w&lease_duration=5").unwrap();
        assert_eq!((request.prefetch, &*request.worker, request.lease.0), (4, "w", 5_000));
        assert_eq!(ask("queues=a&prefetch=16").unwrap().prefetch, 16);
    }

    #[test]
    fn the_rest_is_refused() {
        for bad in [
            "",
            "queues=",
            "queues=a%20b",
            "queues=a&prefetch=0",
            "queues=a&prefetch=1001",
            "queues=a&lease_duration=0",
            "queues=a&worker=w",
        ] {
            assert_eq!(ask(bad).unwrap_err().code.name(), "VALIDATION", "{bad}");
        }
    }
}
