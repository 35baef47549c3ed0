// SPDX-License-Identifier: Apache-2.0
//! What a supervisor can be told. Only the supervision layer sends these.

use tokio::sync::oneshot;

use super::{
    child::Ending,
    children::{NoSuchChild, StartError},
    spec::ChildSpec,
};

/// A message to a supervisor. Reports name the child and its epoch; reports of an older epoch are ignored.
pub(super) enum Event {
    /// The child has started.
    Ready { id: u64, epoch: u64 },
    /// The child is gone.
    Ended { id: u64, epoch: u64, ending: Ending },
    /// The child gives no sign of life.
    Hung { id: u64, epoch: u64, error: String },
    /// A sibling blocks the thread the child lives on.
    Evicted { id: u64, epoch: u64, error: String },
    /// Stop everything, bottom-up, then end.
    Halt,
    /// As if the supervisor had crashed.
    Kill,
    /// Start one more child (dynamic supervisors).
    Start { child: Box<ChildSpec>, reply: oneshot::Sender<Result<(), StartError>> },
    /// Stop and forget one child (dynamic supervisors).
    Remove { name: String, reply: oneshot::Sender<Result<(), NoSuchChild>> },
}

impl Event {
    /// The child and epoch that a report is about.
    pub(super) fn about(&self) -> Option<(u64, u64)> {
        match self {
            Self::Ready { id, epoch }
            | Self::Ended { id, epoch, .. }
            | Self::Hung { id, epoch, .. }
            | Self::Evicted { id, epoch, .. } => Some((*id, *epoch)),
            Self::Halt | Self::Kill | Self::Start { .. } | Self::Remove { .. } => None,
        }
    }
}
