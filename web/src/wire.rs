// SPDX-License-Identifier: Apache-2.0
//! What goes over the wire: bodies in, bodies out, and the only place where input is checked.
//!
//! These types are separate from the broker's, so that the log and the API can change apart. A body is read
//! in three steps: is it text (`read`), has it the fields and types of the
//! endpoint (serde, unknown fields refused), and are the values allowed (the `check` functions, which end in
//! the broker's commands). Payloads, results and checkpoints are never parsed into values: the bytes that
//! came are the bytes that go out.

pub mod ack;
pub mod auth;
pub mod cursor;
pub mod depth;
pub mod enqueue;
pub mod events;
pub mod fail;
pub mod fetch;
pub mod heartbeat;
pub mod info;
pub mod job;
pub mod lease;
pub mod limits;
pub mod list;
pub mod msgpack;
pub mod name;
pub mod opaque;
pub mod place;
pub mod query;
pub mod queue;
pub mod read;
pub mod release;
pub mod schema;
pub mod span;
pub mod stamp;
pub mod throughput;

pub use limits::Limits;
pub use list::{Entries, List, Obj, Text};
pub use opaque::{Opaque, Verbatim};
pub use place::Place;
pub use span::Span;
pub use stamp::{Stamp, When};
