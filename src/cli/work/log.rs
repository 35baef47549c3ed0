// SPDX-License-Identifier: Apache-2.0
//! What a worker says while it works: lines on stderr, and with `--output json` one object per finished job on stdout.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use super::super::out::{Out, clean, note, shortened};
use super::super::when;

/// The worker's log.
pub struct Log {
    out: Out,
    quiet: bool,
}

/// How many jobs ended how.
#[derive(Debug, Default)]
pub struct Tally {
    /// Acked.
    pub completed: AtomicU64,
    /// Failed, cancelled, or refused.
    pub failed: AtomicU64,
    /// Given back, or lost.
    pub other: AtomicU64,
}

impl Tally {
    /// Counts one job.
    pub fn count(&self, counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// What is said about a finished job.
pub struct Line<'a> {
    /// The job.
    pub id: &'a str,
    /// Its queue.
    pub queue: &'a str,
    /// Which attempt it was.
    pub attempt: u64,
    /// `completed`, `failed`, `released`, `lost`, `cancelled`.
    pub outcome: &'a str,
    /// Details.
    pub remark: &'a str,
    /// How long it ran.
    pub took: Duration,
}

impl Log {
    /// A log that passes on the commands' stderr unless `quiet`.
    pub fn new(out: Out, quiet: bool) -> Self {
        Self { out, quiet }
    }

    /// A line with the time.
    pub fn say(&self, text: &str) {
        note(format!("{} {}", when::clock(SystemTime::now()), text));
    }

    /// A job is over.
    pub fn job(&self, line: &Line<'_>) {
        if self.out.is_json() {
            let object = serde_json::json!({
                "job_id": line.id, "queue": line.queue, "attempt": line.attempt, "outcome": line.outcome,
                "remark": line.remark, "ms": line.took.as_millis() as u64,
            });
            // Nobody reads: not a reason to stop working.
            let _ = self.out.line(object.to_string());
            return;
        }
        let remark = if line.remark.is_empty() {
            String::new()
        } else {
            format!(": {}", shortened(&clean(line.remark), 200))
        };
        let Line { id, queue, attempt, outcome, .. } = line;
        self.say(&format!("{id} {queue} attempt {attempt} {outcome} in {}{remark}", when::short(line.took)));
    }

    /// What passes on the lines of a child's stderr.
    pub fn child(&self, id: &str) -> Box<dyn FnMut(&str) + Send> {
        if self.quiet {
            return Box::new(|_| {});
        }
        let prefix = format!("[{id}]");
        Box::new(move |line| note(format!("{prefix} {line}")))
    }
}
