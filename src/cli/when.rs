// SPDX-License-Identifier: Apache-2.0
//! Durations on the command line, and times as people read them.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use jobbie_broker::Timestamp;
use jobbie_web::wire::span::EXPECTED;
use jobbie_web::wire::{Stamp, When};

/// A duration argument, read as the server reads it: `250ms`, `5s`, `10m`, `1h`, `7d`, or a number of seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    ms: u64,
}

impl Span {
    /// The duration.
    pub fn duration(self) -> Duration {
        Duration::from_millis(self.ms)
    }
}

impl From<Duration> for Span {
    fn from(duration: Duration) -> Self {
        Self { ms: u64::try_from(duration.as_millis()).unwrap_or(u64::MAX) }
    }
}

/// As the server reads it.
impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}ms", self.ms)
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let read = jobbie_web::wire::Span::parse(text, true).ok_or_else(|| format!("expected {EXPECTED}"))?;
        Ok(Self { ms: read.0.0 })
    }
}

/// `1.2s`, `3m`, `5d`: two digits at most, for tables.
pub fn short(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 => format!("{}ms", duration.as_millis()),
        1..10 => format!("{:.1}s", duration.as_secs_f64()),
        10..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// How long ago an RFC 3339 time is, or in how long it will be (`in 5m`). What cannot be read is shown as it is.
pub fn relative(time: &str, now: SystemTime) -> String {
    let Some(When(then)) = When::parse(time) else { return time.to_owned() };
    let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
    let distance = |ms: u128| short(Duration::from_millis(u64::try_from(ms).unwrap_or(u64::MAX)));
    let then = u128::from(then.0);
    if then > now { format!("in {}", distance(then - now)) } else { distance(now - then) }
}

/// A time as the server reads it.
pub fn rfc3339(time: SystemTime) -> String {
    let ms = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
    Stamp(Timestamp(u64::try_from(ms).unwrap_or(u64::MAX))).to_string()
}

/// The time of day in UTC, for log lines.
pub fn clock(now: SystemTime) -> String {
    let seconds = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs() % 86_400;
    format!("{:02}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read() {
        for (text, ms) in [
            ("250ms", 250),
            ("5s", 5_000),
            ("10m", 600_000),
            ("1h", 3_600_000),
            ("7d", 604_800_000),
            ("30", 30_000),
            ("0.5", 500),
        ] {
            assert_eq!(text.parse::<Span>().unwrap().ms, ms, "{text}");
        }
        for text in ["", "s", "5 s", "-5s", "1w", "1.2.3", "99999999999999999999d", "1.5h"] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
        assert_eq!("2s".parse::<Span>().unwrap().to_string(), "2000ms");
    }

    #[test]
    fn ages_are_short() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        assert_eq!(relative("1970-01-12T13:46:40Z", now), "0ms");
        assert_eq!(relative("1970-01-12T13:41:40Z", now), "5m");
        assert_eq!(relative("1970-01-12T13:47:00Z", now), "in 20s");
        assert_eq!(relative("soon", now), "soon");
        assert_eq!(
            (short(Duration::from_millis(1_234)), short(Duration::from_secs(400_000))),
            ("1.2s".into(), "4d".into())
        );
        assert_eq!(clock(now), "13:46:40");
    }
}
