// SPDX-License-Identifier: Apache-2.0
//! CPU time of another process, from `/proc`.

use std::time::Duration;

/// `USER_HZ`: the unit of times in `/proc`, fixed at 100 for programs on every Linux.
const TICKS_PER_SECOND: u64 = 100;

/// User and system time of a process with all its threads, exited ones included; `None` where there is no `/proc`.
pub fn time_of(pid: u32) -> Option<Duration> {
    parse(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn parse(stat: &str) -> Option<Duration> {
    // The second field is the program's name in brackets and may contain anything, brackets too.
    let after_name = stat.rsplit_once(')')?.1;
    let mut fields = after_name.split_ascii_whitespace().skip(11);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(Duration::from_millis((user + system) * 1_000 / TICKS_PER_SECOND))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_after_the_name_are_counted() {
        let stat = "42 (a) b (c) S 1 42 42 0 -1 4194560 100 0 0 0 150 25 0 0 20 0 9 0 100 1 2";
        assert_eq!(parse(stat), Some(Duration::from_millis(1_750)));
        assert_eq!(parse("nonsense"), None);
        assert!(time_of(std::process::id()).is_some() || !std::path::Path::new("/proc/self").exists());
    }
}
