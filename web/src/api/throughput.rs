// SPDX-License-Identifier: Apache-2.0
//! `GET /metrics/throughput`.

use super::Failures;
use crate::call::{Answer, Call};
use crate::wire::throughput::ThroughputView;

/// How fast all queues move together.
#[utoipa::path(
    get, path = "/api/v1/metrics/throughput", operation_id = "getThroughput", tag = "operations",
    responses((status = 200, description = "Rates, latencies, and the last hour by minute", body = ThroughputView), Failures),
)]
pub async fn get(call: Call) -> Answer {
    let rates = call.ports().throughput(&call.caller);
    call.ok(&ThroughputView::from(&rates))
}
