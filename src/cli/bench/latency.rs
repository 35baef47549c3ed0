// SPDX-License-Identifier: Apache-2.0
//! From the start of an enqueue to the job at a worker that has nothing else to do, at a fixed low rate. The payload
//! carries the time, so producer and worker share nothing but this process's clock.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::{MissedTickBehavior, timeout};

use super::h2c::{Events, Http2};
use super::load::{Gate, Measured};
use super::stats::Part;
use super::target::{Line, Target};
use crate::client::EventStream;

/// How a worker waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    /// On an open stream, everything over HTTP/1.1.
    Stream,
    /// On an open stream, everything over HTTP/2 without TLS: producer and worker have a connection each.
    Http2,
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
    let producer = Producer::open(target, waiting, queue, payload).await?;
    let mut producer = tokio::spawn(producer.run(rate, gate.clone(), base));
    let (mut part, mut seen, mut produced) = (Part::default(), 0_u64, None);
    while produced.is_none_or(|produced| seen < produced) {
        let job = {
            // Kept while the producer is looked at: a long poll that is given up half-way would lose its job.
            let mut next = std::pin::pin!(worker.next());
            loop {
                tokio::select! {
                    job = timeout(STRAGGLER, next.as_mut()) => break job.ok(),
                    made = &mut producer, if produced.is_none() => {
                        let made: Part = made??;
                        (part.errors, part.first_error) = (made.errors, made.first_error);
                        produced = Some(made.jobs);
                        if seen >= made.jobs {
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
        part.sample(base.elapsed().saturating_sub(Duration::from_nanos(stamp.at)));
        seen += 1;
        worker.ack(&stamped.job_id, &stamped.lease_token).await?;
    }
    producer.abort();
    if let Some(missing) =
        produced.map(|produced| produced.saturating_sub(seen)).filter(|missing| *missing > 0)
    {
        part.error(format!("{missing} jobs did not arrive"));
    }
    part.jobs = seen;
    Ok(Measured { part, took: base.elapsed(), backlog: None })
}

/// The one producer.
struct Producer {
    target: Arc<Target>,
    way: Way,
    queue: String,
    filler: String,
}

/// How a call is made.
enum Way {
    Http1(Line),
    Http2(Http2),
}

impl Way {
    async fn open(target: &Target, waiting: Waiting) -> Result<Self> {
        Ok(match waiting {
            Waiting::Http2 => Self::Http2(Http2::open(target).await?),
            Waiting::Stream | Waiting::Fetch => Self::Http1(Line::open(target).await?),
        })
    }

    /// A call; its answer's body.
    async fn post(&mut self, target: &Target, path: &[&str], body: String) -> Result<Vec<u8>> {
        match self {
            Self::Http1(line) => {
                let mut request = Vec::new();
                target.write(&mut request, path, body.as_bytes());
                if !line.send(&request).await? {
                    let why = line.part.first_error.take().unwrap_or_default();
                    bail!("{} was refused: {why}", path.concat());
                }
                Ok(std::mem::take(&mut line.body))
            }
            Self::Http2(http2) => http2.post(&path.concat(), body.into()).await,
        }
    }
}

impl Producer {
    async fn open(target: &Arc<Target>, waiting: Waiting, queue: &str, payload: usize) -> Result<Self> {
        Ok(Self {
            target: target.clone(),
            way: Way::open(target, waiting).await?,
            queue: queue.to_owned(),
            filler: "x".repeat(payload.saturating_sub(40)),
        })
    }

    async fn run(mut self, rate: u32, gate: Arc<Gate>, base: Instant) -> Result<Part> {
        let mut part = Part::default();
        let mut tick = tokio::time::interval(Duration::from_secs(1) / rate.max(1));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (queue, filler) = (&self.queue, &self.filler);
        loop {
            tick.tick().await;
            if !gate.admit(1) {
                return Ok(part);
            }
            let at = base.elapsed().as_nanos();
            let body = format!(r#"{{"queue":"{queue}","payload":{{"at":{at},"data":"{filler}"}}}}"#);
            match self.way.post(&self.target, &["/enqueue"], body).await {
                Ok(_) => part.jobs += 1,
                Err(e) => part.error(format!("{e:#}")),
            }
        }
    }
}

/// The one worker: how it gets jobs, and how it acks them.
struct Worker {
    target: Arc<Target>,
    source: Source,
    acks: Way,
}

/// Where jobs come from.
enum Source {
    Stream(EventStream),
    /// The connection is kept beside the stream on it.
    Http2(Events, #[expect(dead_code, reason = "dropping it closes the stream")] Http2),
    Fetch(Line, Vec<u8>),
}

impl Worker {
    async fn open(target: &Arc<Target>, waiting: Waiting, queue: &str) -> Result<Self> {
        let path = format!("/stream?queues={queue}&worker_id=bench-idle&prefetch=16&concurrency=16");
        let source = match waiting {
            Waiting::Stream => Source::Stream(target.client().stream(&path, None).await?),
            Waiting::Http2 => {
                let mut http2 = Http2::open(target).await?;
                Source::Http2(http2.stream(&path).await?, http2)
            }
            Waiting::Fetch => {
                let fetch = format!(
                    r#"{{"queues":["{queue}"],"worker_id":"bench-idle","hostname":"bench","timeout":2}}"#
                );
                Source::Fetch(Line::open(target).await?, target.request("/fetch", fetch.as_bytes()))
            }
        };
        Ok(Self { target: target.clone(), source, acks: Way::open(target, waiting).await? })
    }

    /// The next job as JSON.
    async fn next(&mut self) -> Result<String> {
        loop {
            let event = match &mut self.source {
                Source::Stream(stream) => stream.next().await?.context("the server ended the stream")?,
                Source::Http2(stream, _) => stream.next().await?,
                Source::Fetch(line, fetch) => {
                    if !line.send(fetch).await? {
                        bail!("fetch was refused: {}", line.part.first_error.as_deref().unwrap_or_default());
                    }
                    if !line.body.is_empty() {
                        return Ok(String::from_utf8_lossy(&line.body).into_owned());
                    }
                    continue;
                }
            };
            if event.name == "job" {
                return Ok(event.data);
            }
        }
    }

    async fn ack(&mut self, job: &str, token: &str) -> Result<()> {
        let body = format!(r#"{{"lease_token":"{token}"}}"#);
        self.acks.post(&self.target, &["/ack/", job], body).await?;
        Ok(())
    }
}
