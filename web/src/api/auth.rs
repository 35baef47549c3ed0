// SPDX-License-Identifier: Apache-2.0
//! `/auth`: keys, and who one is.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::CACHE_CONTROL;

use super::{BodyFailures, Failures, NotFound, Refused};
use crate::call::{Answer, Call};
use crate::keys;
use crate::seams::Proof;
use crate::wire::auth::{KeyBody, KeyView, KeysView, NewKey, StatusView};
use crate::wire::{name, read};

/// Makes a key. Its secret is in this answer and nowhere else.
#[utoipa::path(
    post, path = "/api/v1/auth/keys", operation_id = "createKey", tag = "keys",
    request_body(content = KeyBody, example = json!({"name": "mail worker", "role": "worker", "queue_scope": ["emails", "emails.*"]})),
    responses((status = 201, description = "The key", body = NewKey), BodyFailures, Refused),
)]
pub async fn create(call: Call) -> Answer {
    let body: KeyBody<'_> = read::object(call.text()?)?;
    let spec = body.check(call.ports().now())?;
    let (id, secret) = keys::create(call.ports(), &call.caller, &spec).await?;
    let mut answer = call.answer(StatusCode::CREATED, &NewKey::new(&id, &secret, &spec))?;
    answer.headers_mut().insert(CACHE_CONTROL, actix_web::http::header::HeaderValue::from_static("no-store"));
    Ok(answer)
}

/// Lists the keys, without their secrets.
#[utoipa::path(
    get, path = "/api/v1/auth/keys", operation_id = "listKeys", tag = "keys",
    responses((status = 200, description = "The keys, the oldest first", body = KeysView), Failures),
)]
pub async fn list(call: Call) -> Answer {
    let (ring, now) = (call.web.keys.ring(), call.ports().now());
    let keys = ring.keys().into_iter().map(|key| KeyView::new(key, now)).collect();
    call.ok(&KeysView { keys })
}

/// Removes a key: from this answer on it is refused, and its streams and sessions end.
#[utoipa::path(
    delete, path = "/api/v1/auth/keys/{key_id}", operation_id = "revokeKey", tag = "keys",
    params(("key_id" = String, Path, description = "the key's id", example = "key_8f2c01b7a9d3e645")),
    responses((status = 204, description = "It is gone"), Failures, NotFound, Refused),
)]
pub async fn revoke(call: Call) -> Answer {
    let id = name::key_id(&call.path("key_id")?)?;
    keys::revoke(call.ports(), &call.caller, &id).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Who calls, and what they may do.
#[utoipa::path(
    get, path = "/api/v1/auth/status", operation_id = "getAuthStatus", tag = "keys",
    responses((status = 200, description = "The caller", body = StatusView), Failures),
)]
pub async fn status(call: Call) -> Answer {
    let mode = match call.pass.proof {
        Proof::None => "open",
        Proof::Key { .. } => "key",
        Proof::Session { .. } => "session",
    };
    let ring = call.web.keys.ring();
    let key = ring.by_id(&call.pass.by).map(|key| KeyView::new(key, call.ports().now()));
    call.ok(&StatusView { mode, key })
}
