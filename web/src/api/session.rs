// SPDX-License-Identifier: Apache-2.0
//! `/session`: a browser exchanges a key for a cookie.

use std::sync::Arc;

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, HeaderValue, SET_COOKIE};

use super::{BodyFailures, Failures, NotFound, Refused};
use crate::call::{Answer, Call};
use crate::error::{Code, Problem};
use crate::keys::{self, Key, Session};
use crate::seams::Proof;
use crate::wire::auth::SessionView;

/// Opens a session: the key that this call is made with is exchanged for a cookie.
#[utoipa::path(
    post, path = "/api/v1/session", operation_id = "openSession", tag = "keys",
    responses(
        (status = 201, description = "The session; its secret is in the cookie `jobbie_session`", body = SessionView, headers(("Set-Cookie" = String))),
        BodyFailures, Refused,
    ),
)]
pub async fn open(call: Call) -> Answer {
    call.no_fields()?;
    let ring = call.web.keys.ring();
    let key = match &call.pass.proof {
        Proof::Key { .. } => ring.by_id(&call.pass.by),
        // Else a session could be made to last for ever.
        Proof::Session { .. } => {
            return Err(Problem::new(
                Code::Unauthorized,
                "a session is opened with a key, not with another session",
            ));
        }
        Proof::None => None,
    };
    let Some(key) = key else {
        return Err(Problem::new(Code::Conflict, "there are no keys, so there is nothing to log in with"));
    };
    let now = call.ports().now();
    let (secret, expires_at) = keys::open(call.ports(), &call.caller, key).await?;
    let session = Session { key: key.id.clone(), key_version: key.version, created_at: now, expires_at };
    let answer = call.answer(StatusCode::CREATED, &SessionView::new(key, &session, now))?;
    let cookie = keys::cookie(&secret, &call.web.base, is_secure(&call), expires_at.since(now));
    set_cookie(answer, &cookie)
}

/// The session that this call is made in.
#[utoipa::path(
    get, path = "/api/v1/session", operation_id = "getSession", tag = "keys",
    responses((status = 200, description = "The session", body = SessionView), Failures, NotFound),
)]
pub async fn get(call: Call) -> Answer {
    let ring = call.web.keys.ring();
    let found: Option<(&Arc<Key>, &Session)> = match &call.pass.proof {
        Proof::Session { session, .. } => ring.by_id(&call.pass.by).zip(ring.session(session)),
        _ => None,
    };
    let Some((key, session)) = found else {
        return Err(Problem::new(Code::NotFound, "this call was not made in a session"));
    };
    call.ok(&SessionView::new(key, session, call.ports().now()))
}

/// Ends the session that this call is made in, and removes its cookie.
#[utoipa::path(
    delete, path = "/api/v1/session", operation_id = "closeSession", tag = "keys",
    responses((status = 204, description = "It has ended"), Failures, NotFound, Refused),
)]
pub async fn close(call: Call) -> Answer {
    let Proof::Session { session, .. } = &call.pass.proof else {
        return Err(Problem::new(Code::NotFound, "this call was not made in a session"));
    };
    keys::close(call.ports(), &call.caller, session).await?;
    let cookie = keys::no_cookie(&call.web.base, is_secure(&call));
    set_cookie(HttpResponse::NoContent().finish(), &cookie)
}

/// True if the browser speaks TLS, with this server or with a proxy that it believes.
fn is_secure(call: &Call) -> bool {
    call.origin.secure
}

fn set_cookie(mut answer: HttpResponse, cookie: &str) -> Answer {
    let cookie = HeaderValue::from_str(cookie)
        .map_err(|_| Problem::new(Code::Internal, "the cookie cannot be written"))?;
    answer.headers_mut().insert(SET_COOKIE, cookie);
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(answer)
}
