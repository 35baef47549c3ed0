// SPDX-License-Identifier: Apache-2.0
//! Fetch and ack: singly, in batches, and on streams. The queue is filled before; a run also ends when it is empty.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Result, bail};
use serde::Deserialize;
use tokio::sync::watch;
use tokio::time::timeout_at;

use super::load::{self, Gate, Measured, PATIENCE};
use super::target::{Leased, LeasedMany, Line, Target, acks};

/// Jobs on a stream that are not acked yet: enough that the server never waits for an ack.
const PREFETCH: usize = 1_000;

/// One job at a time.
pub async fn single(target: &Arc<Target>, workers: usize, gate: &Arc<Gate>, queue: &str) -> Result<Measured> {
    load::run(target, workers, gate, |i, line| {
        worker(target.clone(), gate.clone(), queue.to_owned(), i, line, 0)
    })
    .await
}

/// One worker: fetch, ack, until the queue is empty or, with `wait` seconds of long poll, until the gate closes.
pub async fn worker(
    target: Arc<Target>,
    gate: Arc<Gate>,
    queue: String,
    i: usize,
    mut line: Line,
    wait: u32,
) -> Result<Line> {
    let fetch =
        format!(r#"{{"queues":["{queue}"],"worker_id":"bench-{i}","hostname":"bench","timeout":{wait}}}"#);
    let fetch = target.request("/fetch", fetch.as_bytes());
    let (mut ack, mut body, mut refused) = (Vec::new(), Vec::new(), 0);
    while refused < PATIENCE && gate.admit(1) {
        if !line.send(&fetch).await? {
            refused += 1;
            continue;
        }
        if line.body.is_empty() {
            if wait > 0 {
                continue;
            }
            break;
        }
        let job: Leased<'_> = serde_json::from_slice(&line.body)?;
        body.clear();
        body.extend_from_slice(br#"{"lease_token":""#);
        body.extend_from_slice(job.lease_token.as_bytes());
        body.extend_from_slice(br#""}"#);
        target.write(&mut ack, &["/ack/", &job.job_id], &body);
        if line.send(&ack).await? {
            line.part.jobs += 1;
            refused = 0;
        } else {
            refused += 1;
        }
    }
    Ok(line)
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
        let (target, gate) = (target.clone(), gate.clone());
        let fetch = format!(r#"{{"queues":["{queue}"],"worker_id":"bench-{i}","hostname":"bench","timeout":0,"count":{count}}}"#);
        async move {
            let fetch = target.request("/fetch/batch", fetch.as_bytes());
            let (mut ack, mut body, mut refused) = (Vec::new(), Vec::new(), 0);
            while refused < PATIENCE && gate.admit(count as u64) {
                if !line.send(&fetch).await? {
                    refused += 1;
                    continue;
                }
                let leased: LeasedMany<'_> = serde_json::from_slice(&line.body)?;
                let got = leased.jobs.len();
                if got == 0 {
                    break;
                }
                acks(leased.jobs.iter().map(|job| (&*job.job_id, &*job.lease_token)), &mut body);
                target.write(&mut ack, &["/ack/batch"], &body);
                if line.send(&ack).await? {
                    line.part.jobs += acked(&mut line, got)?;
                    refused = 0;
                } else {
                    refused += 1;
                }
            }
            Ok(line)
        }
    })
    .await
}

/// Streams: the server pushes, acks go back in batches of whatever has arrived.
pub async fn streams(
    target: &Arc<Target>,
    count: usize,
    gate: &Arc<Gate>,
    queue: &str,
    filled: u64,
) -> Result<Measured> {
    let done = Arc::new(AtomicU64::new(0));
    let (all_done, _) = watch::channel(false);
    load::run(target, count, gate, |i, mut line| {
        let (target, gate, done, all_done) = (target.clone(), gate.clone(), done.clone(), all_done.clone());
        let path =
            format!("/stream?queues={queue}&worker_id=bench-{i}&prefetch={PREFETCH}&concurrency={PREFETCH}");
        async move {
            let mut stream = target.client().stream(&path, None).await?;
            let deadline = gate.deadline().into();
            let mut end = all_done.subscribe();
            let (mut ack, mut body, mut jobs) = (Vec::new(), Vec::new(), Vec::new());
            while gate.is_open() {
                let event = tokio::select! {
                    event = timeout_at(deadline, stream.next()) => event,
                    _ = end.wait_for(|is_over| *is_over) => break,
                };
                let Ok(event) = event else { break };
                let Some(event) = event? else { bail!("the server ended the stream") };
                jobs.clear();
                let mut next = Some(event);
                while let Some(event) = next {
                    if event.name == "job" {
                        jobs.push(event.data);
                    }
                    next = if jobs.len() < PREFETCH { stream.buffered() } else { None };
                }
                if jobs.is_empty() {
                    continue;
                }
                let leased: Vec<Leased<'_>> =
                    jobs.iter().map(|data| serde_json::from_str(data)).collect::<Result<_, _>>()?;
                acks(leased.iter().map(|job| (&*job.job_id, &*job.lease_token)), &mut body);
                target.write(&mut ack, &["/ack/batch"], &body);
                if !line.send(&ack).await? {
                    bail!("an ack was refused");
                }
                let count = acked(&mut line, jobs.len())?;
                line.part.jobs += count;
                if done.fetch_add(count, Ordering::Relaxed) + count >= filled {
                    all_done.send_replace(true);
                }
            }
            Ok(line)
        }
    })
    .await
}

/// How many items of a batched ack went through; the others are errors.
fn acked(line: &mut Line, sent: usize) -> Result<u64> {
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
    for code in refused {
        line.part.error(code);
    }
    Ok(done)
}
