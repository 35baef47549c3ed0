// SPDX-License-Identifier: Apache-2.0
//! A child's whole process group, so that grandchildren end too.

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

/// The process group of a child: whatever of it still runs when this is dropped is killed.
pub struct Group(u32);

impl Group {
    /// The group that a child leads.
    pub fn new(leader: u32) -> Self {
        Self(leader)
    }

    /// Signals every process of it.
    pub fn signal(&self, with: Signal) {
        signal(self.0, with);
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}
