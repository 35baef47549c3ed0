// SPDX-License-Identifier: Apache-2.0
//! The signals that end a worker, all of them in the same way: first finish, then release, then kill. A signal that
//! is not handled would end the worker and leave its commands running, since each is in a process group of its own.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Worker;
use super::registry::Stop;

/// How far the worker is with ending. Only goes up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Fetches and runs.
    Running,
    /// Fetches no more; what runs may finish.
    Finishing,
    /// What still runs is being stopped and released.
    Releasing,
    /// Everything is killed, and calls to the server are tried once.
    Killing,
    /// Leaves at once.
    Gone,
}

/// How many of the signals are sent by somebody who asks, the first ones; the other is SIGHUP.
const ASKED: usize = 3;

/// Follows the signals; handlers are installed before this returns, so that no signal is missed.
pub fn run(worker: Arc<Worker>, grace: Duration) -> Result<impl Future<Output = ()>> {
    let mut ending = vec![
        signal(SignalKind::terminate()).context("cannot handle SIGTERM")?,
        signal(SignalKind::interrupt()).context("cannot handle SIGINT")?,
        signal(SignalKind::quit()).context("cannot handle SIGQUIT")?,
    ];
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    if !ignores_hangup(&status) {
        ending.push(signal(SignalKind::hangup()).context("cannot handle SIGHUP")?);
    }
    Ok(follow(worker, grace, ending))
}

/// Whether this process was started with SIGHUP ignored, by `nohup`: then it is to survive its terminal, and a
/// handler would undo that. Without `/proc` it was not.
fn ignores_hangup(status: &str) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).is_some_and(|mask| mask & 1 != 0)
}

async fn follow(worker: Arc<Worker>, grace: Duration, mut ending: Vec<Signal>) {
    any(&mut ending).await;
    // A terminal that closes sends SIGHUP, and its shell sends another: nobody is asking for haste.
    ending.truncate(ASKED);
    worker.finish();
    let running = worker.registry.len();
    if running > 0 {
        worker.log.say(&format!(
            "stopping: {running} jobs may finish within {} s; a second signal kills them",
            grace.as_secs()
        ));
    }
    let is_second = tokio::select! {
        () = tokio::time::sleep(grace) => false,
        () = any(&mut ending) => true,
    };
    if !is_second {
        worker.enter(Phase::Releasing);
        worker.registry.stop_all(Stop::Shutdown);
        any(&mut ending).await;
    }
    worker.enter(Phase::Killing);
    worker.registry.stop_all(Stop::Now);
    any(&mut ending).await;
    worker.enter(Phase::Gone);
}

/// Returns at the next signal.
async fn any(signals: &mut [Signal]) {
    poll_fn(|cx| match signals.iter_mut().any(|signal| signal.poll_recv(cx).is_ready()) {
        true => Poll::Ready(()),
        false => Poll::Pending,
    })
    .await;
}

impl Worker {
    /// The phase now.
    pub fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Stops fetching.
    pub fn finish(&self) {
        self.enter(Phase::Finishing);
    }

    /// Goes on to a later phase.
    pub fn enter(&self, next: Phase) {
        self.phase.send_if_modified(|phase| {
            let is_later = next > *phase;
            *phase = (*phase).max(next);
            is_later
        });
    }

    /// Returns once the worker has reached a phase.
    pub async fn reached(&self, phase: Phase) {
        let mut watch = self.phase.subscribe();
        // The sender lives as long as the worker.
        let _ = watch.wait_for(|now| *now >= phase).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_under_nohup_survives_its_terminal() {
        let status = |mask| format!("Name:\tjobbie\nSigBlk:\t0000000000000001\nSigIgn:\t{mask}\n");
        assert!(ignores_hangup(&status("0000000000001001")));
        assert!(!ignores_hangup(&status("0000000000001000")));
        assert!(!ignores_hangup(""));
    }
}
