// SPDX-License-Identifier: Apache-2.0
//! Signals to a child's whole process group, so that grandchildren end too.
//!
//! The workspace forbids `unsafe`, and the standard library has no safe `kill`: the system's own `kill` sends it.
//! That costs a process, so it is used only where something has to be stopped.

use std::process::Stdio;

use tokio::process::Command;

/// The signals that are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Please end.
    Term,
    /// End.
    Kill,
}

/// Signals every process of a group. A group that is already gone is not an error.
pub async fn signal(group: u32, signal: Signal) {
    let name = match signal {
        Signal::Term => "TERM",
        Signal::Kill => "KILL",
    };
    let sent = Command::new("/bin/sh")
        .args(["-c", r#"kill -s "$1" -- "-$2""#, "kill", name, &group.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .await;
    if let Err(e) = sent {
        super::out::note(format!("jobbie: cannot signal process group {group}: {e}"));
    }
}
