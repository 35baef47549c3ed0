// SPDX-License-Identifier: Apache-2.0
//! JSON and text that come in as an argument, from stdin (`-`) or from a file (`@path`).
//!
//! JSON is checked and then kept as it was typed: numbers are not rounded, keys are not reordered.

use std::io::Read;

use anyhow::{Context, Result};
use serde_json::value::RawValue;

use super::exit::usage;

/// Reads an argument's text: itself, stdin, or a file.
pub fn text(argument: &str) -> Result<String> {
    match argument {
        "-" => {
            let mut text = String::new();
            std::io::stdin().lock().read_to_string(&mut text).context("cannot read stdin")?;
            Ok(text)
        }
        _ => match argument.strip_prefix('@') {
            Some(path) => {
                std::fs::read_to_string(path).map_err(|e| usage(format!("cannot read {path}: {e}")))
            }
            None => Ok(argument.to_owned()),
        },
    }
}

/// Reads a JSON argument.
pub fn json(what: &str, argument: &str) -> Result<Box<RawValue>> {
    parse(what, &text(argument)?)
}

/// Checks JSON text and keeps it.
pub fn parse(what: &str, text: &str) -> Result<Box<RawValue>> {
    let trimmed = text.trim();
    serde_json::from_str::<&RawValue>(trimmed).map(ToOwned::to_owned).map_err(|e| {
        usage(format!("the {what} is not JSON: {e}\n  got: {}\n{}", excerpt(trimmed), advice(trimmed)))
    })
}

/// Any text as a JSON string.
pub fn string(text: &str) -> Result<Box<RawValue>> {
    Ok(serde_json::value::to_raw_value(text)?)
}

/// `key=value` for labels.
pub fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("expected key=value".into()),
    }
}

/// `low`, `normal`, `high`, `critical`, or a number from 0 to 100, as the server takes it.
pub fn priority(text: &str) -> Result<serde_json::Value, String> {
    match text {
        "low" | "normal" | "high" | "critical" => Ok(text.into()),
        _ => match text.parse::<u8>() {
            Ok(number) if number <= 100 => Ok(number.into()),
            _ => Err("expected a number from 0 to 100, or low, normal, high or critical".into()),
        },
    }
}

fn advice(text: &str) -> &'static str {
    const QUOTE: &str =
        "  quote it for the shell: '{\"to\":\"ann\"}' (single quotes outside, double quotes inside)";
    match text.as_bytes().first() {
        None => "  it is empty; leave it out for null, or use '\"\"' for an empty string",
        Some(b'{' | b'[') if !text.contains('"') => QUOTE,
        Some(b'{' | b'[') if text.lines().filter(|l| l.trim_start().starts_with('{')).count() > 1 => {
            "  several documents? `enqueue QUEUE --lines FILE` makes one job of each line"
        }
        Some(b'{' | b'[') => QUOTE,
        Some(b'\'') => "  JSON strings have double quotes: '\"like this\"'",
        Some(_) => "  to send it as a string: add --text, or quote it twice: '\"like this\"'",
    }
}

fn excerpt(text: &str) -> String {
    super::out::shortened(&super::out::clean(text), 80)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        parse("payload", text).unwrap_err().to_string()
    }

    #[test]
    fn json_is_kept_as_typed() {
        for text in [r#"{"b":1,"a":12345678901234567890123}"#, "1.10", "null", r#""x""#, "-5"] {
            assert_eq!(parse("payload", &format!(" {text}\n")).unwrap().get(), text);
        }
    }

    #[test]
    fn what_is_not_json_comes_with_advice() {
        assert!(refusal("hello").contains("--text"));
        assert!(refusal("{to: ann}").contains("single quotes outside"));
        assert!(refusal("'x'").contains("double quotes"));
        assert!(refusal("").contains("empty"));
        assert!(refusal("{\"a\":1}\n{\"a\":2}").contains("--lines"));
        assert!(refusal("{\"a\":1").contains("the payload is not JSON"));
        assert_eq!(
            super::super::exit::of(&parse("payload", "x").unwrap_err()).0,
            super::super::exit::Exit::Usage
        );
    }

    #[test]
    fn sources() {
        let path = std::env::temp_dir().join(crate::client::unique_token());
        std::fs::write(&path, "{}").unwrap();
        assert_eq!(text(&format!("@{}", path.display())).unwrap(), "{}");
        std::fs::remove_file(&path).unwrap();
        assert!(text(&format!("@{}", path.display())).is_err());
        assert_eq!(text("plain").unwrap(), "plain");
    }

    #[test]
    fn pairs_and_priorities() {
        assert_eq!(pair("a=b=c").unwrap(), ("a".into(), "b=c".into()));
        assert!(pair("a").is_err() && pair("=b").is_err());
        assert_eq!((priority("high").unwrap(), priority("7").unwrap()), ("high".into(), 7.into()));
        assert!(priority("101").is_err() && priority("urgent").is_err());
    }
}
