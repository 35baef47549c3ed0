// SPDX-License-Identifier: Apache-2.0
//! Producers and workers at once: what a system under normal load does.

use std::sync::Arc;

use anyhow::Result;

use super::load::{self, Gate, Measured, PATIENCE};
use super::target::Target;
use super::{cycle, enqueue};

/// Seconds of a worker's long poll: short, so that a run ends soon after its time.
const WAIT: u32 = 1;

/// `producers` enqueue one job at a time, `workers` fetch and ack. What counts is what was acked.
pub async fn run(
    target: &Arc<Target>,
    producers: usize,
    workers: usize,
    gate: &Arc<Gate>,
    queue: &str,
    payload: usize,
) -> Result<Measured> {
    let request = Arc::new(enqueue::single(target, queue, payload));
    load::run(target, producers + workers, gate, |i, mut line| {
        let (target, gate, queue, request) =
            (target.clone(), gate.clone(), queue.to_owned(), request.clone());
        async move {
            if i >= producers {
                return cycle::worker(target, gate, queue, i, line, WAIT).await;
            }
            let mut refused = 0;
            while refused < PATIENCE && gate.is_open() {
                refused = if line.send(&request).await? { 0 } else { refused + 1 };
            }
            Ok(line)
        }
    })
    .await
}
