// SPDX-License-Identifier: Apache-2.0
//! A request body built field by field: what is not given is not sent, so that the server's defaults apply.

use std::collections::BTreeMap;

use anyhow::Result;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

/// A JSON object under construction. Raw JSON goes through untouched.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(transparent)]
pub struct Body(BTreeMap<String, Box<RawValue>>);

impl Body {
    /// Sets a field.
    pub fn set(&mut self, name: &str, value: &impl Serialize) -> Result<&mut Self> {
        self.0.insert(name.to_owned(), to_raw_value(value)?);
        Ok(self)
    }

    /// Sets a field if there is a value for it.
    pub fn opt(&mut self, name: &str, value: Option<&impl Serialize>) -> Result<&mut Self> {
        match value {
            Some(value) => self.set(name, value),
            None => Ok(self),
        }
    }

    /// Sets a duration if there is one.
    pub fn span(&mut self, name: &str, span: Option<super::when::Span>) -> Result<&mut Self> {
        self.opt(name, span.map(|s| s.to_string()).as_ref())
    }

    /// Sets the fields of a JSON object on top of what is there.
    pub fn merge(&mut self, object: &RawValue) -> Result<&mut Self> {
        let fields: BTreeMap<String, Box<RawValue>> = serde_json::from_str(object.get())
            .map_err(|_| super::exit::usage(format!("expected a JSON object, got {}", object.get())))?;
        self.0.extend(fields);
        Ok(self)
    }

    /// Whether nothing was set.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_given_is_sent_and_numbers_stay_whole() {
        let mut body = Body::default();
        body.set("queue", &"a").unwrap().opt("priority", None::<&u8>).unwrap();
        body.span("delay", Some("2s".parse().unwrap())).unwrap();
        body.merge(
            &super::super::input::parse("x", r#"{"queue":"b","payload":{"n":12345678901234567890123}}"#)
                .unwrap(),
        )
        .unwrap();
        let text = serde_json::to_string(&body).unwrap();
        assert_eq!(text, r#"{"delay":"2000ms","payload":{"n":12345678901234567890123},"queue":"b"}"#);
        assert!(body.merge(&super::super::input::parse("x", "[]").unwrap()).is_err());
    }
}
