// SPDX-License-Identifier: Apache-2.0
//! The actors of jobbie: caches, timers and delivery under one supervisor tree.
//!
//! Anything an actor knows it can rebuild from the applied state, so each of them may be killed at any
//! moment without losing or doubling a job. Other crates use [`ports`], [`seams`] and the `messages`
//! modules, nothing else.

mod applied;
pub mod clock;
pub mod disk_guard;
pub mod dispatch;
pub mod metrics;
pub mod node;
pub mod ports;
pub mod queue;
pub mod raft_node;
pub mod scheduler;
pub mod seams;
pub mod stream;
pub mod supervise;
pub mod trace;
pub mod tree;

pub use clock::Clock;
pub use node::{Node, Settings};
pub use ports::Ports;
