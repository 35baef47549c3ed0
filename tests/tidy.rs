// SPDX-License-Identifier: Apache-2.0
//! What keeps the repository in order: who may use whom, headers, sizes, and documents that say what the code says.
//!
//! Everything is read from the files, so a failure names a file and what is wrong in it. A check collects all it
//! finds before it fails.

#![allow(clippy::unwrap_used)]

#[path = "tidy/crates.rs"]
mod crates;
#[path = "tidy/dependencies.rs"]
mod dependencies;
#[path = "tidy/docs.rs"]
mod docs;
#[path = "tidy/release.rs"]
mod release;
#[path = "tidy/sources.rs"]
mod sources;
#[path = "tidy/tree.rs"]
mod tree;

/// Fails with everything that was found.
#[track_caller]
fn nothing(found: &[String]) {
    assert!(found.is_empty(), "{} found:\n  {}", found.len(), found.join("\n  "));
}
