// SPDX-License-Identifier: Apache-2.0
//! What goes to stdout and stderr. Answers go to stdout and nothing else does, so that they can be piped; every
//! remark goes to stderr.
//!
//! With `--output json` stdout carries the server's JSON as it came: payloads are not re-encoded.

mod table;

use std::io::{self, Write};

use anyhow::Result;
use serde_json::Value;

pub use table::{Table, clean, shortened};

/// How answers are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    Table,
    /// For programs: the server's JSON; lists of unknown length are one object per line.
    Json,
}

/// The way to stdout.
#[derive(Debug, Clone, Copy)]
pub struct Out {
    format: Format,
}

impl Out {
    /// Prints in this format.
    pub fn new(format: Format) -> Self {
        Self { format }
    }

    /// Whether programs read what is printed.
    pub fn is_json(self) -> bool {
        self.format == Format::Json
    }

    /// Prints bytes and a newline.
    pub fn line(self, text: impl AsRef<[u8]>) -> Result<()> {
        let text = text.as_ref();
        let mut stdout = io::stdout().lock();
        stdout.write_all(text)?;
        if !text.ends_with(b"\n") {
            stdout.write_all(b"\n")?;
        }
        Ok(stdout.flush()?)
    }

    /// Prints a table.
    pub fn table(self, table: &Table) -> Result<()> {
        self.line(table.to_string())
    }

    /// Prints a JSON object as `key  value` lines: scalars and whatever else, in the order that `first` names,
    /// then the rest. Empty values are left out.
    pub fn fields(self, object: &Value, first: &[&str]) -> Result<()> {
        let Some(map) = object.as_object() else { return self.line(object.to_string()) };
        let mut table = Table::plain();
        let rest = map.keys().map(String::as_str).filter(|key| !first.contains(key));
        for key in first.iter().copied().chain(rest) {
            if let Some(value) = map.get(key).filter(|v| !is_empty(v)) {
                table.row([key.to_owned(), text_of(value)]);
            }
        }
        self.table(&table)
    }
}

/// A remark on stderr. A closed stderr is not a reason to stop.
pub fn note(text: impl AsRef<str>) {
    let _ = writeln!(io::stderr().lock(), "{}", text.as_ref());
}

/// A JSON value as a cell: strings without their quotes, everything else as JSON.
pub fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_of_json() {
        assert_eq!(text_of(&Value::from("a")), "a");
        assert_eq!(text_of(&serde_json::json!({"a": [1]})), r#"{"a":[1]}"#);
        assert_eq!(text_of(&Value::Null), "");
        assert!(is_empty(&serde_json::json!([])) && !is_empty(&serde_json::json!(false)));
    }
}
