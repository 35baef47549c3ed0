// SPDX-License-Identifier: Apache-2.0
//! `POST /debug/crash`: makes a child of the supervisor tree crash. Only there when the server was started
//! for tests; not part of the described API.

use actix_web::HttpResponse;
use serde::Deserialize;

use crate::call::{Answer, Call};
use crate::error::{Code, Problem};
use crate::wire::{Text, read};

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
