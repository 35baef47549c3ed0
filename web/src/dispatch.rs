// SPDX-License-Identifier: Apache-2.0
//! What happens to every request before and after its handler.
//!
//! id → guard (host and origin) → authorizer → namespace → body → handler → headers, metrics, log

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::http::header::{ALLOW, CONTENT_LENGTH, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use actix_web::http::{Method, StatusCode};
use actix_web::{HttpRequest, HttpResponse, guard, web};
use bytes::{Bytes, BytesMut};
use futures_util::{FutureExt as _, StreamExt as _};
use jobbie_actors::ports::Caller;

use crate::call::{Answer, BodyType, Call, Format, Web, as_json, problem_response, request_id};
use crate::error::{Code, Detail, Problem};
use crate::routes::{Answers, Row, Takes};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longer than this is worth a line in the log.
const SLOW: Duration = Duration::from_secs(1);
/// How long a body may take to arrive: 16 MiB at a little more than 4 Mbit/s.
const BODY_TIME: Duration = Duration::from_secs(30);
/// The label of what is not in the table.
const UNKNOWN: &str = "unknown";

/// Puts the rows into an application: one resource per path, with its methods.
pub fn mount(config: &mut web::ServiceConfig, web: &Arc<Web>, rows: &[Row]) {
    let mut paths: Vec<&'static str> = Vec::new();
    for row in rows {
        if !paths.contains(&row.path) {
            paths.push(row.path);
        }
    }
    for path in paths {
        let here: Vec<&Row> = rows.iter().filter(|row| row.path == path).collect();
        let mut resource = web::resource(format!("{}{path}", web.base));
        for row in &here {
            resource = resource.route(route(web, row));
        }
        let allowed: Vec<&str> = here.iter().map(|row| row.method.as_str()).collect();
        config.service(resource.default_service(refusal(web, Some(allowed.join(", ")))));
    }
    if !web.base.is_empty() {
        // `GET /jobs` for the base path `/jobs`, besides `/jobs/`.
        if let Some(home) = rows.iter().find(|row| row.path == "/") {
            config.service(web::resource(web.base.clone()).route(route(web, home)));
        }
    }
    config.default_service(refusal(web, None));
}

fn route(web: &Arc<Web>, row: &Row) -> actix_web::Route {
    let (web, row) = (web.clone(), Arc::new(row.clone()));
    let route = if row.method == Method::GET {
        web::route().guard(guard::Any(guard::Get()).or(guard::Head()))
    } else {
        web::method(row.method.clone())
    };
    route.to(move |request: HttpRequest, payload: web::Payload| {
        let (web, row) = (web.clone(), row.clone());
        async move { dispatch(web, row, request, payload).await }
    })
}

/// Answers what is not in the table: the path, or with `allowed` the method.
fn refusal(web: &Arc<Web>, allowed: Option<String>) -> actix_web::Route {
    let web = web.clone();
    web::route().to(move |request: HttpRequest| {
        let (web, allowed) = (web.clone(), allowed.clone());
        async move {
            let (began, id) = (Instant::now(), request_id(request.headers()));
            let problem = match &allowed {
                None => Problem::new(Code::NotFound, "there is no such address"),
                Some(allowed) => {
                    let message = format!("{} is not a method here; allowed are {allowed}", request.method());
                    Problem::new(Code::MethodNotAllowed, message)
                        .with("allowed", Detail::Text(allowed.clone()))
                }
            };
            let mut response = problem_response(&problem, &id, Format::Json);
            if let Some(value) = allowed.and_then(|text| HeaderValue::from_str(&text).ok()) {
                response.headers_mut().insert(ALLOW, value);
            }
            finish(&web, &mut response, &id);
            web.ports.metrics().http(UNKNOWN, response.status().as_u16(), began.elapsed());
            response
        }
    })
}

async fn dispatch(web: Arc<Web>, row: Arc<Row>, request: HttpRequest, payload: web::Payload) -> HttpResponse {
    let (began, id) = (Instant::now(), request_id(request.headers()));
    let kind = BodyType::of(request.headers());
    let format =
        if row.takes == Takes::Worker { Format::wanted(request.headers(), kind) } else { Format::Json };
    // A handler that panics must cost its caller an answer, not the connection of others.
    let answer =
        AssertUnwindSafe(answer(&web, &row, request, payload, &id, kind, format)).catch_unwind().await;
    let answer = answer.unwrap_or_else(|_| {
        tracing::error!(request = &*id, route = row.path, "a handler panicked");
        Err(Problem::new(Code::Internal, "the server failed while it answered"))
    });
    let mut response = answer.unwrap_or_else(|problem| {
        if problem.code == Code::Internal {
            tracing::error!(request = &*id, route = row.path, error = problem.message, "a request failed");
        }
        problem_response(&problem, &id, format)
    });
    finish(&web, &mut response, &id);
    let (status, took) = (response.status(), began.elapsed());
    // How long a long poll took says how long there was nothing to do.
    if row.answers == Answers::Now {
        web.ports.metrics().http(row.path, status.as_u16(), took);
    }
    report(&row, status, took, &id);
    response
}

fn finish(web: &Web, response: &mut HttpResponse, id: &str) {
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(id) {
        headers.insert(REQUEST_ID, value);
    }
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if *web.ports.stopping().borrow() {
        // Whoever keeps a connection open should open the next one elsewhere.
        response.head_mut().set_connection_type(actix_web::http::ConnectionType::Close);
    }
}

fn report(row: &Row, status: StatusCode, took: Duration, id: &str) {
    let slow = took > SLOW && row.answers == Answers::Now;
    // 503 and 507 are answers to the caller; what they come from is logged where it happens.
    if slow || status.is_server_error() {
        let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        tracing::warn!(request = id, method = %row.method, route = row.path, status = status.as_u16(), ms, "slow or failed request");
    }
}

async fn answer(
    web: &Arc<Web>,
    row: &Row,
    request: HttpRequest,
    payload: web::Payload,
    id: &Arc<str>,
    kind: BodyType,
    format: Format,
) -> Answer {
    web.guard.check(&request, row.action)?;
    let by = web.seams.authorizer.authorize(request.headers(), row.action)?;
    let namespace = web.seams.namespaces.resolve(request.headers(), &by)?;
    let body = body(web, row, &request, payload, kind).await?;
    let call = Call {
        web: web.clone(),
        request,
        body,
        caller: Caller { by, namespace },
        request_id: id.clone(),
        format,
    };
    (row.handler)(call).await
}

async fn body(
    web: &Web,
    row: &Row,
    request: &HttpRequest,
    payload: web::Payload,
    kind: BodyType,
) -> Result<Bytes, Problem> {
    if row.takes == Takes::Nothing {
        return Ok(Bytes::new());
    }
    let limit = web.config.limits.body;
    let length =
        request.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if let Some(length) = length.filter(|length| *length > limit) {
        return Err(Problem::too_large("the body", length, limit));
    }
    let bytes = match tokio::time::timeout(BODY_TIME, collect(payload, limit, length)).await {
        Ok(bytes) => bytes?,
        Err(_) => {
            let message = format!("the body did not arrive within {} s", BODY_TIME.as_secs());
            return Err(Problem::new(Code::RequestTimeout, message));
        }
    };
    let right = match kind {
        BodyType::Json => true,
        BodyType::MsgPack => row.takes == Takes::Worker,
        BodyType::None => bytes.is_empty(),
        BodyType::Other => false,
    };
    if !right {
        return Err(unsupported(row.takes));
    }
    as_json(bytes, kind)
}

fn unsupported(takes: Takes) -> Problem {
    let allowed = match takes {
        Takes::Worker => "application/json or application/msgpack",
        _ => "application/json",
    };
    Problem::new(Code::UnsupportedMediaType, format!("the content type of the body must be {allowed}"))
        .with("field", Detail::Text("Content-Type".into()))
}

/// The whole body. What came in one piece, as most bodies do, is not copied.
async fn collect(mut payload: web::Payload, limit: usize, length: Option<usize>) -> Result<Bytes, Problem> {
    let mut whole: Option<BytesMut> = None;
    let mut first = Bytes::new();
    while let Some(part) = payload.next().await {
        let part =
            part.map_err(|e| Problem::new(Code::Validation, format!("the body could not be read: {e}")))?;
        let size = whole.as_ref().map_or(first.len(), BytesMut::len) + part.len();
        if size > limit {
            return Err(Problem::too_large("the body", size, limit));
        }
        match &mut whole {
            Some(whole) => whole.extend_from_slice(&part),
            None if first.is_empty() => first = part,
            None => {
                let mut joined = BytesMut::with_capacity(length.unwrap_or(size * 2));
                joined.extend_from_slice(&first);
                joined.extend_from_slice(&part);
                whole = Some(joined);
            }
        }
    }
    Ok(whole.map_or(first, BytesMut::freeze))
}
