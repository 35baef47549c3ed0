// SPDX-License-Identifier: Apache-2.0
//! What survives when the server does not: SIGKILL at any moment, every child of the tree killed, torn and
//! corrupt logs, SIGTERM under load.
//!
//! Clients write down what they were answered; [`oracle`] says whether a correct broker can have answered so.
//! `SEED=` repeats a run's choices (not its timing).

#![allow(clippy::unwrap_used)]

#[path = "../support/mod.rs"]
mod support;

mod backup;
mod caller;
mod children;
mod data_dir;
mod disk_full;
mod faults;
mod gate;
mod history;
mod kill_loop;
mod limits;
mod log_tail;
mod oracle;
mod order;
mod planted;
mod producer;
mod retention;
mod run;
mod supervision;
mod terminate;
mod upgrade;
mod worker;
