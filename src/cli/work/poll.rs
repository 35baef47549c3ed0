// SPDX-License-Identifier: Apache-2.0
//! Fetching: one long poll at a time, repeated under the same `request_id` until it is answered, so that a lease that
//! was granted to a broken connection is found again.

use std::time::Duration;

use anyhow::Result;
use serde::Deserialize;
use tokio::time::Instant;

use super::super::body::Body;
use super::Worker;
use super::backoff::Backoff;
use super::job::Leased;
use super::settle;
use crate::client::{Call, Error, unique_token};

/// One poll of an idle worker: proxies commonly cut a silent connection after 30 or 60 s.
pub const WAIT: Duration = Duration::from_secs(25);
/// How long the end of a worker looks for jobs that a poll it gave up may have been granted.
const LAST_LOOK: Duration = Duration::from_secs(5);

/// A fetch that can be repeated.
pub struct Poll {
    count: usize,
    wait: Duration,
    request_id: String,
    /// When it was sent first. What it is granted was not granted before that.
    pub asked: Instant,
}

#[derive(Deserialize)]
struct Batch {
    jobs: Vec<Leased>,
}

impl Poll {
    /// Asks for up to `count` jobs and waits for the first one for `wait`.
    pub fn new(count: usize, wait: Duration) -> Self {
        Self { count: count.clamp(1, 1_000), wait, request_id: unique_token(), asked: Instant::now() }
    }

    /// Asks until there is an answer. With `patient` a server that is away is waited for.
    pub async fn run(&self, worker: &Worker, patient: bool) -> Result<Vec<Leased>, Error> {
        let mut backoff = Backoff::default();
        loop {
            let error = match self.once(worker, self.wait).await {
                Ok(jobs) => {
                    if backoff.tries() > 0 {
                        worker.log.say("the server is back");
                    }
                    return Ok(jobs);
                }
                Err(e)
                    if e.is_passing()
                        && (patient || backoff.tries() < 3 && !matches!(e, Error::Connect { .. })) =>
                {
                    e
                }
                Err(e) => return Err(e),
            };
            if backoff.tries() == 0 {
                worker.log.say(&format!("fetch: {error}; trying until it answers"));
            }
            tokio::time::sleep(
                error.retry_after().unwrap_or_default().min(Duration::from_secs(30)).max(backoff.next()),
            )
            .await;
        }
    }

    /// Gives back what this poll, given up half-way, may have been granted.
    pub async fn give_back(&self, worker: &Worker) -> Result<()> {
        let found = tokio::time::timeout(LAST_LOOK, self.once(worker, Duration::ZERO)).await;
        for job in found.ok().and_then(Result::ok).unwrap_or_default() {
            settle::release(worker, &job.job_id, &job.lease_token, None).await?;
            worker.tally.count(&worker.tally.other);
            worker.log.say(&format!("{} released: the worker is ending", job.job_id));
        }
        Ok(())
    }

    async fn once(&self, worker: &Worker, wait: Duration) -> Result<Vec<Leased>, Error> {
        let ms = |span: Duration| format!("{}ms", span.as_millis());
        let mut body = Body::default();
        body.set("queues", &worker.queues)
            .and_then(|b| b.set("worker_id", &worker.id))
            .and_then(|b| b.set("hostname", &worker.hostname))
            .and_then(|b| b.set("count", &self.count))
            .and_then(|b| b.set("timeout", &ms(wait)))
            .and_then(|b| b.set("lease_duration", &ms(worker.lease)))
            .and_then(|b| b.set("request_id", &self.request_id))
            .map_err(|e| Error::Nonsense(e.to_string()))?;
        let mut call = Call::post("/fetch/batch", &body)?;
        // A poll that is answered late has been cut off by something on the way.
        call.timeout = wait + Duration::from_secs(10);
        let answer = worker.client.send(&call).await?;
        if answer.body.is_empty() {
            return Ok(Vec::new());
        }
        Ok(answer.json::<Batch>()?.jobs)
    }
}
