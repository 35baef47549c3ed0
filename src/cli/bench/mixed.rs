// SPDX-License-Identifier: Apache-2.0
//! Producers and workers at once: what a system under normal load does. Producers enqueue one job per request. What counts
//! is what was acked, and beside it how far the producers were ahead.

use std::sync::Arc;

use anyhow::Result;
use tokio::sync::watch;

use super::load::{self, Gate, Lead, Measured, PATIENCE};
use super::target::{Line, Target};
use super::{cycle, enqueue, stream};

/// Seconds of a worker's long poll: short, so that a run ends soon after its time.
const WAIT: u32 = 1;

/// Jobs that producers may be ahead of workers: four for each worker. Without a bound 16 producers with one request per job
/// outrun 16 workers with two, and what is measured is a queue that grows.
const AHEAD: u32 = 64;

/// How the workers work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Workers {
    /// Fetch one, ack one.
    Single,
    /// On streams with so many jobs on the way, acks in batches.
    Streams(usize),
}

/// `producers` and as many workers; the producers keep pace with them, or do not.
pub async fn run(
    target: &Arc<Target>,
    producers: usize,
    workers: Workers,
    keep_pace: bool,
    gate: &Arc<Gate>,
    queue: &str,
    payload: usize,
) -> Result<Measured> {
    let request = Arc::new(enqueue::single(target, queue, payload));
    let lead = Arc::new(Lead::new(keep_pace.then_some(AHEAD)));
    let mut measured = load::run(target, producers * 2, gate, |i, line| {
        let (target, gate, queue) = (target.clone(), gate.clone(), queue.to_owned());
        let (request, lead) = (request.clone(), lead.clone());
        async move {
            if i < producers {
                return produce(&gate, &request, &lead, line).await;
            }
            match workers {
                Workers::Single => {
                    let worker = cycle::Worker::new(target, &queue, i, WAIT);
                    cycle::wait_and_work(worker, gate, lead, line).await
                }
                Workers::Streams(prefetch) => {
                    let worker = stream::Worker::new(target, &queue, i, prefetch);
                    let (_never, over) = watch::channel(false);
                    let mut line = worker.work(gate, line, over, |jobs| lead.acked(jobs)).await?;
                    line.part = line.part.without_latencies();
                    Ok(line)
                }
            }
        }
    })
    .await?;
    measured.backlog = Some(lead.backlog());
    Ok(measured)
}

async fn produce(gate: &Gate, request: &[u8], lead: &Lead, mut line: Line) -> Result<Line> {
    let mut refused = 0;
    while refused < PATIENCE && gate.is_open() {
        lead.room(gate).await;
        if line.send(request).await? {
            lead.produced();
            refused = 0;
        } else {
            refused += 1;
        }
    }
    Ok(line)
}
