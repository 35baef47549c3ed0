// SPDX-License-Identifier: Apache-2.0
//! From the start of an enqueue to the job at a worker that has nothing else to do, at a fixed low rate. The payload
//! carries the time, so producer and worker share nothing but this process's clock.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::{MissedTickBehavior, timeout};

use super::load::{Gate, Measured};
use super::target::{Line, Target};
use crate::client::EventStream;

/// How a worker waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    /// On an open stream.
    Stream,
    /// In a long poll.
    Fetch,
}

#[derive(Deserialize)]
struct Stamped<'a> {
    job_id: String,
    lease_token: String,
    #[serde(borrow)]
    payload: &'a RawValue,
}

#[derive(Deserialize)]
struct Stamp {
    at: u64,
}

/// After the last enqueue a job may take this long before it counts as missing.
const STRAGGLER: Duration = Duration::from_secs(5);

/// Enqueues at `rate` per second until the gate closes.
pub async fn run(
    target: &Arc<Target>,
    waiting: Waiting,
    rate: u32,
    gate: &Arc<Gate>,
    queue: &str,
    payload: usize,
) -> Result<Measured> {
    let base = Instant::now();
    let mut worker = Worker::open(target, waiting, queue).await?;
    let mut producer =
        tokio::spawn(produce(target.clone(), rate, gate.clone(), queue.to_owned(), payload, base));
    let mut line = Line::open(target).await?;
    let (mut ack, mut seen, mut produced) = (Vec::new(), 0_u64, None);
    while produced.is_none_or(|produced| seen < produced) {
        let job = {
            // Kept while the producer is looked at: a long poll that is given up half-way would lose its job.
            let mut next = std::pin::pin!(worker.next());
            loop {
                tokio::select! {
                    job = timeout(STRAGGLER, next.as_mut()) => break job.ok(),
                    made = &mut producer, if produced.is_none() => {
                        let made = made??;
                        (line.part.errors, line.part.first_error) = (made.part.errors, made.part.first_error);
                        produced = Some(made.part.jobs);
                        if seen >= made.part.jobs {
                            break None;
                        }
                    }
                }
            }
        };
        let Some(job) = job else { break };
        let job = job?;
        let stamped: Stamped<'_> = serde_json::from_str(&job)?;
        let stamp: Stamp = serde_json::from_str(stamped.payload.get())?;
        line.part.sample(base.elapsed().saturating_sub(Duration::from_nanos(stamp.at)));
        seen += 1;
        let body = format!(r#"{{"lease_token":"{}"}}"#, stamped.lease_token);
        target.write(&mut ack, &["/ack/", &stamped.job_id], body.as_bytes());
        worker.ack(&ack).await?;
    }
    producer.abort();
    if let Some(missing) =
        produced.map(|produced| produced.saturating_sub(seen)).filter(|missing| *missing > 0)
    {
        line.part.error(format!("{missing} jobs did not arrive"));
    }
    line.part.jobs = seen;
    Ok(Measured { part: line.part, took: base.elapsed() })
}

async fn produce(
    target: Arc<Target>,
    rate: u32,
    gate: Arc<Gate>,
    queue: String,
    payload: usize,
    base: Instant,
) -> Result<Line> {
    let mut line = Line::open(&target).await?;
    let mut tick = tokio::time::interval(Duration::from_secs(1) / rate.max(1));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let filler = "x".repeat(payload.saturating_sub(40));
    let mut request = Vec::new();
    loop {
        tick.tick().await;
        if !gate.admit(1) {
            return Ok(line);
        }
        let at = base.elapsed().as_nanos();
        let body = format!(r#"{{"queue":"{queue}","payload":{{"at":{at},"data":"{filler}"}}}}"#);
        target.write(&mut request, &["/enqueue"], body.as_bytes());
        if line.send(&request).await? {
            line.part.jobs += 1;
        }
    }
}

/// The one worker: its way to get jobs, and a connection for acks.
struct Worker {
    stream: Option<EventStream>,
    fetch: Vec<u8>,
    line: Line,
}

impl Worker {
    async fn open(target: &Target, waiting: Waiting, queue: &str) -> Result<Self> {
        let path = format!("/stream?queues={queue}&worker_id=bench-idle&prefetch=16&concurrency=16");
        let stream = match waiting {
            Waiting::Stream => Some(target.client().stream(&path, None).await?),
            Waiting::Fetch => None,
        };
        let fetch =
            format!(r#"{{"queues":["{queue}"],"worker_id":"bench-idle","hostname":"bench","timeout":2}}"#);
        Ok(Self {
            stream,
            fetch: target.request("/fetch", fetch.as_bytes()),
            line: Line::open(target).await?,
        })
    }

    /// The next job as JSON.
    async fn next(&mut self) -> Result<String> {
        loop {
            match &mut self.stream {
                Some(stream) => match stream.next().await? {
                    Some(event) if event.name == "job" => return Ok(event.data),
                    Some(_) => {}
                    None => bail!("the server ended the stream"),
                },
                None => {
                    if !self.line.send(&self.fetch).await? {
                        bail!(
                            "fetch was refused: {}",
                            self.line.part.first_error.as_deref().unwrap_or_default()
                        );
                    }
                    if !self.line.body.is_empty() {
                        return Ok(String::from_utf8_lossy(&self.line.body).into_owned());
                    }
                }
            }
        }
    }

    async fn ack(&mut self, request: &[u8]) -> Result<()> {
        match self.line.send(request).await? {
            true => Ok(()),
            false => {
                bail!("an ack was refused: {}", self.line.part.first_error.as_deref().unwrap_or_default())
            }
        }
    }
}
