// SPDX-License-Identifier: Apache-2.0
//! The application as one function from a request to an answer, which counts the calls of each connection.
//!
//! A call lasts from its head to the end of its answer: an event stream is one for as long as it is open.

use std::error::Error as StdError;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use actix_http::body::{BodySize, BoxBody, MessageBody};
use actix_http::{HttpMessage as _, Request, Response};
use actix_service::{IntoServiceFactory as _, Service, ServiceFactory as _, map_config};
use actix_web::App;
use actix_web::dev::{AppConfig, ServiceResponse};
use actix_web::http::{ConnectionType, Method, StatusCode};
use bytes::Bytes;
use tokio::sync::watch;

use super::conn::{CallGuard, Conn};
use crate::call::{Format, Web, problem_response, request_id};
use crate::dispatch;
use crate::error::{Code, Problem};
use crate::routes::Row;
use crate::shares::Share;

/// What all answers to reads that are being sent may hold together: thirty of the largest listings.
pub const ANSWERS: usize = 256 * 1024 * 1024;
/// The unit they are counted in. One below it is not counted.
pub const UNIT: usize = 64 * 1024;

/// An answer's body that keeps its call under way, and its room taken.
pub struct Body {
    body: BoxBody,
    _call: Option<CallGuard>,
    _room: Option<Share>,
}

impl MessageBody for Body {
    type Error = Box<dyn StdError>;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.body).poll_next(cx)
    }
}

/// Builds the application of one thread.
///
/// # Errors
/// With nothing to say: the application only fails to be built if a part of it does, and ours have none.
pub async fn build(
    web: &Arc<Web>,
    rows: &Arc<[Row]>,
) -> Result<impl Service<Request, Response = ServiceResponse, Error = actix_web::Error> + use<>, ()> {
    let (web, rows) = (web.clone(), rows.clone());
    let app = App::new().configure(move |config| dispatch::mount(config, &web, &rows));
    map_config(app.into_factory(), |()| AppConfig::default()).new_service(()).await
}

/// Answers a request. What is no answer of ours becomes one, so there is never an error.
pub async fn answer<S>(
    app: Rc<S>,
    web: Arc<Web>,
    stopping: watch::Receiver<bool>,
    request: Request,
) -> Response<Body>
where
    S: Service<Request, Response = ServiceResponse, Error = actix_web::Error>,
{
    let conn = request.conn_data::<Rc<Conn>>().or(request.extensions().get::<Rc<Conn>>()).cloned();
    let call = conn.as_ref().map(Conn::call);
    if conn.as_ref().is_some_and(|conn| conn.has_said_close()) {
        // The answer before this one said that nothing behind it counts.
        let problem = Problem::new(Code::Unavailable, "this connection was told to close").retry_after(1);
        let refused = problem_response(&problem, &request_id(request.headers()), Format::Json);
        return closing(refused.into(), call);
    }
    // What else is large has been written when it is answered, so it cannot be refused any more.
    let is_read = request.method() == Method::GET;
    let id = is_read.then(|| request_id(request.headers()));
    let response: Response<BoxBody> = match app.call(request).await {
        Ok(response) => response.into(),
        Err(error) => error.error_response().into(),
    };
    match conn {
        // Whoever waits is answered as soon as the server is told to stop, before the threads are.
        // After a body that did not come in time nobody knows where the next request begins.
        Some(conn)
            if !conn.is_multiplexed()
                && (*stopping.borrow()
                    || conn.is_stopping()
                    || response.status() == StatusCode::REQUEST_TIMEOUT) =>
        {
            conn.say_close();
            closing(response, call)
        }
        Some(conn) if is_read => match room(&web, &conn, response.body()) {
            Ok(room) => response.map_body(|_, body| Body { body, _call: call, _room: room }),
            Err(problem) => {
                let refused = problem_response(&problem, id.as_deref().unwrap_or_default(), Format::Json);
                let refused: Response<BoxBody> = refused.into();
                refused.map_body(|_, body| Body { body, _call: call, _room: None })
            }
        },
        _ => response.map_body(|_, body| Body { body, _call: call, _room: None }),
    }
}

/// Room for an answer while it is sent: who asks for much and does not read it must not fill the memory.
fn room(web: &Web, conn: &Conn, body: &BoxBody) -> Result<Option<Share>, Problem> {
    let BodySize::Sized(length) = body.size() else { return Ok(None) };
    let units = usize::try_from(length).unwrap_or(usize::MAX) / UNIT;
    if units == 0 {
        return Ok(None);
    }
    let client = (!web.proxies.trusts(conn.peer.ip())).then(|| conn.peer.ip());
    web.answers.take(client, units).map(Some).map_err(|_| {
        let message = "the answers that are being read take all the memory there is for them";
        Problem::new(Code::Overloaded, message).retry_after(1)
    })
}

/// Whoever keeps a connection open should open the next one elsewhere. HTTP/2 says it otherwise.
fn closing(mut response: Response<BoxBody>, call: Option<CallGuard>) -> Response<Body> {
    response.head_mut().set_connection_type(ConnectionType::Close);
    response.map_body(|_, body| Body { body, _call: call, _room: None })
}
