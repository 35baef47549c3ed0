// SPDX-License-Identifier: Apache-2.0
//! What each row is held to: the floors below which a release does not go out. They are ratios to what is measured in
//! the same run, and CPU per job, because both survive a change of machine better than a rate does. They hold for the
//! default sizes (200 bytes, batches of 100) in durable mode on two cores; with other sizes rows have no goals.

use std::fmt;

use serde::Serialize;

/// A quantity of a row, and what it must not fall below or exceed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Goal {
    /// Figure divided by yardstick.
    RatioAtLeast(f64),
    /// The same, where less is better.
    RatioAtMost(f64),
    /// Server CPU per job in microseconds.
    CpuAtMost(f64),
    /// The figure itself, in its unit.
    FigureAtMost(f64),
    /// Slowest one in a hundred, as a multiple of the median.
    TailAtMost(f64),
    /// The median in milliseconds: this multiple of the yardstick, and so much more.
    MedianAtMost(f64, f64),
    /// Jobs left in the queue when the time was over, as a share of those that went through.
    BacklogAtMost(f64),
}

/// A goal, and whether it was met.
#[derive(Debug, Clone, Serialize)]
pub struct Verdict {
    /// In words.
    pub goal: String,
    /// Whether the row meets it.
    pub is_met: bool,
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RatioAtLeast(least) => write!(f, "ratio ≥ {least}"),
            Self::RatioAtMost(most) => write!(f, "ratio ≤ {most}"),
            Self::CpuAtMost(most) => write!(f, "cpu ≤ {most}"),
            Self::FigureAtMost(most) => write!(f, "≤ {most}"),
            Self::TailAtMost(times) => write!(f, "p99 ≤ {times} × p50"),
            Self::MedianAtMost(times, more) => write!(f, "p50 ≤ {times} × yardstick + {more} ms"),
            Self::BacklogAtMost(share) => write!(f, "backlog ≤ {} %", share * 100.0),
        }
    }
}

/// Single enqueues.
pub fn enqueue(connections: usize) -> &'static [Goal] {
    match connections {
        64 => &[Goal::RatioAtLeast(0.38), Goal::CpuAtMost(35.0)],
        256 => &[Goal::RatioAtLeast(0.50), Goal::CpuAtMost(35.0)],
        _ => &[],
    }
}

/// Single fetches and acks; what 64 workers reach must not be less than what 16 reach, which is another row.
pub fn cycle(workers: usize) -> &'static [Goal] {
    match workers {
        64 => &[Goal::RatioAtLeast(0.20), Goal::CpuAtMost(80.0)],
        _ => &[],
    }
}

/// Batches of 100 enqueues.
pub const ENQUEUE_BATCH: &[Goal] = &[Goal::RatioAtLeast(1.5), Goal::CpuAtMost(11.0)];
/// Batches of 100 fetches and acks, and streams with batched acks.
pub const CYCLE_BATCH: &[Goal] = &[Goal::RatioAtLeast(1.0), Goal::CpuAtMost(16.0)];
/// 64 workers against 16.
pub const MORE_WORKERS: &[Goal] = &[Goal::RatioAtLeast(1.0)];
/// Producers and workers with single calls. A hundredth of the jobs is what 50 ms of a run of 5 s bring in.
pub const MIXED: &[Goal] = &[Goal::RatioAtLeast(0.09), Goal::BacklogAtMost(0.01)];
/// Producers with single calls, workers on streams.
pub const MIXED_STREAM: &[Goal] = &[Goal::RatioAtLeast(0.20), Goal::BacklogAtMost(0.01)];
/// Idle enqueue to an open stream, against one durable enqueue.
pub const LATENCY: &[Goal] = &[Goal::RatioAtMost(2.0), Goal::TailAtMost(6.0)];
/// One durable enqueue against one fdatasync.
pub const DURABLE: &[Goal] = &[Goal::MedianAtMost(2.0, 0.15)];
/// Rates over a deep queue against the same over a short one.
pub const DEPTH_RATE: &[Goal] = &[Goal::RatioAtLeast(0.9)];
/// Memory with the first depth, MiB.
pub const MEMORY: &[Goal] = &[Goal::FigureAtMost(400.0)];
/// Memory with any further depth, MiB, and against the first.
pub const MEMORY_DEEPER: &[Goal] = &[Goal::FigureAtMost(400.0), Goal::RatioAtMost(1.15)];
/// Seconds from SIGKILL to the first delivery.
pub const RESTART: &[Goal] = &[Goal::FigureAtMost(2.0)];
/// Percent of a core with 1,000 idle streams.
pub const IDLE_CPU: &[Goal] = &[Goal::FigureAtMost(5.0)];
/// MiB with 1,000 idle streams.
pub const IDLE_MEMORY: &[Goal] = &[Goal::FigureAtMost(200.0)];
