// SPDX-License-Identifier: Apache-2.0
//! `GET /info` and `GET /supervisors`: what a node says of itself.

use super::Failures;
use crate::call::{Answer, Call};
use crate::error::{Code, Problem};
use crate::wire::info::InfoView;

/// What this node is and does.
#[utoipa::path(
    get, path = "/api/v1/info", operation_id = "getInfo", tag = "operations",
    responses((status = 200, description = "The node", body = InfoView), Failures),
)]
pub async fn get(call: Call) -> Answer {
    let ports = call.ports();
    call.ok(&InfoView::new(&ports.info().await?, ports.now(), &call.web.config.limits))
}

/// The live supervisor tree: each actor with its state, mailbox, restarts and last error.
#[utoipa::path(
    get, path = "/api/v1/supervisors", operation_id = "getSupervisors", tag = "operations",
    responses((status = 200, description = "The tree", body = Object), Failures),
)]
pub async fn supervisors(call: Call) -> Answer {
    match call.ports().supervisors(&call.caller) {
        Some(tree) => call.ok(&tree),
        None => Err(Problem::new(Code::Unavailable, "the tree is being built").retry_after(1)),
    }
}
