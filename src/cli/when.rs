// SPDX-License-Identifier: Apache-2.0
//! Durations on the command line, and times as people read them.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

/// A duration argument: `250ms`, `5s`, `10m`, `1h`, `7d`, or a number of seconds.
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
        let wrong =
            || "expected a duration such as 250ms, 5s, 10m, 1h or 7d, or a number of seconds".to_owned();
        let digits = text.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count();
        let (number, unit) = text.split_at(digits);
        let unit: u32 = match unit {
            "ms" => 1,
            "s" | "" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(wrong()),
        };
        let ms = match number.parse::<u64>() {
            Ok(whole) => whole.checked_mul(u64::from(unit)).ok_or_else(wrong)?,
            Err(_) => {
                let ms = (number.parse::<f64>().map_err(|_| wrong())? * f64::from(unit)).round();
                // Ten years, as on the server; the cast is exact below that.
                if !(0.0..=3.2e11).contains(&ms) {
                    return Err(wrong());
                }
                ms as u64
            }
        };
        Ok(Self { ms })
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
    let Some(then) = unix_ms(time) else { return time.to_owned() };
    let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
    let distance = |ms: u128| short(Duration::from_millis(u64::try_from(ms).unwrap_or(u64::MAX)));
    let then = u128::from(then);
    if then > now { format!("in {}", distance(then - now)) } else { distance(now - then) }
}

/// Milliseconds since 1970 of `2026-01-31T23:59:59.123Z`.
pub fn unix_ms(time: &str) -> Option<u64> {
    let time = time.strip_suffix('Z')?;
    let (date, clock) = time.split_once('T')?;
    let mut date = date.split('-').map(|part| part.parse::<u64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let mut clock = clock.split(':').map(|part| part.parse::<u64>().ok());
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    if !(1970..10_000).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    if hour > 23 || minute > 59 || second > 60 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let millis: u64 = format!("{fraction:0<3}").get(..3)?.parse().ok()?;
    // Days since 1970 in the proleptic Gregorian calendar, with years that begin in March.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719_468;
    Some((((days * 24 + hour) * 60 + minute) * 60 + second) * 1_000 + millis)
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
            ("1.5h", 5_400_000),
        ] {
            assert_eq!(text.parse::<Span>().unwrap().ms, ms, "{text}");
        }
        for text in ["", "s", "5 s", "-5s", "1w", "1.2.3", "99999999999999999999d", "1e5"] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
        assert_eq!("2s".parse::<Span>().unwrap().to_string(), "2000ms");
    }

    #[test]
    fn times_are_read() {
        assert_eq!(unix_ms("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(unix_ms("2000-02-29T12:00:00.5Z"), Some(951_825_600_500));
        assert_eq!(unix_ms("2026-11-24T11:27:11.123Z"), Some(1_795_519_631_123));
        for text in ["", "2026-11-24", "2026-13-01T00:00:00Z", "2026-11-24T11:27:11+01:00", "x-1-1T0:0:0Z"] {
            assert_eq!(unix_ms(text), None, "{text}");
        }
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
