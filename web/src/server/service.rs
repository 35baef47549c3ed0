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
use actix_web::http::{ConnectionType, StatusCode};
use bytes::Bytes;

use super::conn::{CallGuard, Conn};
use crate::call::{Format, Web, problem_response, request_id};
use crate::dispatch;
use crate::error::{Code, Problem};
use crate::routes::Row;

/// An answer's body that keeps its call under way.
pub struct Body {
    body: BoxBody,
    _call: Option<CallGuard>,
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
pub async fn answer<S>(app: Rc<S>, request: Request) -> Response<Body>
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
    let response: Response<BoxBody> = match app.call(request).await {
        Ok(response) => response.into(),
        Err(error) => error.error_response().into(),
    };
    match conn {
        // After a body that did not come in time nobody knows where the next request begins.
        Some(conn)
            if !conn.is_multiplexed()
                && (conn.is_stopping() || response.status() == StatusCode::REQUEST_TIMEOUT) =>
        {
            conn.say_close();
            closing(response, call)
        }
        _ => response.map_body(|_, body| Body { body, _call: call }),
    }
}

/// Whoever keeps a connection open should open the next one elsewhere. HTTP/2 says it otherwise.
fn closing(mut response: Response<BoxBody>, call: Option<CallGuard>) -> Response<Body> {
    response.head_mut().set_connection_type(ConnectionType::Close);
    response.map_body(|_, body| Body { body, _call: call })
}
