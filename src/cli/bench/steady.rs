// SPDX-License-Identifier: Apache-2.0
//! Enqueue, fetch and ack in turn on each connection: the queue keeps the depth that it has, so that the same work can be
//! measured over a short queue and over a deep one.

use std::sync::Arc;

use anyhow::Result;

use super::cycle::{BatchWorker, Turn, Worker};
use super::enqueue;
use super::load::{self, Gate, Measured, PATIENCE};
use super::target::{Line, Target};

/// How a connection works.
enum Way {
    Single(Worker),
    Batches(BatchWorker),
}

impl Way {
    async fn turn(&mut self, line: &mut Line) -> Result<Turn> {
        match self {
            Self::Single(worker) => worker.turn(line).await,
            Self::Batches(worker) => worker.turn(line).await,
        }
    }
}

/// `count` jobs at a time: 1 uses the single calls, more the batches.
pub async fn run(
    target: &Arc<Target>,
    connections: usize,
    gate: &Arc<Gate>,
    queue: &str,
    payload: usize,
    count: usize,
) -> Result<Measured> {
    let request = Arc::new(match count {
        1 => enqueue::single(target, queue, payload),
        _ => enqueue::many(target, queue, payload, count),
    });
    load::run(target, connections, gate, |i, mut line| {
        let (gate, request) = (gate.clone(), request.clone());
        let mut way = match count {
            1 => Way::Single(Worker::new(target.clone(), queue, i, 0)),
            _ => Way::Batches(BatchWorker::new(target.clone(), queue, i, count)),
        };
        async move {
            let mut refused = 0;
            while refused < PATIENCE && gate.admit(count as u64) {
                let is_done = line.send(&request).await? && way.turn(&mut line).await? == Turn::Acked;
                refused = if is_done { 0 } else { refused + 1 };
            }
            Ok(line)
        }
    })
    .await
}
