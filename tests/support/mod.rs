// SPDX-License-Identifier: Apache-2.0
//! What the tests of the binary share: a server process, HTTP by hand, event streams, seeded randomness.
//!
//! Everything here waits for something that happens (a line of output, a byte of an answer, the end of a
//! process), with a deadline; nothing sleeps to let time pass.

// Two test binaries share these files and each uses its own part.
#![allow(dead_code, unused_imports)]

pub mod collector;
pub mod conn;
pub mod disk;
pub mod h2;
pub mod http;
pub mod openmetrics;
pub mod output;
pub mod random;
pub mod server;
pub mod sse;

pub use http::{Client, Request, Response, SendError};
pub use random::Random;
pub use server::{Launch, Server};
pub use sse::{Event, Stream};

use std::time::Duration;

/// How long anything that should happen at once may take on a loaded machine with two cores.
pub const SOON: Duration = Duration::from_secs(20);
