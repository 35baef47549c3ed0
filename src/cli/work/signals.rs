// SPDX-License-Identifier: Apache-2.0
//! SIGTERM and SIGINT: first finish, then release, then kill.

use std::sync::Arc;
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

/// Follows the signals; handlers are installed before this returns, so that no signal is missed.
pub fn run(worker: Arc<Worker>, grace: Duration) -> Result<impl Future<Output = ()>> {
    let term = signal(SignalKind::terminate()).context("cannot handle SIGTERM")?;
    let int = signal(SignalKind::interrupt()).context("cannot handle SIGINT")?;
    Ok(follow(worker, grace, term, int))
}

async fn follow(worker: Arc<Worker>, grace: Duration, mut term: Signal, mut int: Signal) {
    either(&mut term, &mut int).await;
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
        () = either(&mut term, &mut int) => true,
    };
    if !is_second {
        worker.enter(Phase::Releasing);
        worker.registry.stop_all(Stop::Shutdown);
        either(&mut term, &mut int).await;
    }
    worker.enter(Phase::Killing);
    worker.registry.stop_all(Stop::Now);
    either(&mut term, &mut int).await;
    worker.enter(Phase::Gone);
}

async fn either(term: &mut Signal, int: &mut Signal) {
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
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
