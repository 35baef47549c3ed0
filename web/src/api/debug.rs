// SPDX-License-Identifier: Apache-2.0
//! `POST /debug/crash` and `POST /debug/hang` make a child of the supervisor tree crash, or block its thread;
//! `POST /debug/fault` makes the process die or a call of the disk fail. Only there when the server was started for
//! tests; not part of the described API.

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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FaultBody<'a> {
    /// `POINT:N:crash|fail|full`.
    #[serde(borrow)]
    plan: Text<'a>,
}

/// Arms a fault point of the store.
///
/// # Errors
/// `VALIDATION` if there is no such point.
pub async fn fault(call: Call) -> Answer {
    let body: FaultBody<'_> = read::object(call.text()?)?;
    call.ports().arm_fault(&body.plan).map_err(|sentence| Problem::new(Code::Validation, sentence))?;
    Ok(HttpResponse::NoContent().finish())
}
