// SPDX-License-Identifier: Apache-2.0
//! Spans of time: `"250ms"`, `"5s"`, `"10m"`, `"1h"`, `"7d"`, or a number of seconds.

use std::fmt;

use jobbie_broker::Millis;
use serde::de::{self, Deserialize, Deserializer, Visitor};

/// The longest span that is taken anywhere: ten years. Larger ones are slips of the unit.
pub const MAX_SPAN: Millis = Millis(10 * 365 * 86_400_000);

/// What a span looks like, for error messages.
pub const EXPECTED: &str =
    "a duration such as \"250ms\", \"5s\", \"10m\", \"1h\" or \"7d\", or a number of seconds";

/// A span as it comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub Millis);

impl Span {
    /// Reads `5s` and its like, and with `bare` also a plain number of seconds (as query parameters are text).
    #[must_use]
    pub fn parse(text: &str, bare: bool) -> Option<Self> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        if bare && digits > 0 && (unit.is_empty() || unit.starts_with('.')) {
            return Self::from_seconds(text.parse().ok()?);
        }
        let size: u64 = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        Self::bounded(number.parse::<u64>().ok()?.checked_mul(size)?)
    }

    /// A number of seconds, down to milliseconds.
    #[must_use]
    pub fn from_seconds(seconds: f64) -> Option<Self> {
        let ms = (seconds * 1000.0).round();
        // The comparison also refuses NaN; below it the cast is exact.
        (0.0..=MAX_SPAN.0 as f64).contains(&ms).then_some(Self(Millis(ms as u64)))
    }

    fn bounded(ms: u64) -> Option<Self> {
        (ms <= MAX_SPAN.0).then_some(Self(Millis(ms)))
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Seen;
        impl Visitor<'_> for Seen {
            type Value = Span;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(EXPECTED)
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Span, E> {
                Span::parse(text, false).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
            }
            fn visit_u64<E: de::Error>(self, seconds: u64) -> Result<Span, E> {
                seconds
                    .checked_mul(1000)
                    .and_then(Span::bounded)
                    .ok_or_else(|| E::invalid_value(de::Unexpected::Unsigned(seconds), &self))
            }
            fn visit_f64<E: de::Error>(self, seconds: f64) -> Result<Span, E> {
                Span::from_seconds(seconds)
                    .ok_or_else(|| E::invalid_value(de::Unexpected::Float(seconds), &self))
            }
        }
        deserializer.deserialize_any(Seen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read() {
        for (text, ms) in [
            (r#""250ms""#, 250),
            (r#""5s""#, 5_000),
            (r#""10m""#, 600_000),
            (r#""1h""#, 3_600_000),
            (r#""7d""#, 604_800_000),
            (r#""0s""#, 0),
            ("5", 5_000),
            ("0.25", 250),
            ("0", 0),
            ("1e2", 100_000),
        ] {
            assert_eq!(serde_json::from_str::<Span>(text).unwrap(), Span(Millis(ms)), "{text}");
        }
    }

    #[test]
    fn what_is_no_span_is_refused_with_what_is_one() {
        for text in [
            r#""5""#,
            r#""s""#,
            r#""""#,
            r#""5 s""#,
            r#""-5s""#,
            r#""5S""#,
            r#""1.5h""#,
            r#""５s""#,
            "-1",
            "-0.5",
            "true",
            "null",
            "[]",
            r#""99999999999999999999s""#,
            r#""9999999d""#,
            "1e300",
            "999999999999",
        ] {
            let error = serde_json::from_str::<Span>(text).unwrap_err().to_string();
            assert!(error.contains("10m"), "{text}: {error}");
        }
    }

    #[test]
    fn a_query_parameter_may_be_a_bare_number() {
        assert_eq!(Span::parse("30", true), Some(Span(Millis(30_000))));
        assert_eq!(Span::parse("0.5", true), Some(Span(Millis(500))));
        assert_eq!(Span::parse("30s", true), Some(Span(Millis(30_000))));
        for bad in ["", "x", "-1", "inf", "NaN", "1.x", "1.2.3", "1e5x", " 1"] {
            assert_eq!(Span::parse(bad, true), None, "{bad}");
        }
    }
}
