// SPDX-License-Identifier: Apache-2.0
//! What others may plug into the tree.

use crate::ports::Ports;
use crate::supervise::ChildSpec;

/// A feature that brings children of its own. They live under `optional`: one that gives up is closed and
/// takes nothing with it.
pub trait Extension: Send + Sync + 'static {
    /// The children; asked for once, before the tree starts.
    fn children(&self, ports: &Ports) -> Vec<ChildSpec>;
}
