// SPDX-License-Identifier: Apache-2.0
//! Fetch and ack, singly and in batches. The queue is filled before; a run also ends when it is empty.

use std::borrow::Cow;
use std::sync::Arc;

use anyhow::Result;
use serde::Deserialize;

use super::load::{self, Gate, Lead, Measured, PATIENCE};
use super::target::{Leased, LeasedMany, Line, Target, acks};

/// Fetches and acks singly.
pub struct Worker {
    target: Arc<Target>,
    fetch: Vec<u8>,
    ack: Vec<u8>,
    body: Vec<u8>,
}

/// What became of one fetch and its ack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// A job was fetched and acked.
    Acked,
    /// There was no job.
    Empty,
    /// The server refused one of them.
    Refused,
}

impl Worker {
    /// The `i`-th worker of a queue; `wait` is how many seconds a fetch waits for a job.
    pub fn new(target: Arc<Target>, queue: &str, i: usize, wait: u32) -> Self {
        let fetch = format!(
            r#"{{"queues":["{queue}"],"worker_id":"bench-{i}","hostname":"bench","timeout":{wait}}}"#
        );
        let fetch = target.request("/fetch", fetch.as_bytes());
        Self { target, fetch, ack: Vec::new(), body: Vec::new() }
    }

    /// One job.
    pub async fn turn(&mut self, line: &mut Line) -> Result<Turn> {
        if !line.send(&self.fetch).await? {
            return Ok(Turn::Refused);
        }
        if line.body.is_empty() {
            return Ok(Turn::Empty);
        }
        let job: Leased<'_> = serde_json::from_slice(&line.body)?;
        self.body.clear();
        self.body.extend_from_slice(br#"{"lease_token":""#);
        self.body.extend_from_slice(job.lease_token.as_bytes());
        self.body.extend_from_slice(br#""}"#);
        self.target.write(&mut self.ack, &["/ack/", &job.job_id], &self.body);
        if !line.send(&self.ack).await? {
            return Ok(Turn::Refused);
        }
        line.part.done(1);
        Ok(Turn::Acked)
    }
}

/// One job at a time.
pub async fn single(target: &Arc<Target>, workers: usize, gate: &Arc<Gate>, queue: &str) -> Result<Measured> {
    load::run(target, workers, gate, |i, mut line| {
        let (mut worker, gate) = (Worker::new(target.clone(), queue, i, 0), gate.clone());
        async move {
            let mut refused = 0;
            while refused < PATIENCE && gate.admit(1) {
                match worker.turn(&mut line).await? {
                    Turn::Acked => refused = 0,
                    Turn::Refused => refused += 1,
                    Turn::Empty => break,
                }
            }
            Ok(line)
        }
    })
    .await
}

/// Until the gate closes, beside producers: an empty queue is waited for.
pub async fn wait_and_work(
    mut worker: Worker,
    gate: Arc<Gate>,
    lead: Arc<Lead>,
    mut line: Line,
) -> Result<Line> {
    let mut refused = 0;
    while refused < PATIENCE && gate.is_open() {
        match worker.turn(&mut line).await? {
            Turn::Acked => {
                lead.acked(1);
                refused = 0;
            }
            Turn::Refused => refused += 1,
            Turn::Empty => {}
        }
    }
    line.part = line.part.without_latencies();
    Ok(line)
}

/// Fetches and acks in batches.
pub struct BatchWorker {
    target: Arc<Target>,
    fetch: Vec<u8>,
    ack: Vec<u8>,
    body: Vec<u8>,
}

impl BatchWorker {
    /// The `i`-th worker of a queue.
    pub fn new(target: Arc<Target>, queue: &str, i: usize, count: usize) -> Self {
        let fetch = format!(
            r#"{{"queues":["{queue}"],"worker_id":"bench-{i}","hostname":"bench","timeout":0,"count":{count}}}"#
        );
        let fetch = target.request("/fetch/batch", fetch.as_bytes());
        Self { target, fetch, ack: Vec::new(), body: Vec::new() }
    }

    /// One batch.
    pub async fn turn(&mut self, line: &mut Line) -> Result<Turn> {
        if !line.send(&self.fetch).await? {
            return Ok(Turn::Refused);
        }
        let leased: LeasedMany<'_> = serde_json::from_slice(&line.body)?;
        let got = leased.jobs.len();
        if got == 0 {
            return Ok(Turn::Empty);
        }
        acks(leased.jobs.iter().map(|job| (&*job.job_id, &*job.lease_token)), &mut self.body);
        self.target.write(&mut self.ack, &["/ack/batch"], &self.body);
        if !line.send(&self.ack).await? {
            return Ok(Turn::Refused);
        }
        acked(line, got)?;
        Ok(Turn::Acked)
    }
}

/// A batch at a time.
pub async fn batches(
    target: &Arc<Target>,
    workers: usize,
    gate: &Arc<Gate>,
    queue: &str,
    count: usize,
) -> Result<Measured> {
    load::run(target, workers, gate, |i, mut line| {
        let (mut worker, gate) = (BatchWorker::new(target.clone(), queue, i, count), gate.clone());
        async move {
            let mut refused = 0;
            while refused < PATIENCE && gate.admit(count as u64) {
                match worker.turn(&mut line).await? {
                    Turn::Acked => refused = 0,
                    Turn::Refused => refused += 1,
                    Turn::Empty => break,
                }
            }
            Ok(line)
        }
    })
    .await
}

/// Counts the items of a batched ack that went through; the others are errors.
pub fn acked(line: &mut Line, sent: usize) -> Result<u64> {
    #[derive(Deserialize)]
    struct Results<'a> {
        #[serde(borrow)]
        results: Vec<Item<'a>>,
    }
    #[derive(Deserialize)]
    struct Item<'a> {
        #[serde(borrow)]
        code: Option<Cow<'a, str>>,
    }
    let results: Results<'_> = serde_json::from_slice(&line.body)?;
    let refused: Vec<String> =
        results.results.iter().filter_map(|item| item.code.as_deref()).map(str::to_owned).collect();
    let done = sent.saturating_sub(refused.len()) as u64;
    line.part.done(done);
    for code in refused {
        line.part.error(code);
    }
    Ok(done)
}
