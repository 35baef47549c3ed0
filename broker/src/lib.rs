// SPDX-License-Identifier: Apache-2.0
//! The rules of jobbie: what a command does to jobs, queues and leases.
//!
//! Everything here is a pure function of a command, the tables and what the leader stamped on the command.
//! There is no clock, no randomness, no IO, no hash order, no floating point, no configuration and no
//! licence in this crate, so every replica that applies the same log reaches the same state and gives the
//! same replies. [`apply()`] is the only door.
//!
//! ```text
//! Proposal { at, seed, submissions }      one Raft entry, stamped by the leader
//!        │ for each submission
//!        ▼
//! apply(tables, entry) ──► Outcome { reply, events }
//!        │
//!        ▼
//!     Tables                               ordered maps: in memory here, fjall in `store`
//! ```

#![deny(clippy::float_arithmetic)]

pub mod apply;
pub mod backoff;
pub mod body;
pub mod codec;
pub mod command;
pub mod document;
pub mod event;
pub mod fingerprint;
pub mod id;
pub mod index;
pub mod invariant;
pub mod job;
pub mod lease;
pub mod queue;
pub mod reject;
pub mod reply;
pub mod request;
pub mod scope;
pub mod state;
pub mod tables;
pub mod throttle;
pub mod time;
pub mod unique;

pub use apply::{Entry, Outcome, apply};
pub use body::{Body, Json};
pub use command::{Command, Proposal, Submission};
pub use document::Document;
pub use event::{Change, Event, JobEvent, QueueEvent};
pub use id::{JobId, JobNo, JobRef, LeaseToken, Name, QueueKey};
pub use job::Job;
pub use lease::Lease;
pub use queue::Queue;
pub use reject::{Code, Reject};
pub use reply::Reply;
pub use scope::Scope;
pub use state::{State, StateKind};
pub use tables::Tables;
pub use time::{Millis, Timestamp};
