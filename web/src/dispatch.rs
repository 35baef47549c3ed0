// SPDX-License-Identifier: Apache-2.0
//! What happens to every request before and after its handler.
//!
//! id → guard (host and origin) → authorizer → namespace → parameters → body → handler → headers, metrics, log
//!
//! A call that takes its time is given up when its caller is not let through any more, be it while it waits or
//! while it streams.

use std::cell::Cell;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::guard;
use actix_web::http::Method;
use actix_web::http::header::{ALLOW, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use actix_web::{HttpRequest, HttpResponse, web};
use futures_util::FutureExt as _;
use jobbie_actors::ports::Caller;
use jobbie_actors::ports::trace::{self, Current, OpenSpan};

use crate::call::{Answer, BodyType, Call, Format, Web, problem_response, request_id, trace_of};
use crate::error::{Code, Detail, Problem};
use crate::forwarded::Origin;
use crate::guard::Guard;
use crate::lapse::Lapsing;
use crate::routes::{Answers, Parameters, Row, Takes};
use crate::seams::{Action, Proof};
use crate::server;
use crate::wire::query::Query;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
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
        let allowed: Vec<String> =
            here.iter().flat_map(|row| row.methods()).map(|method| method.to_string()).collect();
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
    web::route().guard(guarded(row.methods())).to(move |request: HttpRequest, payload: web::Payload| {
        let (web, row) = (web.clone(), row.clone());
        async move { dispatch(web, row, request, payload).await }
    })
}

fn guarded(methods: Vec<Method>) -> impl guard::Guard {
    guard::fn_guard(move |context| methods.contains(&context.head().method))
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
            finish(&mut response, &id);
            web.ports.metrics().http(UNKNOWN, response.status().as_u16(), began.elapsed());
            response
        }
    })
}

async fn dispatch(web: Arc<Web>, row: Arc<Row>, request: HttpRequest, payload: web::Payload) -> HttpResponse {
    let id = request_id(request.headers());
    let tracer = web.ports.tracer();
    let caller = tracer.is_on().then(|| trace_of(request.headers()));
    let span = match caller {
        Some(caller) if caller.is_some() || !is_probe(&row) => {
            tracer.request(format!("{} {}", row.method, row.path), caller)
        }
        _ => None,
    };
    let current = Current::new(id.clone(), span.as_ref().and_then(OpenSpan::context));
    let answering = answer(web, row.clone(), request, payload, id.clone(), current.clone());
    let response = trace::scope(current, answering).await;
    if let Some(span) = span {
        ended(span, &row, &id, response.status().as_u16());
    }
    response
}

/// True for what machines ask every few seconds, and for pages: they have a span only in their caller's trace.
fn is_probe(row: &Row) -> bool {
    row.action == Action::Public || row.path.ends_with("/metrics")
}

/// Ends the span of a request, with the attributes that OpenTelemetry has names for.
fn ended(mut span: OpenSpan, row: &Row, id: &str, status: u16) {
    span.set("http.request.method", row.method.as_str());
    span.set("http.route", row.path);
    span.set("http.response.status_code", u64::from(status));
    span.set("jobbie.request_id", id);
    if status >= 500 {
        span.fail(format!("status {status}"));
    }
    span.end();
}

/// Answers a request within its own scope, so that every line of the log that is written on the way has its id.
async fn answer(
    web: Arc<Web>,
    row: Arc<Row>,
    request: HttpRequest,
    payload: web::Payload,
    id: Arc<str>,
    current: Arc<Current>,
) -> HttpResponse {
    let format = match row.takes {
        Takes::Worker(_) => Format::wanted(request.headers(), BodyType::of(request.headers())),
        _ => Format::Json,
    };
    let origin = server::origin(&web, &request);
    let client = origin.client;
    let call = receive(&web, &row, request, payload, origin, &id, format);
    let (answer, since) = attend(call, |call| async {
        if row.answers == Answers::Now {
            return (row.handler)(call).await;
        }
        let mut lapse = web.authorizer.lapse(&call.pass);
        let answer = tokio::select! {
            biased;
            answer = (row.handler)(call) => answer,
            problem = &mut lapse => Err(problem),
        };
        answer.map(|response| Lapsing::wrap(response, lapse))
    })
    .await;
    let mut response = answer.unwrap_or_else(|problem| {
        match problem.code {
            Code::Internal => {
                tracing::error!(%client, route = row.path, error = problem.message, "a request failed");
            }
            Code::OutcomeUnknown => {
                tracing::warn!(%client, route = row.path, "the outcome of a request is not known");
            }
            // Answers to the caller; what other 503 and 507 come from is logged where it happens.
            _ => {}
        }
        problem_response(&problem, &id, format)
    });
    finish(&mut response, &id);
    // How long a long poll waited says how long there was nothing to do; of a stream this is the opening.
    let (status, waited) = (response.status().as_u16(), current.waited());
    let took = since.elapsed().saturating_sub(waited);
    web.ports.metrics().http(row.path, status, took);
    if web.config.slow_request.is_some_and(|slow| took >= slow) {
        let (ms, waited_ms) = (millis(took), millis(waited));
        tracing::warn!(%client, method = %row.method, route = row.path, status, ms, waited_ms, "slow request");
    }
    response
}

/// Receives a call and answers it. Also says since when the time is ours: how long a body takes to arrive is
/// up to who sends it.
async fn attend<C, A: Future<Output = Answer>>(
    receive: impl Future<Output = Result<C, Problem>>,
    handle: impl FnOnce(C) -> A,
) -> (Answer, Instant) {
    let since = Cell::new(Instant::now());
    let answer = async {
        let call = receive.await;
        since.set(Instant::now());
        handle(call?).await
    };
    // A handler that panics must cost its caller an answer, not the connection of others.
    let answer = AssertUnwindSafe(answer).catch_unwind().await;
    let answer =
        answer.unwrap_or_else(|_| Err(Problem::new(Code::Internal, "the server failed while it answered")));
    (answer, since.get())
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

fn finish(response: &mut HttpResponse, id: &str) {
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(id) {
        headers.insert(REQUEST_ID, value);
    }
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
}

async fn receive(
    web: &Arc<Web>,
    row: &Row,
    request: HttpRequest,
    payload: web::Payload,
    origin: Origin,
    id: &Arc<str>,
    format: Format,
) -> Result<Call, Problem> {
    let guard = if web.authorizer.is_open() { web.guard } else { Guard::Keys };
    guard.check(&request, &origin, row.action)?;
    let pass = web.authorizer.authorize(request.headers(), row.action)?;
    if matches!(pass.proof, Proof::Session { .. }) {
        Guard::Cookie.check(&request, &origin, row.action)?;
    }
    web.authorizer.admit(&pass)?;
    let namespace = web.seams.namespaces.resolve(request.headers(), &pass.by)?;
    let parameters = known(request.query_string(), row.parameters)?;
    let limits = &web.config.limits;
    let body = web.bodies.read(payload, request.headers(), row.takes, limits, origin.one()).await?;
    let lane = origin.lane(server::connection(&request));
    let caller = Caller { by: pass.by.clone(), namespace, scope: pass.scope.clone(), lane };
    let request_id = id.clone();
    Ok(Call { web: web.clone(), request, body, parameters, caller, pass, origin, request_id, format })
}

/// The parameters that the handler may read.
fn known(query: &str, parameters: Parameters) -> Result<&'static [&'static str], Problem> {
    match parameters {
        Parameters::Only(names) => Query::parse(query, names).map(|_| names),
        Parameters::Any => Ok(&[]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routes::table;
    use actix_web::test::TestRequest;

    #[test]
    fn asking_for_the_head_of_a_stream_does_not_lead_to_it() {
        let leads = |path: &str, method: Method| {
            let rows = table();
            let row = rows.iter().find(|row| row.path == path).unwrap();
            let request = TestRequest::with_uri("/").method(method).to_srv_request();
            guard::Guard::check(&guarded(row.methods()), &request.guard_ctx())
        };
        assert!(leads("/api/v1/stream", Method::GET) && !leads("/api/v1/stream", Method::HEAD));
        assert!(leads("/healthz", Method::GET) && leads("/healthz", Method::HEAD));
        assert!(leads("/api/v1/enqueue", Method::POST) && !leads("/api/v1/enqueue", Method::GET));
    }

    #[actix_web::test]
    async fn a_slow_upload_is_not_a_slow_answer() {
        for refused in [false, true] {
            let arrived = Cell::new(Instant::now());
            let receive = async {
                tokio::task::yield_now().await;
                arrived.set(Instant::now());
                if refused { Err(Problem::new(Code::RequestTimeout, "too late")) } else { Ok(()) }
            };
            let (answer, since) = attend(receive, |()| async { Ok(HttpResponse::Ok().finish()) }).await;
            assert_eq!(answer.is_err(), refused);
            assert!(since >= arrived.get());
        }
    }

    #[actix_web::test]
    async fn a_handler_that_panics_is_an_answer() {
        let (answer, _) = attend(async { Ok(()) }, |()| async { panic!("for the test") }).await;
        assert_eq!(answer.unwrap_err().code, Code::Internal);
    }

    #[test]
    fn a_misspelt_parameter_is_refused_on_every_route_of_the_api() {
        for row in table() {
            let refused = known("limt=1", row.parameters).is_err();
            assert_eq!(refused, row.path.starts_with("/api/") || row.path == "/metrics", "{}", row.path);
            assert!(known("", row.parameters).is_ok());
        }
    }
}
