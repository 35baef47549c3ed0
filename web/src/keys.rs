// SPDX-License-Identifier: Apache-2.0
//! API keys and the sessions that browsers open with them.
//!
//! ```text
//! create, revoke, log in ──► documents (replicated) ──► Ring, a snapshot of them in memory ──► Gate
//!        manage, session        auth.keys, auth.sessions      ring                    every request asks it
//! ```
//!
//! - `A1` Secrets are never stored, logged or replicated: only their SHA-256 is. They have 256 random bits, so
//!   there is nothing to guess and no reason for a slow hash.
//! - `A2` A snapshot is compared with the documents before every answer: a key is gone for the next request once
//!   its removal is answered, and open streams and long polls end by themselves.
//! - `A3` As soon as there is any key, calls need one. A document that cannot be read counts as a key and lets
//!   nobody in: nothing fails open.
//! - `A4` There is always a key of an administrator with every queue that does not expire, from the first key on.

mod gate;
mod gcra;
mod key;
mod manage;
mod ring;
mod secret;
mod session;

pub use gate::Gate;
pub use key::{Key, KeySpec, RateLimit, Role};
pub use manage::{MAX_KEYS, create, provide, revoke};
pub use ring::{Ring, Session};
pub use secret::{Secret, mint};
pub use session::{COOKIE, LIFETIME, close, cookie, no_cookie, open};

/// The space of the documents of keys, by id.
pub const KEYS: &str = "auth.keys";
/// The space of the documents of sessions, by the SHA-256 of their cookie.
pub const SESSIONS: &str = "auth.sessions";
/// The space of the one document that every change of the keys writes, so that two at the same moment cannot
/// both believe that the other's key stays.
pub const LOCK: (&str, &str) = ("auth", "lock");
