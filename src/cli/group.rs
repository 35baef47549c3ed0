// SPDX-License-Identifier: Apache-2.0
//! Signals to a child's whole process group, so that grandchildren end too.

use rustix::io::Errno;
use rustix::process::{Pid, kill_process_group};

/// The signals that are sent.
pub use rustix::process::Signal;

/// Signals every process of a group. A group that is already gone is not an error.
pub fn signal(group: u32, signal: Signal) {
    let Some(group) = i32::try_from(group).ok().and_then(Pid::from_raw) else { return };
    match kill_process_group(group, signal) {
        Ok(()) | Err(Errno::SRCH) => {}
        Err(e) => {
            super::out::note(format!("jobbie: cannot signal process group {}: {e}", group.as_raw_pid()))
        }
    }
}
