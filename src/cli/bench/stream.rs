// SPDX-License-Identifier: Apache-2.0
//! Streams: the server pushes, acks go back in batches of whatever has arrived.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Result, bail};
use tokio::sync::watch;
use tokio::time::timeout_at;

use super::cycle::acked;
use super::load::{self, Gate, Measured};
use super::target::{Leased, Line, Target, acks};
use crate::client::EventStream;

/// Jobs on a stream that are not acked yet: enough that the server never waits for an ack.
const PREFETCH: usize = 1_000;

/// A worker on a stream, with a connection for its acks.
pub struct Worker {
    target: Arc<Target>,
    path: String,
    prefetch: usize,
}

impl Worker {
    /// The `i`-th worker of a queue.
    pub fn new(target: Arc<Target>, queue: &str, i: usize, prefetch: usize) -> Self {
        let path =
            format!("/stream?queues={queue}&worker_id=bench-{i}&prefetch={prefetch}&concurrency={prefetch}");
        Self { target, path, prefetch }
    }

    /// Takes and acks jobs until the gate closes or `over` says so; `on_acked` is told how many were acked.
    pub async fn work(
        self,
        gate: Arc<Gate>,
        mut line: Line,
        mut over: watch::Receiver<bool>,
        on_acked: impl Fn(u64),
    ) -> Result<Line> {
        let mut stream = self.target.client().stream(&self.path, None).await?;
        let deadline = gate.deadline().into();
        let (mut ack, mut body) = (Vec::new(), Vec::new());
        while gate.is_open() {
            let jobs = tokio::select! {
                jobs = timeout_at(deadline, next(&mut stream, self.prefetch)) => jobs,
                _ = over.wait_for(|is_over| *is_over) => break,
            };
            let Ok(jobs) = jobs else { break };
            let jobs = jobs?;
            if jobs.is_empty() {
                continue;
            }
            let leased: Vec<Leased<'_>> =
                jobs.iter().map(|data| serde_json::from_str(data)).collect::<Result<_, _>>()?;
            acks(leased.iter().map(|job| (&*job.job_id, &*job.lease_token)), &mut body);
            self.target.write(&mut ack, &["/ack/batch"], &body);
            if !line.send(&ack).await? {
                bail!("an ack was refused");
            }
            on_acked(acked(&mut line, jobs.len())?);
        }
        Ok(line)
    }
}

/// All jobs that have arrived, at most `most`; waits for an event, which may be another one.
async fn next(stream: &mut EventStream, most: usize) -> Result<Vec<String>> {
    let Some(event) = stream.next().await? else { bail!("the server ended the stream") };
    let (mut jobs, mut next) = (Vec::new(), Some(event));
    while let Some(event) = next {
        if event.name == "job" {
            jobs.push(event.data);
        }
        next = if jobs.len() < most { stream.buffered() } else { None };
    }
    Ok(jobs)
}

/// Empties a queue that was filled with `filled` jobs.
pub async fn run(
    target: &Arc<Target>,
    count: usize,
    gate: &Arc<Gate>,
    queue: &str,
    filled: u64,
) -> Result<Measured> {
    let done = Arc::new(AtomicU64::new(0));
    let (over, _) = watch::channel(false);
    load::run(target, count, gate, |i, line| {
        let (worker, gate) = (Worker::new(target.clone(), queue, i, PREFETCH), gate.clone());
        let (done, over) = (done.clone(), over.clone());
        async move {
            let receiver = over.subscribe();
            let on_acked = move |jobs| {
                if done.fetch_add(jobs, Ordering::Relaxed) + jobs >= filled {
                    over.send_replace(true);
                }
            };
            worker.work(gate, line, receiver, on_acked).await
        }
    })
    .await
}
