// SPDX-License-Identifier: Apache-2.0
//! The doors of jobbie: HTTP/JSON, server-sent events, the page at `/ui/`.
//!
//! ```text
//! routes      the table: method, path, required action, handler
//!    │
//! dispatch    every request: id, guard, authorizer, namespace, body
//!    │
//! api/<noun>  handlers: take apart, check, one call to a port, answer
//!    │
//! wire/<noun> what goes over the wire, and the only place where input is checked
//!    ▼
//! ports       of `jobbie-actors`; nothing here reaches past them
//! ```

pub mod api;
pub mod bare;
pub mod body;
pub mod call;
pub mod config;
pub mod dashboard;
mod dispatch;
pub mod docs;
pub mod error;
pub mod forwarded;
pub mod guard;
pub mod keys;
mod lapse;
pub mod routes;
pub mod seams;
mod server;
pub mod shares;
pub mod sse;
pub mod wire;

pub use config::WebConfig;
pub use seams::Seams;
pub use server::{Server, Tls, TlsFiles, bind, check};
pub use wire::Limits;
