// SPDX-License-Identifier: Apache-2.0
//! The tables: what each holds and how its keys sort.
//!
//! | table | key | row |
//! |---|---|---|
//! | Jobs | job | the job |
//! | Bodies | job, kind | bytes of a payload, result or checkpoint above 4 KiB |
//! | Ready | namespace, queue, priority (larger first), job | – |
//! | Waiting | namespace, queue, job | – (scheduled and retrying jobs) |
//! | Leases | namespace, worker, job | when it was granted, queue |
//! | Finished | namespace, queue, state, time, job | – |
//! | Due | lane, time, kind, job | – |
//! | Ids | namespace, chosen id | first answer |
//! | UniqueKeys | namespace, key | the holder |
//! | Requests | namespace, principal, route, key | first answer |
//! | Forgets | time, number | what to forget |
//! | Queues | namespace, queue | settings, counters |
//! | Meta | – | counters of the whole broker |
//! | Docs | space, key | a feature's document |
//!
//! A job is in exactly one of Ready, Waiting, Leases and Finished: see [`crate::index`].

use serde::{Deserialize, Serialize};

use super::key::key_of_fields;
use super::{Key, Table};
use crate::body::BodyKind;
use crate::id::{JobNo, Name, QueueKey};
use crate::request::Route;
use crate::state::StateKind;
use crate::time::Timestamp;

/// The name of a table. The numbers are part of the snapshot format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Space {
    /// Jobs by number.
    Jobs = 1,
    /// Large opaque values.
    Bodies = 2,
    /// Pending jobs in the order of dispatch.
    Ready = 3,
    /// Scheduled and retrying jobs by queue.
    Waiting = 4,
    /// Leases by worker.
    Leases = 5,
    /// Finished jobs by queue, state and time.
    Finished = 6,
    /// Timers.
    Due = 7,
    /// Chosen ids.
    Ids = 8,
    /// Unique keys.
    UniqueKeys = 9,
    /// Remembered calls.
    Requests = 10,
    /// What to forget when.
    Forgets = 11,
    /// Queues.
    Queues = 12,
    /// Counters of the whole broker.
    Meta = 13,
    /// Documents of features.
    Docs = 14,
}

impl Space {
    /// Every table, in the order of their numbers.
    pub const ALL: [Self; 14] = [
        Self::Jobs,
        Self::Bodies,
        Self::Ready,
        Self::Waiting,
        Self::Leases,
        Self::Finished,
        Self::Due,
        Self::Ids,
        Self::UniqueKeys,
        Self::Requests,
        Self::Forgets,
        Self::Queues,
        Self::Meta,
        Self::Docs,
    ];

    /// The table's name on disk.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Jobs => "jobs",
            Self::Bodies => "bodies",
            Self::Ready => "ready",
            Self::Waiting => "waiting",
            Self::Leases => "leases",
            Self::Finished => "finished",
            Self::Due => "due",
            Self::Ids => "ids",
            Self::UniqueKeys => "unique_keys",
            Self::Requests => "requests",
            Self::Forgets => "forgets",
            Self::Queues => "queues",
            Self::Meta => "meta",
            Self::Docs => "docs",
        }
    }

    /// The table of that number.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|space| *space as u8 == number)
    }
}

macro_rules! table {
    ($(#[$doc:meta])* $name:ident: $key:ty => $row:ty) => {
        $(#[$doc])*
        pub struct $name;
        impl Table for $name {
            const SPACE: Space = Space::$name;
            type Key = $key;
            type Row = $row;
        }
    };
}

table!(/** Jobs by number. */ Jobs: JobNo => std::sync::Arc<crate::job::Job>);
table!(/** Opaque values above 4 KiB. */ Bodies: BodyKey => crate::body::Json);
table!(/** Pending jobs. */ Ready: ReadyKey => ());
table!(/** Scheduled and retrying jobs. */ Waiting: QueueJobKey => ());
table!(/** Active jobs. */ Leases: LeaseKey => crate::lease::LeaseRow);
table!(/** Finished jobs. */ Finished: FinishedKey => ());
table!(/** Timers. */ Due: DueKey => ());
table!(/** Chosen ids. */ Ids: (Name, Name) => crate::request::ChosenId);
table!(/** Held unique keys. */ UniqueKeys: (Name, Name) => crate::unique::Holder);
table!(/** Remembered calls. */ Requests: RequestRowKey => crate::request::Remembered);
table!(/** What to forget when. */ Forgets: ForgetKey => crate::request::Forget);
table!(/** Queues. */ Queues: QueueKey => crate::queue::Queue);
table!(/** The one row of counters. */ Meta: () => MetaRow);
table!(/** Documents by space and key. */ Docs: (Name, Name) => crate::document::Document);

/// Counters of the whole broker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetaRow {
    /// The largest time an entry was applied at: time never runs backwards.
    pub last_at: Timestamp,
    /// The newest number given: to a job, or to the mark of a `ClearQueue`.
    pub last_job: JobNo,
    /// When the present leader, or its scheduler, began its watch.
    pub term_started_at: Timestamp,
    /// The number of the newest row of `Forgets`.
    pub last_forget: u64,
    /// Rows in `Forgets`.
    pub forgets: u64,
    /// No row of `Forgets` is earlier than this: scans begin here, not among what has been removed.
    pub forgets_from: Timestamp,
}

/// Key of a large opaque value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BodyKey {
    /// The job.
    pub job: JobNo,
    /// Which of its values.
    pub kind: BodyKind,
}
key_of_fields!(BodyKey { job, kind });

impl Key for BodyKind {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(*self as u8);
    }
    fn read(bytes: &mut &[u8]) -> Option<Self> {
        let number = u8::read(bytes)?;
        Self::ALL.into_iter().find(|kind| *kind as u8 == number)
    }
}

/// Key of a pending job: sorts as jobs are handed out.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReadyKey {
    /// The queue.
    pub queue: QueueKey,
    /// 255 − priority, so that larger priorities sort first.
    pub rank: u8,
    /// The job: within a priority, first come, first served.
    pub job: JobNo,
}
key_of_fields!(ReadyKey { queue, rank, job });

impl ReadyKey {
    /// The key of a job with that priority.
    #[must_use]
    pub fn new(queue: QueueKey, priority: u8, job: JobNo) -> Self {
        Self { queue, rank: u8::MAX - priority, job }
    }

    /// What the keys of a queue begin with.
    #[must_use]
    pub fn queue_prefix(queue: &QueueKey) -> Vec<u8> {
        queue.bytes()
    }

    /// What the keys of one priority band of a queue begin with.
    #[must_use]
    pub fn band_prefix(queue: &QueueKey, rank: u8) -> Vec<u8> {
        let mut prefix = queue.bytes();
        prefix.push(rank);
        prefix
    }
}

/// Key of a job within its queue.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct QueueJobKey {
    /// The queue.
    pub queue: QueueKey,
    /// The job.
    pub job: JobNo,
}
key_of_fields!(QueueJobKey { queue, job });

/// Key of an active job.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LeaseKey {
    /// The namespace.
    pub namespace: Name,
    /// The worker; empty if it gave no id.
    pub worker: Name,
    /// The job.
    pub job: JobNo,
}
key_of_fields!(LeaseKey { namespace, worker, job });

/// Key of a finished job.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FinishedKey {
    /// The queue.
    pub queue: QueueKey,
    /// Completed, dead or cancelled.
    pub state: StateKind,
    /// When it got there.
    pub at: Timestamp,
    /// The job.
    pub job: JobNo,
}
key_of_fields!(FinishedKey { queue, state, at, job });

impl FinishedKey {
    /// What the keys of a queue's jobs in one state begin with.
    #[must_use]
    pub fn state_prefix(queue: &QueueKey, state: StateKind) -> Vec<u8> {
        let mut prefix = queue.bytes();
        prefix.push(state as u8);
        prefix
    }
}

impl Key for StateKind {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(*self as u8);
    }
    fn read(bytes: &mut &[u8]) -> Option<Self> {
        Self::from_number(u8::read(bytes)?)
    }
}

/// Timers that are looked at apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Lane {
    /// What `Promote` acts on by itself.
    Timers = 1,
    /// Ends of leases: the leader may know better, so `Reclaim` names them.
    Leases = 2,
}

impl Key for Lane {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(*self as u8);
    }
    fn read(bytes: &mut &[u8]) -> Option<Self> {
        match u8::read(bytes)? {
            1 => Some(Self::Timers),
            2 => Some(Self::Leases),
            _ => None,
        }
    }
}

/// What a timer is for. The numbers are part of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Timer {
    /// A scheduled or retrying job becomes pending.
    Ready = 1,
    /// A job that has not started is dead.
    Expire = 2,
    /// An attempt has run too long.
    Timeout = 3,
    /// A lease ends.
    Lease = 4,
    /// A finished job has had its own retention.
    Removal = 5,
}

impl Key for Timer {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(*self as u8);
    }
    fn read(bytes: &mut &[u8]) -> Option<Self> {
        match u8::read(bytes)? {
            1 => Some(Self::Ready),
            2 => Some(Self::Expire),
            3 => Some(Self::Timeout),
            4 => Some(Self::Lease),
            5 => Some(Self::Removal),
            _ => None,
        }
    }
}

/// Key of a timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DueKey {
    /// The lane.
    pub lane: Lane,
    /// When it is due.
    pub at: Timestamp,
    /// What for.
    pub timer: Timer,
    /// The job.
    pub job: JobNo,
}
key_of_fields!(DueKey { lane, at, timer, job });

impl Key for Route {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(*self as u8);
    }
    fn read(bytes: &mut &[u8]) -> Option<Self> {
        match u8::read(bytes)? {
            1 => Some(Self::Enqueue),
            2 => Some(Self::EnqueueBatch),
            3 => Some(Self::Fetch),
            _ => None,
        }
    }
}

/// Key of a remembered call: scoped to namespace, key holder and route.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestRowKey {
    /// The namespace.
    pub namespace: Name,
    /// Who made it.
    pub by: Name,
    /// On which route.
    pub route: Route,
    /// With which key.
    pub key: Name,
}
key_of_fields!(RequestRowKey { namespace, by, route, key });

/// Key of something to forget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ForgetKey {
    /// When.
    pub at: Timestamp,
    /// Tells rows of the same time apart.
    pub number: u64,
}
key_of_fields!(ForgetKey { at, number });
