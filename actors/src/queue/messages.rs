// SPDX-License-Identifier: Apache-2.0
//! What a queue actor may be told.

use actix::Message;

/// Look whether somebody who waits can be served.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Stir;
