// SPDX-License-Identifier: Apache-2.0
//! What a queue actor may be told.

use actix::Message;

use super::waiter::Ticket;

/// Somebody waits for a job of this queue.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Park(pub Ticket);

/// Look again whether somebody can be woken.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Stir;
