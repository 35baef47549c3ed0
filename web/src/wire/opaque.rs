// SPDX-License-Identifier: Apache-2.0
//! Payloads, results and checkpoints: JSON that is carried, not read.
//!
//! Coming in, an opaque value is a slice of the body (copied once, into the [`Json`] that goes into the log).
//! Going out, its bytes are written as they are: verbatim into JSON, as `bin` into MessagePack.

use bytes::Bytes;
use jobbie_broker::Json;
use serde::de::{Deserialize, Deserializer};
use serde::ser::{Error as _, Serialize, SerializeStruct, Serializer};
use serde_json::value::RawValue;

use super::depth::depth;
use super::limits::MAX_DEPTH;
use super::place::Place;
use crate::error::Problem;

/// An opaque value as it comes in: the text of one JSON value.
#[derive(Clone, Copy, Debug)]
pub struct Opaque<'a>(pub &'a str);

impl<'de: 'a, 'a> Deserialize<'de> for Opaque<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <&'de RawValue>::deserialize(deserializer).map(|raw| Opaque(raw.get()))
    }
}

impl Opaque<'_> {
    /// The value for the log, if it is neither too large nor nested too deep.
    ///
    /// # Errors
    /// With the place of the value.
    pub fn check(self, place: &Place<'_>, limit: usize) -> Result<Json, Problem> {
        if self.0.len() > limit {
            return Err(Problem::too_large(place, self.0.len(), limit));
        }
        if depth(self.0.as_bytes()) > MAX_DEPTH {
            return Err(Problem::field(place, format!("is nested deeper than {MAX_DEPTH}")));
        }
        Ok(Json(Bytes::copy_from_slice(self.0.as_bytes())))
    }
}

/// Reads `null` as a value, where plain `Option` would read it as absent.
///
/// # Errors
/// As the deserializer's.
pub fn present<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Opaque<'a>>, D::Error> {
    Opaque::deserialize(deserializer).map(Some)
}

/// An opaque value as it goes out.
#[derive(Clone, Copy, Debug)]
pub struct Verbatim<'a>(pub &'a Json);

/// The name by which serde_json knows a raw value. It is not part of its documented interface; the test
/// `an_opaque_value_goes_out_as_it_came_in` would show the day it changes. The documented way, `RawValue`,
/// parses the text once more for every answer.
const RAW: &str = "$serde_json::private::RawValue";

impl Serialize for Verbatim<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !serializer.is_human_readable() {
            return serializer.serialize_bytes(&self.0.0);
        }
        let text = std::str::from_utf8(&self.0.0).map_err(S::Error::custom)?;
        let mut raw = serializer.serialize_struct(RAW, 1)?;
        raw.serialize_field(RAW, text)?;
        raw.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Serialize;

    #[derive(Serialize)]
    struct Out<'a> {
        payload: Verbatim<'a>,
    }

    #[derive(serde::Deserialize)]
    struct In<'a> {
        #[serde(borrow, deserialize_with = "present", default)]
        payload: Option<Opaque<'a>>,
    }

    #[test]
    fn an_opaque_value_goes_out_as_it_came_in() {
        for text in [
            r#"{"b":1,"a":1.0,"a":2}"#,
            "[ 1 ,\n\t2]",
            r#""\u00e9\ud800 é""#,
            "null",
            "1e400",
            "123456789012345678901234567890",
            "-0",
        ] {
            let body = format!("{{ \"payload\" : {text} }}");
            let parsed: In<'_> = serde_json::from_str(&body).unwrap();
            let json = parsed.payload.unwrap().check(&Place::ROOT.key("payload"), 100).unwrap();
            let out = serde_json::to_string(&Out { payload: Verbatim(&json) }).unwrap();
            assert_eq!(out, format!("{{\"payload\":{text}}}"));
        }
    }

    #[test]
    fn messagepack_carries_it_as_bin() {
        let json = Json::from("[1]");
        let packed = rmp_serde::to_vec_named(&Out { payload: Verbatim(&json) }).unwrap();
        assert_eq!(packed, b"\x81\xa7payload\xc4\x03[1]");
    }

    #[test]
    fn size_and_depth_are_limited() {
        let place = Place::ROOT.key("payload");
        let deep = |n: usize| "[".repeat(n) + &"]".repeat(n);
        assert!(Opaque(&deep(MAX_DEPTH)).check(&place, 1000).is_ok());
        let error = Opaque(&deep(MAX_DEPTH + 1)).check(&place, 1000).unwrap_err();
        assert_eq!(error.message, "payload is nested deeper than 128");
        let error = Opaque("[1]").check(&place, 2).unwrap_err();
        assert_eq!(error.code.name(), "PAYLOAD_TOO_LARGE");
        assert!(Opaque("[1]").check(&place, 3).is_ok());
    }
}
