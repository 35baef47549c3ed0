// SPDX-License-Identifier: Apache-2.0
//! The disk of jobbie: the segmented log, the state in fjall, openraft's storage traits, and reads.
//!
//! ```text
//! openraft ──► log_storage ──► log          the only truth: appended, synced, purged behind a snapshot
//!    │
//!    └──────► state_machine ──► tables      fjall, never synced, rebuildable from snapshot + log
//!                    │              ▲
//!                    ▼              │
//!               snapshot         query      what the API reads
//! ```
//!
//! Only this crate names fjall. Nothing here decides anything about jobs: `jobbie_broker::apply` does.

pub mod blocking;
pub mod disk_space;
pub mod examine;
pub mod fault_point;
pub mod keyspaces;
pub mod log;
pub mod log_storage;
pub mod offline;
pub mod open;
pub mod query;
pub mod raft;
pub mod restore;
pub mod snapshot;
pub mod state_machine;
pub mod tables;

pub use disk_space::DiskSpace;
pub use keyspaces::Fault;
pub use log_storage::LogStore;
pub use open::{Durability, OpenError, Opened, Options, Recovery, StateFound, open};
pub use query::Reader;
pub use raft::{Applied, Request, TypeConfig};
pub use snapshot::SnapshotFile;
pub use state_machine::{AppliedEntry, AppliedGroup, ApplySink, StateMachine};
