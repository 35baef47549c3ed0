// SPDX-License-Identifier: Apache-2.0
//! `POST /debug/crash` and `POST /debug/hang`: make a child of the supervisor tree crash, or block its thread.
//! Only there when the server was started for tests; not part of the described API.

use std::time::Duration;

use actix_web::HttpResponse;
use serde::Deserialize;

use crate::call::{Answer, Call};
use crate::error::{Code, Problem};
use crate::wire::{Span, Text, read};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CrashBody<'a> {
    /// The path of names from the root.
    #[serde(borrow)]
    child: Text<'a>,
}

/// Makes a child crash.
///
/// # Errors
/// `NOT_FOUND` if there is no such child.
pub async fn crash(call: Call) -> Answer {
    let body: CrashBody<'_> = read::object(call.text()?)?;
    call.ports().crash_child(&body.child).map_err(|sentence| Problem::new(Code::NotFound, sentence))?;
    Ok(HttpResponse::NoContent().finish())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HangBody<'a> {
    /// The path of names from the root.
    #[serde(borrow)]
    child: Text<'a>,
    /// How long.
    span: Span,
}

/// Makes a child block its thread.
///
/// # Errors
/// `NOT_FOUND` if there is no such child.
pub async fn hang(call: Call) -> Answer {
    let body: HangBody<'_> = read::object(call.text()?)?;
    let span = Duration::from_millis(body.span.0.0);
    call.ports().hang_child(&body.child, span).map_err(|sentence| Problem::new(Code::NotFound, sentence))?;
    Ok(HttpResponse::NoContent().finish())
}
