// SPDX-License-Identifier: Apache-2.0
//! Queue actors: one for each queue that somebody waits at, started on demand and retired when idle.
//!
//! ```text
//! fetch ──park──► QueueActor ◄──stir── dispatch ("a job of yours may be handed out")
//!   ▲                 │
//!   └─────wake────────┘   then fetch claims in the log; a claim happens nowhere else
//! ```

mod actor;
mod directory;
pub mod messages;
#[cfg(test)]
mod tests;
mod waiter;

pub use directory::Queues;
pub(crate) use waiter::Waiter;
