// SPDX-License-Identifier: Apache-2.0
//! Runs the same loop on many connections at once and stops them all in time. Every loop asks the [`Gate`] before each
//! request, so that no run is without an end.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::sync::{Barrier, Notify};
use tokio::task::JoinSet;

use super::stats::Part;
use super::target::{Line, Target};

/// A connection that is refused this often in a row gives up; what it was told is in the report.
pub const PATIENCE: u32 = 20;

/// The end of a run: a time and a number of jobs.
#[derive(Debug)]
pub struct Gate {
    left: AtomicI64,
    limit: Duration,
    /// Set when the connections are open.
    deadline: std::sync::OnceLock<Instant>,
}

/// A run that is over.
pub struct Measured {
    /// All connections together.
    pub part: Part,
    /// From the moment that all were open to the last job that went through.
    pub took: Duration,
    /// Where producers and workers ran at once.
    pub backlog: Option<Backlog>,
}

/// What producers were ahead of workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Backlog {
    /// Jobs that were not acked when the time was over.
    #[serde(rename = "backlog_left")]
    pub left: u64,
    /// The most that there were at any time.
    #[serde(rename = "backlog_most")]
    pub most: u64,
}

/// Counts what producers are ahead of workers, and holds them back when that is too much.
#[derive(Debug)]
pub struct Lead {
    now: AtomicI64,
    most: AtomicI64,
    allowed: i64,
    acked: Notify,
}

impl Lead {
    /// Producers may be this many jobs ahead; `None` for any number.
    pub fn new(allowed: Option<u32>) -> Self {
        let allowed = allowed.map_or(i64::MAX, i64::from);
        Self { now: AtomicI64::new(0), most: AtomicI64::new(0), allowed, acked: Notify::new() }
    }

    /// Waits until a producer may go on, or the gate closes.
    pub async fn room(&self, gate: &Gate) {
        let is_far = || self.now.load(Ordering::Relaxed) >= self.allowed;
        while is_far() {
            // Registered before it is looked at again, or an ack in between would be missed.
            let acked = self.acked.notified();
            if is_far() && tokio::time::timeout_at(gate.deadline().into(), acked).await.is_err() {
                return;
            }
        }
    }

    /// A job was acknowledged to a producer.
    pub fn produced(&self) {
        let now = self.now.fetch_add(1, Ordering::Relaxed) + 1;
        self.most.fetch_max(now, Ordering::Relaxed);
    }

    /// Jobs were acked.
    pub fn acked(&self, jobs: u64) {
        self.now.fetch_sub(i64::try_from(jobs).unwrap_or(i64::MAX), Ordering::Relaxed);
        self.acked.notify_waiters();
    }

    /// So far. A job may be acked before its producer has its answer, so the count is below zero at times.
    pub fn backlog(&self) -> Backlog {
        let count = |number: &AtomicI64| u64::try_from(number.load(Ordering::Relaxed)).unwrap_or(0);
        Backlog { left: count(&self.now), most: count(&self.most) }
    }
}

impl Gate {
    /// Closes after `limit`, or when `jobs` were let through.
    pub fn new(limit: Duration, jobs: Option<u64>) -> Arc<Self> {
        let left = jobs.map_or(i64::MAX, |jobs| i64::try_from(jobs).unwrap_or(i64::MAX));
        Arc::new(Self { left: AtomicI64::new(left), limit, deadline: std::sync::OnceLock::new() })
    }

    /// Whether `jobs` more may be tried.
    pub fn admit(&self, jobs: u64) -> bool {
        let jobs = i64::try_from(jobs).unwrap_or(i64::MAX);
        self.is_open() && self.left.fetch_sub(jobs, Ordering::Relaxed) >= jobs
    }

    /// Whether there is time left.
    pub fn is_open(&self) -> bool {
        let deadline = self.deadline();
        Instant::now() < deadline
    }

    /// When it closes.
    pub fn deadline(&self) -> Instant {
        *self.deadline.get_or_init(|| Instant::now() + self.limit)
    }
}

/// Runs `each` on `count` connections, all starting together; `each` is told which one it is.
pub async fn run<F>(
    target: &Arc<Target>,
    count: usize,
    gate: &Arc<Gate>,
    each: impl Fn(usize, Line) -> F,
) -> Result<Measured>
where
    F: Future<Output = Result<Line>> + Send + 'static,
{
    let mut lines = Vec::with_capacity(count);
    for _ in 0..count {
        lines.push(Line::open(target).await?);
    }
    let barrier = Arc::new(Barrier::new(count + 1));
    let mut tasks = JoinSet::new();
    for (i, line) in lines.into_iter().enumerate() {
        let (barrier, work) = (barrier.clone(), each(i, line));
        tasks.spawn(async move {
            barrier.wait().await;
            work.await
        });
    }
    barrier.wait().await;
    let start = Instant::now();
    gate.deadline();
    let mut part = Part::default();
    while let Some(done) = tasks.join_next().await {
        match done? {
            Ok(line) => part.merge(line.part),
            Err(e) => part.error(format!("{e:#}")),
        }
    }
    // A worker whose last long poll found nothing ends after the work does.
    let took = part.last.map_or_else(|| start.elapsed(), |last| last.saturating_duration_since(start));
    Ok(Measured { part, took, backlog: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_closes_by_count_and_by_time() {
        let gate = Gate::new(Duration::from_secs(60), Some(10));
        assert!(gate.admit(4) && gate.admit(6) && !gate.admit(1));
        let closed = Gate::new(Duration::ZERO, None);
        assert!(!closed.admit(1) && !closed.is_open());
    }

    #[test]
    fn a_lead_has_an_end_and_a_peak() {
        let lead = Lead::new(None);
        (0..5).for_each(|_| lead.produced());
        lead.acked(3);
        assert_eq!(lead.backlog(), Backlog { left: 2, most: 5 });
        lead.acked(3);
        assert_eq!(lead.backlog(), Backlog { left: 0, most: 5 });
    }

    #[tokio::test]
    async fn producers_wait_while_they_are_too_far_ahead() {
        let (lead, open) = (Lead::new(Some(2)), Gate::new(Duration::from_secs(60), None));
        lead.room(&open).await;
        (0..2).for_each(|_| lead.produced());
        let mut waiting = std::pin::pin!(lead.room(&open));
        let is_waiting = tokio::select! {
            biased;
            () = waiting.as_mut() => false,
            () = std::future::ready(()) => true,
        };
        assert!(is_waiting);
        lead.acked(1);
        waiting.await;
        lead.produced();
        lead.room(&Gate::new(Duration::ZERO, None)).await;
    }
}
