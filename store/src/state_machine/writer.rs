// SPDX-License-Identifier: Apache-2.0
//! The thread that writes layers of changed rows into the database while apply goes on.
//!
//! It wakes up when a layer is full, and once a second: what has changed and then been left alone is written
//! too, so that a start after a crash of an idle server has nothing to apply again.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use super::live::Shared;
use crate::keyspaces::Fault;

/// How long nothing must have changed before the rest is written.
const QUIET: Duration = Duration::from_secs(1);

/// The thread; ends when this is dropped, after the layer it is writing.
pub(super) struct Writer {
    wake: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(super) fn start(shared: Arc<Shared>) -> io::Result<Self> {
        let (wake, woken) = sync_channel(1);
        let thread = std::thread::Builder::new().name("state-writer".to_owned());
        let thread = thread.spawn(move || run(&shared, &woken))?;
        Ok(Self { wake: Some(wake), thread: Some(thread) })
    }

    /// Has full layers written.
    pub(super) fn wake(&self) {
        // Full means that it has been told already.
        let _ = self.wake.as_ref().map(|wake| wake.try_send(()));
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.wake = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the writer of the state has panicked");
        }
    }
}

fn run(shared: &Shared, woken: &Receiver<()>) {
    let mut seen = None;
    loop {
        let written = match woken.recv_timeout(QUIET) {
            Ok(()) => shared.live().write_if_full(),
            Err(RecvTimeoutError::Timeout) => shared.live().write_if_quiet(&mut seen),
            Err(RecvTimeoutError::Disconnected) => return,
        };
        match written {
            Ok(()) => {}
            // Whoever met the fault first has told of it.
            Err(Fault::Stopped) => return,
            Err(fault) => {
                // Nothing is applied any more: the next command ends the process.
                tracing::error!(error = %fault, "the state cannot be written");
                return;
            }
        }
    }
}
