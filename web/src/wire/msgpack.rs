// SPDX-License-Identifier: Apache-2.0
//! MessagePack in: the body is rewritten as JSON text, so that there is one parser and one set of refusals.
//!
//! `bin` holds JSON text and is taken over byte for byte; this is how payloads, results and checkpoints
//! travel. A payload given as plain MessagePack values is turned into JSON.

use std::io::{self, Write};

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::limits::{ENVELOPE_DEPTH, MAX_DEPTH};
use crate::error::{Code, Detail, Problem};

/// The JSON text of a MessagePack body, which may be several times as long.
///
/// # Errors
/// `VALIDATION` if the body is no MessagePack or holds something that JSON has no form for,
/// `PAYLOAD_TOO_LARGE` if the text would have more than `limit` bytes.
pub fn to_json(bytes: &[u8], limit: usize) -> Result<Vec<u8>, Problem> {
    if bytes.is_empty() {
        return Err(Problem::field("", "is empty, expected a MessagePack map"));
    }
    let mut rest = bytes;
    let mut reader = rmp_serde::Deserializer::new(&mut rest);
    reader.set_max_depth(MAX_DEPTH + ENVELOPE_DEPTH + 1);
    let mut out =
        Text { json: Vec::with_capacity((bytes.len() + bytes.len() / 2).min(limit)), limit, full: false };
    let written = Value { out: &mut out, key: false }.deserialize(&mut reader);
    if out.full {
        let message = format!("the body has more than {limit} bytes when it is written as JSON");
        return Err(Problem::new(Code::PayloadTooLarge, message)
            .with("field", Detail::Text("the body".into()))
            .with("limit", Detail::Number(limit as u64)));
    }
    written.map_err(|e| Problem::field("", format!("is not valid MessagePack: {e}")))?;
    if !rest.is_empty() {
        return Err(Problem::field("", "is not valid MessagePack: something follows the first value"));
    }
    Ok(out.json)
}

/// The text that is being written. It refuses what goes beyond its limit.
struct Text {
    json: Vec<u8>,
    limit: usize,
    full: bool,
}

impl Text {
    fn push<E: Error>(&mut self, bytes: &[u8]) -> Result<(), E> {
        self.write_all(bytes).map_err(E::custom)
    }
}

impl Write for Text {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.json.len() + bytes.len() > self.limit {
            self.full = true;
            return Err(io::Error::other("the text is too long"));
        }
        self.json.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes the next value as JSON.
struct Value<'o> {
    out: &'o mut Text,
    /// Only strings can be keys.
    key: bool,
}

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Value<'_> {
    fn scalar<E: Error>(self, value: impl serde::Serialize) -> Result<(), E> {
        if self.key {
            return Err(E::custom("a key is not a string"));
        }
        serde_json::to_writer(self.out, &value).map_err(E::custom)
    }
}

impl<'de> Visitor<'de> for Value<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a value that JSON has a form for")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.scalar(value)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.scalar(value)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.scalar(value)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        if !value.is_finite() {
            return Err(E::custom("a number is not finite"));
        }
        self.scalar(value)
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<(), E> {
        serde_json::to_writer(self.out, value).map_err(E::custom)
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.scalar(())
    }

    fn visit_bytes<E: Error>(self, value: &[u8]) -> Result<(), E> {
        if self.key {
            return Err(E::custom("a key is not a string"));
        }
        let json: &RawValue =
            serde_json::from_slice(value).map_err(|e| E::custom(format!("a bin is not JSON: {e}")))?;
        self.out.push(json.get().as_bytes())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        if self.key {
            return Err(A::Error::custom("a key is not a string"));
        }
        self.out.push(b"[")?;
        let mut first = true;
        loop {
            let before = self.out.json.len();
            if !std::mem::take(&mut first) {
                self.out.push(b",")?;
            }
            if seq.next_element_seed(Value { out: self.out, key: false })?.is_none() {
                self.out.json.truncate(before);
                return self.out.push(b"]");
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        if self.key {
            return Err(A::Error::custom("a key is not a string"));
        }
        self.out.push(b"{")?;
        let mut first = true;
        loop {
            let before = self.out.json.len();
            if !std::mem::take(&mut first) {
                self.out.push(b",")?;
            }
            if map.next_key_seed(Value { out: self.out, key: true })?.is_none() {
                self.out.json.truncate(before);
                return self.out.push(b"}");
            }
            self.out.push(b":")?;
            map.next_value_seed(Value { out: self.out, key: false })?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(bytes: &[u8]) -> Result<String, String> {
        to_json(bytes, 1 << 20).map(|out| String::from_utf8(out).unwrap()).map_err(|problem| problem.message)
    }

    #[test]
    fn a_body_becomes_json_and_bin_is_taken_over() {
        assert_eq!(
            json(b"\x82\xa5queue\xa1a\xa7payload\xc4\x0a{ \"a\":1.0}").unwrap(),
            r#"{"queue":"a","payload":{ "a":1.0}}"#
        );
        assert_eq!(json(b"\x80").unwrap(), "{}");
        assert_eq!(
            json(b"\x94\xc0\xc3\xff\xcb\x3f\xf8\x00\x00\x00\x00\x00\x00").unwrap(),
            "[null,true,-1,1.5]"
        );
        assert_eq!(json(b"\x81\xa1a\x92\x80\xa1\"").unwrap(), r#"{"a":[{},"\""]}"#);
    }

    #[test]
    fn the_text_may_not_grow_past_the_limit() {
        // Six bytes of JSON for one, and a bin that is taken over.
        for bytes in [b"\xa4\x01\x02\x03\x04".as_slice(), b"\x92\xc4\x08\"234567\"\xc4\x08\"234567\""] {
            let long = to_json(bytes, usize::MAX).unwrap().len();
            assert_eq!(to_json(bytes, long).unwrap().len(), long);
            let problem = to_json(bytes, long - 1).unwrap_err();
            assert_eq!(problem.code, Code::PayloadTooLarge, "{problem}");
        }
    }

    #[test]
    fn what_has_no_json_form_is_refused() {
        for (bytes, sentence) in [
            (b"".as_slice(), "is empty"),
            (b"\x81\xa1a", "is not valid MessagePack"),
            (b"\x81\x01\x01", "a key is not a string"),
            (b"\x81\xa1a\xc4\x02{x", "a bin is not JSON"),
            (b"\x81\xa1a\xc4\x02\"\xff", "a bin is not JSON"),
            (b"\x81\xa1a\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00", "not finite"),
            (b"\x80\x80", "something follows"),
            (b"\xc1", "is not valid MessagePack"),
            (b"\xd4\x01\x00", "is not valid MessagePack"),
        ] {
            let message = json(bytes).unwrap_err();
            assert!(message.contains(sentence), "{bytes:?}: {message}");
        }
        assert!(json(&[0x91; 100_000]).is_err());
        // A length that the body cannot hold must not reserve that much.
        assert!(json(b"\xdd\xff\xff\xff\xff\x01").is_err());
    }
}
