// SPDX-License-Identifier: Apache-2.0
//! Points in time: RFC 3339, UTC, milliseconds.

use std::fmt::{self, Write as _};

use jobbie_broker::Timestamp;
use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::{Serialize, Serializer};

/// 9999-12-31T23:59:59.999Z: RFC 3339 has years of four digits.
const LATEST: u64 = 253_402_300_799_999;

/// A time as it goes out: `2026-11-24T11:16:08.123Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp(pub Timestamp);

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0.0.min(LATEST);
        let (days, rest) = (ms / 86_400_000, ms % 86_400_000);
        let (year, month, day) = civil(days);
        let (hour, minute) = (rest / 3_600_000, rest / 60_000 % 60);
        let (second, milli) = (rest / 1000 % 60, rest % 1000);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
    }
}

/// Year, month and day of a number of days since 1970-01-01 (Hinnant, `civil_from_days`, for days ≥ 0).
fn civil(days: u64) -> (u64, u64, u64) {
    let z = days + 719_468;
    let (era, doe) = (z / 146_097, z % 146_097);
    let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    (yoe + era * 400 + u64::from(month <= 2), month, day)
}

impl Serialize for Stamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = String::with_capacity(24);
        write!(text, "{self}").map_err(serde::ser::Error::custom)?;
        serializer.serialize_str(&text)
    }
}

/// A time as it comes in: any offset, any fraction; finer than milliseconds is cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct When(pub Timestamp);

impl When {
    /// Reads an RFC 3339 time from 1970 on; the last day of 9999 is too late for jiff.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        // jiff also reads forms that RFC 3339 does not have, such as a zone in brackets.
        let plain = text.len() >= 20 && text.is_ascii() && !text.contains('[') && text.as_bytes()[4] == b'-';
        let at: jiff::Timestamp = if plain { text.parse().ok()? } else { return None };
        let ms = u64::try_from(at.as_millisecond()).ok()?;
        (ms <= LATEST).then_some(Self(Timestamp(ms)))
    }
}

impl<'de> Deserialize<'de> for When {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Seen;
        impl Visitor<'_> for Seen {
            type Value = When;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an RFC 3339 time such as \"2026-01-31T12:00:00.000Z\"")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<When, E> {
                When::parse(text).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_str(Seen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_out_comes_in_again() {
        for ms in [
            0,
            1,
            951_782_400_000,
            1_709_164_800_123,
            1_795_000_000_123,
            4_102_444_799_999,
            253_402_200_000_000,
        ] {
            let text = Stamp(Timestamp(ms)).to_string();
            assert_eq!(text.len(), 24);
            assert_eq!(When::parse(&text), Some(When(Timestamp(ms))), "{text}");
        }
        assert_eq!(Stamp(Timestamp(0)).to_string(), "1970-01-01T00:00:00.000Z");
        assert_eq!(Stamp(Timestamp(1_709_164_800_123)).to_string(), "2024-02-29T00:00:00.123Z");
        assert_eq!(Stamp(Timestamp::MAX).to_string(), "9999-12-31T23:59:59.999Z");
    }

    #[test]
    fn offsets_and_fractions_are_understood() {
        let base = When::parse("2026-01-31T12:00:00Z");
        assert!(base.is_some());
        assert_eq!(When::parse("2026-01-31T13:00:00+01:00"), base);
        assert_eq!(When::parse("2026-01-31T12:00:00.0009Z"), base);
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for bad in [
            "",
            "now",
            "2026-01-31",
            "2026-01-31T12:00:00",
            "2026-02-30T12:00:00Z",
            "1969-12-31T23:59:59Z",
            "12345",
            "2026-01-31T12:00:00+01:00[Europe/Berlin]",
            "2026-01-31T25:00:00Z",
        ] {
            assert_eq!(When::parse(bad), None, "{bad}");
        }
    }
}
