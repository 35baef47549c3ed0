// SPDX-License-Identifier: Apache-2.0
//! The states of a job and the moves between them.
//!
//! A state carries its own data, so an active job without a lease or a dead one without a reason cannot be
//! written. [`TRANSITIONS`] is the whole diagram; `docs/lifecycle.md` is compared with it by a test, and
//! debug builds of `apply` panic on any other move.

use serde::{Deserialize, Serialize};

use crate::lease::Lease;
use crate::time::Timestamp;

/// The names of the states, on the wire and in counters. The numbers are part of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum StateKind {
    /// Due later.
    Scheduled = 0,
    /// Waits for another job.
    Blocked = 1,
    /// Ready to be fetched.
    Pending = 2,
    /// Leased to a worker.
    Active = 3,
    /// Waits for its next attempt.
    Retrying = 4,
    /// Waits for a person or a budget.
    Held = 5,
    /// Done.
    Completed = 6,
    /// Given up: the dead letters.
    Dead = 7,
    /// Called off.
    Cancelled = 8,
}

impl StateKind {
    /// Every state, in the order of their numbers.
    pub const ALL: [Self; 9] = [
        Self::Scheduled,
        Self::Blocked,
        Self::Pending,
        Self::Active,
        Self::Retrying,
        Self::Held,
        Self::Completed,
        Self::Dead,
        Self::Cancelled,
    ];

    /// The states from which a job moves only if somebody asks.
    pub const TERMINAL: [Self; 3] = [Self::Completed, Self::Dead, Self::Cancelled];

    /// The name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Blocked => "blocked",
            Self::Pending => "pending",
            Self::Active => "active",
            Self::Retrying => "retrying",
            Self::Held => "held",
            Self::Completed => "completed",
            Self::Dead => "dead",
            Self::Cancelled => "cancelled",
        }
    }

    /// The state of that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// The state of that number.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// True if the job is finished.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Dead | Self::Cancelled)
    }
}

/// Why a job is dead or cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reason {
    /// Its last attempt failed, or the worker said not to retry.
    Failed,
    /// It lost its lease `max_crashes` times.
    Crashed,
    /// It did not run before its `expire_at`.
    Expired,
    /// Its last attempt ran longer than its `timeout`.
    Timeout,
    /// Somebody cancelled it.
    Cancelled,
}

impl Reason {
    /// The name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Crashed => "crashed",
            Self::Expired => "expired",
            Self::Timeout => "timeout",
            Self::Cancelled => "cancelled",
        }
    }
}

/// Where a job stands, with what belongs to it there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// Becomes pending at that time.
    Scheduled {
        /// When it is due.
        at: Timestamp,
    },
    /// Ready to be fetched.
    Pending,
    /// Leased to a worker.
    Active(Lease),
    /// Becomes pending again at that time.
    Retrying {
        /// When the next attempt is due.
        at: Timestamp,
    },
    /// Done.
    Completed {
        /// When it was acknowledged.
        at: Timestamp,
    },
    /// Given up.
    Dead {
        /// When.
        at: Timestamp,
        /// Why.
        reason: Reason,
    },
    /// Called off.
    Cancelled {
        /// When.
        at: Timestamp,
        /// Why.
        reason: Reason,
    },
}

impl State {
    /// The state's name.
    #[must_use]
    pub const fn kind(&self) -> StateKind {
        match self {
            Self::Scheduled { .. } => StateKind::Scheduled,
            Self::Pending => StateKind::Pending,
            Self::Active(_) => StateKind::Active,
            Self::Retrying { .. } => StateKind::Retrying,
            Self::Completed { .. } => StateKind::Completed,
            Self::Dead { .. } => StateKind::Dead,
            Self::Cancelled { .. } => StateKind::Cancelled,
        }
    }

    /// The lease of an active job.
    #[must_use]
    pub const fn lease(&self) -> Option<&Lease> {
        match self {
            Self::Active(lease) => Some(lease),
            _ => None,
        }
    }

    /// When a scheduled or retrying job becomes pending.
    #[must_use]
    pub const fn due_at(&self) -> Option<Timestamp> {
        match self {
            Self::Scheduled { at } | Self::Retrying { at } => Some(*at),
            _ => None,
        }
    }

    /// When a job in a terminal state got there.
    #[must_use]
    pub const fn finished_at(&self) -> Option<Timestamp> {
        match self {
            Self::Completed { at } | Self::Dead { at, .. } | Self::Cancelled { at, .. } => Some(*at),
            _ => None,
        }
    }

    /// Why a job is dead or cancelled.
    #[must_use]
    pub const fn reason(&self) -> Option<Reason> {
        match self {
            Self::Dead { reason, .. } | Self::Cancelled { reason, .. } => Some(*reason),
            _ => None,
        }
    }
}

/// Every move there is: from, to, and what causes it. A job is created `scheduled` or `pending`; a deleted job is gone.
pub const TRANSITIONS: &[(StateKind, StateKind, &str)] = {
    use StateKind::{Active, Cancelled, Completed, Dead, Pending, Retrying, Scheduled};
    &[
        (Scheduled, Pending, "due, retry, patch"),
        (Scheduled, Scheduled, "patch"),
        (Scheduled, Dead, "expire"),
        (Scheduled, Cancelled, "cancel"),
        (Pending, Active, "fetch"),
        (Pending, Scheduled, "patch"),
        (Pending, Dead, "expire"),
        (Pending, Cancelled, "cancel"),
        (Active, Completed, "ack"),
        (Active, Pending, "release, fail without backoff, crash with on_crash_queue"),
        (Active, Scheduled, "release with delay"),
        (Active, Retrying, "fail, timeout, crash"),
        (Active, Dead, "fail, timeout, crash, expire"),
        (Active, Cancelled, "end of an attempt after cancel"),
        (Retrying, Pending, "due, retry"),
        (Retrying, Scheduled, "patch"),
        (Retrying, Dead, "expire"),
        (Retrying, Cancelled, "cancel"),
        (Dead, Pending, "retry"),
        (Cancelled, Pending, "retry"),
    ]
};

/// True if a job may move from one state to the other.
#[must_use]
pub fn may_move(from: StateKind, to: StateKind) -> bool {
    TRANSITIONS.iter().any(|(a, b, _)| *a == from && *b == to)
}
