// SPDX-License-Identifier: Apache-2.0
//! The process, under the names that every Prometheus client has for it. Read from `/proc`; elsewhere only the
//! start time is known.

use std::fs;
use std::sync::atomic::AtomicU64;
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::scrape::register;

/// Ticks per second in `/proc`: `USER_HZ`, which is 100 on every architecture of Linux that Rust builds for.
const TICKS: f64 = 100.0;

pub(super) fn register_all(began: SystemTime, registry: &mut Registry) {
    let gauge = |value: f64| {
        let gauge = Gauge::<f64, AtomicU64>::default();
        gauge.set(value);
        gauge
    };
    let cpu = cpu_seconds().map(|seconds| {
        let counter = Counter::<f64, AtomicU64>::default();
        counter.inc_by(seconds);
        counter
    });
    register(registry, "cpu_seconds", "Processor time used", cpu);
    register(registry, "resident_memory_bytes", "Resident memory", resident_bytes().map(gauge));
    register(registry, "open_fds", "Open file descriptors", open_files().map(gauge));
    register(registry, "max_fds", "Most file descriptors that may be open", max_files().map(gauge));
    let began = began.duration_since(UNIX_EPOCH).ok().map(|since| gauge(since.as_secs_f64()));
    register(registry, "start_time_seconds", "Start of the process, in seconds since 1970", began);
}

fn cpu_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The name, in brackets, may have spaces and brackets in it; what follows has neither.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at)?.parse::<u64>().ok();
    // Fields 14 and 15 of proc(5), counted from 1 with the name as the second: utime and stime.
    Some((ticks(11)? + ticks(12)?) as f64 / TICKS)
}

fn resident_bytes() -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib as f64 * 1024.0)
}

fn open_files() -> Option<f64> {
    // One of them is the directory that is being read.
    Some(fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1) as f64)
}

fn max_files() -> Option<f64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|most| most as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn linux_tells_everything() {
        assert!(cpu_seconds().is_some_and(|seconds| seconds >= 0.0));
        assert!(resident_bytes().is_some_and(|bytes| bytes > 1024.0 * 1024.0));
        assert!(open_files().is_some_and(|open| open >= 3.0 && open <= max_files().unwrap()));
    }
}
