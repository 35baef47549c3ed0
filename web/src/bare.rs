// SPDX-License-Identifier: Apache-2.0
//! The yardstick of `jobbie bench`: actix's own HTTP server and the same parsing and checking of the same body,
//! answered directly. What it reaches is what any broker behind it could reach at most.

use std::future::Future;
use std::io;
use std::net::SocketAddr;

use actix_web::http::StatusCode;
use actix_web::{App, HttpResponse, HttpServer, web};

use crate::wire::enqueue::JobBody;
use crate::wire::{Limits, Place, read};

/// Serves `POST /api/v1/enqueue` on an address until it is dropped: the body is read and checked as by the
/// broker, the answer is always the same.
pub fn serve(address: SocketAddr, workers: usize) -> impl Future<Output = io::Result<()>> {
    let bound = HttpServer::new(|| App::new().route("/api/v1/enqueue", web::post().to(enqueue)))
        .workers(workers)
        .tcp_nodelay(true)
        .disable_signals()
        .bind(address);
    async move { bound?.run().await }
}

async fn enqueue(body: web::Bytes) -> HttpResponse {
    let parsed = read::text(&body).and_then(read::object::<JobBody<'_>>);
    match parsed.and_then(|body| body.check(&Place::ROOT, &Limits::default())) {
        Ok(_) => HttpResponse::Created()
            .content_type("application/json")
            .body(r#"{"job_id":"job_00000000000000000000000000","state":"pending","unique_existing":false}"#),
        Err(_) => HttpResponse::new(StatusCode::BAD_REQUEST),
    }
}
