// SPDX-License-Identifier: Apache-2.0
//! Query parameters: each once, unknown ones refused, like the fields of a body.

use std::borrow::Cow;

use super::Span;
use super::place::shown;
use super::span::EXPECTED;
use crate::error::{Code, Detail, Problem};

/// The parameters of a request.
#[derive(Debug, Default)]
pub struct Query<'a> {
    pairs: Vec<(&'static str, Cow<'a, str>)>,
}

impl<'a> Query<'a> {
    /// Reads a query string that may have the parameters in `allowed`.
    ///
    /// # Errors
    /// `VALIDATION` naming a parameter that is unknown or there twice.
    pub fn parse(text: &'a str, allowed: &[&'static str]) -> Result<Self, Problem> {
        let mut query = Self::default();
        for part in text.split('&').filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let name = decode(name)?;
            let Some(known) = allowed.iter().find(|known| **known == name) else {
                return Err(unknown(&name, allowed));
            };
            if query.get(known).is_some() {
                return Err(Problem::field(known, "is there twice"));
            }
            let value = decode(value).map_err(|e| e.with("field", Detail::Text((*known).to_owned())))?;
            query.pairs.push((known, value));
        }
        Ok(query)
    }

    /// A parameter's text.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| &**value)
    }

    /// A whole number within bounds.
    ///
    /// # Errors
    /// `VALIDATION` naming the parameter and the bounds.
    pub fn number(&self, name: &str, min: u32, max: u32) -> Result<Option<u32>, Problem> {
        let Some(text) = self.get(name) else { return Ok(None) };
        match text.parse() {
            Ok(number) if (min..=max).contains(&number) => Ok(Some(number)),
            _ => Err(Problem::field(name, format!("must be a whole number from {min} to {max}"))),
        }
    }

    /// A span of time; a bare number is seconds.
    ///
    /// # Errors
    /// `VALIDATION` naming the parameter.
    pub fn span(&self, name: &str) -> Result<Option<Span>, Problem> {
        let Some(text) = self.get(name) else { return Ok(None) };
        Span::parse(text, true).map(Some).ok_or_else(|| Problem::field(name, format!("must be {EXPECTED}")))
    }

    /// A list with commas between the items; empty items do not count.
    pub fn list(&self, name: &str) -> impl Iterator<Item = &str> {
        self.get(name).unwrap_or_default().split(',').map(str::trim).filter(|item| !item.is_empty())
    }
}

fn unknown(name: &str, allowed: &[&'static str]) -> Problem {
    let shown = shown(name);
    let list = if allowed.is_empty() { "none".to_owned() } else { allowed.join(", ") };
    Problem::new(Code::Validation, format!("{shown} is not a query parameter here; allowed are {list}"))
        .with("field", Detail::Text(shown))
        .with("allowed", Detail::List(allowed.iter().map(ToString::to_string).collect()))
}

/// Undoes percent encoding and `+` for a space.
///
/// # Errors
/// `VALIDATION` if a `%` is not followed by two hex digits or the result is not UTF-8.
pub fn decode(text: &str) -> Result<Cow<'_, str>, Problem> {
    if !text.bytes().any(|b| matches!(b, b'%' | b'+')) {
        return Ok(Cow::Borrowed(text));
    }
    percent_decode(text, true).map(Cow::Owned)
}

/// Undoes percent encoding, in a path segment (`plus` false) or in a query.
///
/// # Errors
/// As [`decode`].
pub fn percent_decode(text: &str, plus: bool) -> Result<String, Problem> {
    let bad = || {
        Problem::new(
            Code::Validation,
            "the address has a % that is not followed by the code of a UTF-8 character",
        )
    };
    let mut bytes = text.bytes();
    let mut out = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => {
                let digit = |b: Option<u8>| b.and_then(|b| char::from(b).to_digit(16)).ok_or_else(bad);
                let (high, low) = (digit(bytes.next())?, digit(bytes.next())?);
                u8::try_from(high * 16 + low).map_err(|_| bad())?
            }
            b'+' if plus => b' ',
            other => other,
        });
    }
    String::from_utf8(out).map_err(|_| bad())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOWED: &[&str] = &["queues", "limit", "timeout"];

    #[test]
    fn parameters_are_read() {
        let query = Query::parse("queues=a,b%2Cc,,&limit=10&&timeout=1.5", ALLOWED).unwrap();
        assert_eq!(query.list("queues").collect::<Vec<_>>(), ["a", "b", "c"]);
        assert_eq!(query.number("limit", 1, 10).unwrap(), Some(10));
        assert_eq!(query.span("timeout").unwrap().unwrap().0.0, 1500);
        assert_eq!(query.get("x"), None);
        assert_eq!(Query::parse("", &[]).unwrap().list("x").count(), 0);
    }

    #[test]
    fn a_value_that_is_badly_encoded_is_named() {
        let problem = Query::parse("queues=a&limit=%ff", ALLOWED).unwrap_err();
        assert_eq!(problem.details, [("field", Detail::Text("limit".into()))]);
    }

    #[test]
    fn the_rest_is_refused() {
        for (text, sentence) in [
            ("limt=1", "limt is not a query parameter here; allowed are queues, limit, timeout"),
            ("limit=1&limit=2", "limit is there twice"),
            ("limit=%", "the address has a %"),
            ("limit=%f", "the address has a %"),
            ("limit=%zz", "the address has a %"),
            ("limit=%ff", "the address has a %"),
        ] {
            assert!(Query::parse(text, ALLOWED).unwrap_err().message.contains(sentence), "{text}");
        }
        for text in ["limit=", "limit=0", "limit=11", "limit=-1", "limit=1.5", "limit=x"] {
            let query = Query::parse(text, ALLOWED).unwrap();
            assert!(query.number("limit", 1, 10).is_err(), "{text}");
        }
        assert!(Query::parse("timeout=x", ALLOWED).unwrap().span("timeout").is_err());
    }
}
