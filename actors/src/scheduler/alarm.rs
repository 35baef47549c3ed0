// SPDX-License-Identifier: Apache-2.0
//! When the scheduler looks next: one time that anybody may bring forward.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use jobbie_broker::{Change, Event, Millis, Timestamp};
use tokio::sync::Notify;

use crate::clock::Clock;

/// An event that adds a timer without saying for when makes the scheduler look after this long. Leases last
/// at least a second, so none is missed, and a busy broker is looked at twenty times a second at most.
const SOON: Millis = Millis(50);

/// The time of the next look.
#[derive(Debug)]
pub struct Alarm {
    at: AtomicU64,
    moved: Notify,
    /// Something was said about a queue: it may have jobs to be removed.
    queues: AtomicBool,
}

impl Default for Alarm {
    /// Rings at once.
    fn default() -> Self {
        Self { at: AtomicU64::new(0), moved: Notify::new(), queues: AtomicBool::new(true) }
    }
}

impl Alarm {
    /// Rings no later than `at`.
    pub fn no_later_than(&self, at: Timestamp) {
        if self.at.fetch_min(at.0, Ordering::AcqRel) > at.0 {
            self.moved.notify_one();
        }
    }

    /// Rings now.
    pub fn now(&self) {
        self.no_later_than(Timestamp(0));
    }

    /// Rings in time for whatever timer this event has set.
    pub fn heed(&self, event: &Event, now: Timestamp) {
        match event {
            Event::Queue(_) => {
                self.queues.store(true, Ordering::Release);
                self.now();
            }
            Event::Job(job) => match (job.due_at, job.change) {
                (Some(due), _) => self.no_later_than(due),
                // A lease or a timeout begins; a new or waiting job may expire.
                (None, Change::Started | Change::Enqueued | Change::Retried | Change::Updated) => {
                    self.no_later_than(now.after(SOON));
                }
                (None, _) => {}
            },
        }
    }

    /// True once after something was said about a queue.
    pub(super) fn take_queues(&self) -> bool {
        self.queues.swap(false, Ordering::AcqRel)
    }

    /// Queues are to be looked at again.
    pub(super) fn look_at_queues(&self) {
        self.queues.store(true, Ordering::Release);
    }

    /// Waits until the time has come, and forgets it. One caller at a time.
    pub(super) async fn rung(&self, clock: &Clock) {
        loop {
            let at = self.at.load(Ordering::Acquire);
            let now = clock.now();
            if at <= now.0 {
                self.at.store(u64::MAX, Ordering::Release);
                return;
            }
            // The clock may be moved by a test: look at least once a second.
            let wait = Duration::from_millis((at - now.0).min(1000));
            let _ = tokio::time::timeout(wait, self.moved.notified()).await;
        }
    }
}
