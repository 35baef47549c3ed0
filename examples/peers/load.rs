// SPDX-License-Identifier: Apache-2.0
//! The same loop on many connections at once, until the time is over.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::peer::{Payloads, Peer, Running};

/// Jobs that producers may be ahead of workers, as in `jobbie bench`.
const AHEAD: u64 = 64;

/// What all connections together did.
#[derive(Default)]
pub struct Load {
    /// Jobs that went through: acked ones if there were workers.
    pub jobs: Cell<u64>,
    /// Jobs that producers enqueued.
    pub produced: Cell<u64>,
    /// Times of requests, or of jobs where that is measured.
    pub times: RefCell<Vec<Duration>>,
    last: Cell<Option<Instant>>,
    acked: Notify,
}

/// What a connection does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Enqueues so many at a time.
    Produce(usize),
    /// Fetches and acks so many at a time, until the queue is empty.
    Drain(usize),
    /// Fetches and acks one at a time and waits for more.
    Work,
}

impl Load {
    fn done(&self, jobs: usize) {
        self.jobs.set(self.jobs.get() + jobs as u64);
        self.last.set(Some(Instant::now()));
        self.acked.notify_waiters();
    }

    fn ahead(&self) -> u64 {
        self.produced.get().saturating_sub(self.jobs.get())
    }

    /// What half and 99 of 100 stayed below, in milliseconds.
    pub fn spread(&self) -> Option<(f64, f64)> {
        let mut times = self.times.borrow_mut();
        times.sort_unstable();
        let at = |percent: usize| times.get((times.len() * percent).div_ceil(100).max(1) - 1);
        Some((at(50)?.as_secs_f64() * 1e3, at(99)?.as_secs_f64() * 1e3))
    }
}

/// Connections with their roles, for a time or until `most` jobs went through; what they did, and how long it took.
pub async fn run<P: Peer>(
    running: &Running<P>,
    queue: &str,
    roles: &[Role],
    time: Duration,
    most: u64,
) -> Result<(Load, Duration)> {
    let mut connections = Vec::new();
    for (i, role) in roles.iter().enumerate() {
        connections.push((P::connect(running.port, queue, i).await?, *role, i as u64));
    }
    let has_workers = roles.iter().any(|role| !matches!(role, Role::Produce(_)));
    let (load, start) = (Rc::new(Load::default()), Instant::now());
    let mut tasks = JoinSet::new();
    for (mut peer, role, i) in connections {
        let load = load.clone();
        tasks.spawn_local(async move {
            let mut payloads = Payloads::from(i * 1_000_000_000_000);
            while start.elapsed() < time && load.jobs.get() < most {
                let before = Instant::now();
                match role {
                    Role::Produce(_) if has_workers && load.ahead() >= AHEAD => load.acked.notified().await,
                    Role::Produce(count) => {
                        peer.enqueue(&mut payloads, count).await?;
                        load.produced.set(load.produced.get() + count as u64);
                        if !has_workers {
                            load.done(count);
                        }
                        load.times.borrow_mut().push(before.elapsed());
                    }
                    Role::Drain(count) => match peer.fetch(count, false).await? {
                        0 => break,
                        got => {
                            peer.ack().await?;
                            load.done(got);
                            load.times.borrow_mut().push(before.elapsed());
                        }
                    },
                    Role::Work => {
                        if peer.fetch(1, true).await? > 0 {
                            peer.ack().await?;
                            load.done(1);
                        }
                    }
                }
            }
            // Whoever still waits for an ack must see that the time is over.
            load.acked.notify_waiters();
            anyhow::Ok(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    let took = load.last.get().map_or(start.elapsed(), |last| last.duration_since(start));
    let load = Rc::into_inner(load).ok_or_else(|| anyhow::anyhow!("a task is left"))?;
    Ok((load, took))
}

/// One producer at 200 jobs per second and one waiting worker; the times from the start of the enqueue to the job.
pub async fn idle<P: Peer>(running: &Running<P>, queue: &str, time: Duration) -> Result<Load> {
    let (mut producer, mut worker) =
        (P::connect(running.port, queue, 0).await?, P::connect(running.port, queue, 1).await?);
    let (load, start) = (Rc::new(Load::default()), Instant::now());
    let at_worker = load.clone();
    let working = tokio::task::spawn_local(async move {
        while start.elapsed() < time {
            if worker.fetch(1, true).await? == 0 {
                continue;
            }
            at_worker.jobs.set(at_worker.jobs.get() + 1);
            if let Some(sent) = Payloads::number(worker.last()) {
                let took = start.elapsed().saturating_sub(Duration::from_nanos(sent));
                at_worker.times.borrow_mut().push(took);
            }
            worker.ack().await?;
        }
        anyhow::Ok(())
    });
    let mut tick = tokio::time::interval(Duration::from_millis(5));
    while start.elapsed() < time {
        tick.tick().await;
        let now = u64::try_from(start.elapsed().as_nanos())?;
        producer.enqueue(&mut Payloads::from(now), 1).await?;
    }
    working.await??;
    Rc::into_inner(load).ok_or_else(|| anyhow::anyhow!("a task is left"))
}
