// SPDX-License-Identifier: Apache-2.0
//! Queues: who waits at them, and one actor for each where somebody does, started on demand and retired when idle.
//!
//! ```text
//! fetch ──park──► Line ◄──hand-off── proposer ("these jobs are about to be enqueued")
//!                  ▲ └──claims──► into the same entry
//!                  └──look── QueueActor ◄──stir── dispatch ("a job may be handed out"); claims by itself
//! ```
//!
//! A claim is a command in the log; nobody is handed a job in any other way.

mod actor;
mod directory;
mod line;
pub mod messages;
#[cfg(test)]
mod tests;
mod waiter;

pub use directory::Queues;
pub(crate) use line::{Chance, Claiming, Coming};
pub(crate) use waiter::{Parked, Waiter};
