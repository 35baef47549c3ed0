// SPDX-License-Identifier: Apache-2.0
//! Enqueue: one job per request, and batches. The same loop drives the bare server, so that only the server differs.

use std::sync::Arc;

use anyhow::Result;

use super::load::{self, Gate, Measured, PATIENCE};
use super::target::{Target, batch, job};

/// One request over and over on each connection.
pub async fn repeat(
    target: &Arc<Target>,
    connections: usize,
    gate: &Arc<Gate>,
    request: Vec<u8>,
    jobs_per_request: u64,
) -> Result<Measured> {
    let request = Arc::new(request);
    load::run(target, connections, gate, |_, mut line| {
        let (gate, request) = (gate.clone(), request.clone());
        async move {
            let mut refused = 0;
            while refused < PATIENCE && gate.admit(jobs_per_request) {
                if line.send(&request).await? {
                    line.part.done(jobs_per_request);
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

/// The request for one job.
pub fn single(target: &Target, queue: &str, payload: usize) -> Vec<u8> {
    target.request("/enqueue", job(queue, payload).as_bytes())
}

/// The request for a batch.
pub fn many(target: &Target, queue: &str, payload: usize, count: usize) -> Vec<u8> {
    target.request("/enqueue/batch", batch(&job(queue, payload), count).as_bytes())
}
