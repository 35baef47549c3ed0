// SPDX-License-Identifier: Apache-2.0
//! What a process and the whole machine have used so far, from `/proc`. Everything is `None` where there is no `/proc`.

use std::time::Duration;

/// `USER_HZ`: the unit of times in `/proc`, fixed at 100 for programs on every Linux.
const TICKS_PER_SECOND: u64 = 100;

/// Memory of a process, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// Resident now.
    pub resident: u64,
    /// The most that was resident since it started.
    pub peak: u64,
}

/// User and system time of a process with all its threads, exited ones included.
pub fn time_of(pid: u32) -> Option<Duration> {
    parse_stat(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The memory of a process.
pub fn memory_of(pid: u32) -> Option<Memory> {
    parse_status(&std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?)
}

/// The time that all cores together were not idle, for whomever.
pub fn machine_busy() -> Option<Duration> {
    parse_cores(&std::fs::read_to_string("/proc/stat").ok()?)
}

fn ticks(count: u64) -> Duration {
    Duration::from_millis(count * 1_000 / TICKS_PER_SECOND)
}

fn parse_stat(stat: &str) -> Option<Duration> {
    // The second field is the program's name in brackets and may contain anything, brackets too.
    let after_name = stat.rsplit_once(')')?.1;
    let mut fields = after_name.split_ascii_whitespace().skip(11);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(ticks(user + system))
}

fn parse_status(status: &str) -> Option<Memory> {
    let kib = |name: &str| -> Option<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_ascii_whitespace().next()?.parse().ok()
    };
    Some(Memory { resident: kib("VmRSS:")? * 1_024, peak: kib("VmHWM:")? * 1_024 })
}

/// The first line is `cpu user nice system idle iowait irq softirq steal …`; what another guest of the same host took
/// (`steal`) is missing here as much as what another process took.
fn parse_cores(stat: &str) -> Option<Duration> {
    let fields: Vec<u64> =
        stat.lines().next()?.strip_prefix("cpu ")?.split_ascii_whitespace().flat_map(str::parse).collect();
    let busy = fields.iter().enumerate().take(8).filter(|(i, _)| !matches!(i, 3 | 4));
    (fields.len() >= 8).then(|| ticks(busy.map(|(_, count)| count).sum()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_after_the_name_are_counted() {
        let stat = "42 (a) b (c) S 1 42 42 0 -1 4194560 100 0 0 0 150 25 0 0 20 0 9 0 100 1 2";
        assert_eq!(parse_stat(stat), Some(Duration::from_millis(1_750)));
        assert_eq!(parse_stat("nonsense"), None);
        assert!(time_of(std::process::id()).is_some() || !std::path::Path::new("/proc/self").exists());
    }

    #[test]
    fn memory_is_in_bytes() {
        let status = "Name:\tx\nVmPeak:\t 9 kB\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n";
        assert_eq!(parse_status(status), Some(Memory { resident: 1 << 20, peak: 2 << 20 }));
        assert_eq!(parse_status("Name:\tkthreadd\n"), None);
    }

    #[test]
    fn idle_cores_are_not_busy() {
        assert_eq!(
            parse_cores("cpu  100 10 50 9999 8888 1 2 37 0 0\ncpu0 1\n"),
            Some(Duration::from_secs(2))
        );
        assert_eq!(parse_cores("cpu  1 2\n"), None);
        assert_eq!(parse_cores(""), None);
    }
}
