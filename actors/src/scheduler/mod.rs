// SPDX-License-Identifier: Apache-2.0
//! The scheduler: proposes what time brings. Due jobs, ended leases, collected heartbeats, bounded removal.

mod actor;
mod alarm;
pub mod messages;
mod round;

pub use actor::{Scheduler, SchedulerParts};
pub use alarm::Alarm;
