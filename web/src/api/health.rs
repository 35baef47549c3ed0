// SPDX-License-Identifier: Apache-2.0
//! `/healthz`, `/readyz` and the metrics: what machines ask.

use actix_web::HttpResponse;

use crate::call::{Answer, Call};
use crate::error::{Code, ErrorBody, Problem};

/// The text format that Prometheus has made a standard of its own, OpenMetrics.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The process is up.
#[utoipa::path(
    get, path = "/healthz", operation_id = "getHealth", tag = "operations",
    responses((status = 200, description = "`ok`", body = String, content_type = "text/plain"), (status = 403, description = "`FORBIDDEN`", body = ErrorBody)),
)]
pub async fn healthz(_: Call) -> Answer {
    Ok(HttpResponse::Ok().content_type("text/plain; charset=utf-8").body("ok\n"))
}

/// What a ready node adds while it refuses new jobs: it is still wanted for everything else.
const NEARLY_FULL: &str = "ready\nstorage: nearly full, new jobs are refused\n";

/// There is a leader and its log is applied: calls can be answered. A second line tells of a disk that is nearly
/// full.
#[utoipa::path(
    get, path = "/readyz", operation_id = "getReadiness", tag = "operations",
    responses(
        (status = 200, description = "`ready`", body = String, content_type = "text/plain"),
        (status = 403, description = "`FORBIDDEN`", body = ErrorBody),
        (status = 503, description = "`UNAVAILABLE`: not yet, or not any more", body = ErrorBody),
    ),
)]
pub async fn readyz(call: Call) -> Answer {
    if call.ports().is_ready() {
        let body = if call.ports().disk_room().full { NEARLY_FULL } else { "ready\n" };
        return Ok(HttpResponse::Ok().content_type("text/plain; charset=utf-8").body(body));
    }
    Err(Problem::new(Code::Unavailable, "there is no leader yet, or the process is stopping").retry_after(1))
}

async fn render(call: &Call) -> Answer {
    Ok(HttpResponse::Ok().content_type(OPEN_METRICS).body(call.ports().metrics_text(&call.caller).await?))
}

/// All metrics in the text format of Prometheus.
#[utoipa::path(
    get, path = "/metrics", operation_id = "getMetrics", tag = "operations",
    responses((status = 200, description = "The metrics", body = String, content_type = "application/openmetrics-text"), super::Failures),
)]
pub async fn metrics(call: Call) -> Answer {
    render(&call).await
}

/// The same as `/metrics`, under the API's path.
#[utoipa::path(
    get, path = "/api/v1/metrics", operation_id = "getApiMetrics", tag = "operations",
    responses((status = 200, description = "The metrics", body = String, content_type = "application/openmetrics-text"), super::Failures),
)]
pub async fn api_metrics(call: Call) -> Answer {
    render(&call).await
}
