// SPDX-License-Identifier: Apache-2.0
//! Supervision: children that may die at any time, and callers who do not notice for long.
//!
//! actix gives actors, contexts and handlers. It does not give restarts after a panic, addresses that survive
//! one, mailboxes with a bound, or anybody who notices a hung handler; that is what this module adds. It knows
//! nothing about jobs, and it never ends the process.
//!
//! ```text
//! spec ── data ──► Tree ──► supervision thread: supervisor ─► supervisor ─► …   watchdog
//!                                                   │ launch, stop, kill            │ hung, evicted
//!                                                   ▼                               ▼
//!                           arbiter per family:   child (actor in a Slot, or task), under catch_unwind
//!                                                   ▲
//! callers ── Port<M>::ask ── bounded, per life ─────┘
//! ```
//!
//! How a child ends and what follows:
//!
//! | what happens | what callers get | counted against the budget |
//! | --- | --- | --- |
//! | panic, failure, kill | waiting messages `Unavailable`, begun ones `Lost` | yes |
//! | hang (fenced, new arbiter) | the same, at once | yes |
//! | a sibling blocks the thread | the same | no |
//! | stop | admitted messages are handled, new ones are `Unavailable` | no |
//!
//! # Example
//!
//! ```
//! use actix::prelude::*;
//! use jobbie_actors::supervise::*;
//!
//! struct Counter { epoch: Epoch, count: u64 }
//!
//! impl Actor for Counter {
//!     type Context = Context<Self>;
//! }
//!
//! #[derive(Message)]
//! #[rtype(result = "u64")]
//! struct Add(u64);
//!
//! impl Handler<Add> for Counter {
//!     type Result = u64;
//!     fn handle(&mut self, add: Add, _: &mut Context<Self>) -> u64 {
//!         assert_ne!(add.0, 13, "unlucky");
//!         self.count += add.0;
//!         if self.epoch.is_current() { /* effects outside of the actor go here */ }
//!         self.count
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // Places first, so that factories can hold ports of each other in any direction.
//! let counter = Slot::<Counter>::new(1024);
//! let add: Port<Add> = counter.port();
//! let queues = Children::new();
//!
//! let root = supervisor("root")
//!     .child(task("http", |start| async move {
//!         start.ready(); // the socket is bound; later siblings may start
//!         start.stopping().await;
//!         Ok::<(), std::io::Error>(())
//!     }))
//!     .child(
//!         supervisor("jobs")
//!             .rest_for_one()
//!             .budget(5, secs(30))
//!             .child(actor("counter", &counter, |epoch| Counter { epoch, count: 0 }))
//!             .child(dynamic("queues", &queues).budget(20, secs(60))),
//!     );
//! let tree = Tree::start(root)?;
//! tree.ready().await?;
//!
//! assert_eq!(add.ask(Add(2)).await, Ok(2));
//! assert_eq!(add.ask(Add(13)).await, Err(PortError::Lost));
//! tree.until(|root| root.find("jobs/counter").is_some_and(|c| c.restarts == 1 && c.state == State::Running)).await;
//! assert_eq!(add.ask(Add(3)).await, Ok(3)); // same port, fresh actor
//!
//! let emails = Slot::<Counter>::new(64);
//! queues.start(actor("emails", &emails, |epoch| Counter { epoch, count: 0 }).family("queues")).await?;
//! queues.stop("emails").await?;
//!
//! let exit = tree.stop().await; // or `tree.wait()`: std::process::ExitCode::from(exit.code)
//! assert_eq!(exit.code, 0);
//! # Ok(())
//! # }
//! ```

mod actor_child;
mod child;
mod children;
mod epoch;
mod event;
mod family;
mod life;
mod mailbox;
mod node;
mod port;
mod restart;
mod shared;
mod slot;
mod spec;
mod supervisor;
mod task_child;
#[cfg(test)]
pub(crate) mod testbed;
#[cfg(test)]
mod tests;
mod tree;
mod view;
mod watchdog;

pub use children::{Children, NoSuchChild, StartError};
pub use epoch::Epoch;
pub use family::Stalled;
pub use port::{Port, PortError};
pub use restart::{Backoff, Budget, Policy, Strategy};
pub use slot::Slot;
pub use spec::{ChildSpec, SupervisorSpec, actor, dynamic, secs, supervisor, task};
pub use task_child::TaskStart;
pub use tree::{Exit, Tree};
pub use view::{NodeKind, NodeView, State};
