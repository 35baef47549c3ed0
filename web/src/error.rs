// SPDX-License-Identifier: Apache-2.0
//! What a refused or failed call answers: one table from code to status, one body.
//!
//! ```json
//! {"error": "human sentence", "code": "MACHINE_CODE", "details": {"field": "jobs[17].queue"}, "request_id": "…"}
//! ```
//!
//! Every code but `OUTCOME_UNKNOWN` means that nothing was written.

use jobbie_actors::ports::PortError;
use jobbie_broker::{Reject, reject};
use serde::ser::{SerializeMap, Serializer};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Bytes of a sentence or a detail: the longest of ours, the list of all types of events, has 500.
const MAX_TEXT: usize = 1_024;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident $text:literal $status:literal,)*) => {
        /// The machine-readable code of an error.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code { $($(#[$doc])* $name,)* }

        impl Code {
            /// Every code with its name and status: the table that the contract is compared with.
            pub const TABLE: &'static [(Self, &'static str, u16)] = &[$((Self::$name, $text, $status),)*];

            /// The code on the wire.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The HTTP status it is answered with.
            #[must_use]
            pub const fn status(self) -> u16 {
                match self { $(Self::$name => $status,)* }
            }
        }
    };
}

codes! {
    /// The request is not what the endpoint takes; names the field and what is allowed.
    Validation "VALIDATION" 400,
    /// There is no valid key.
    Unauthorized "UNAUTHORIZED" 401,
    /// The feature needs a licence.
    NotLicensed "NOT_LICENSED" 402,
    /// The caller may not do that, or a browser was led here by another site.
    Forbidden "FORBIDDEN" 403,
    /// There is no such thing, or not for this caller.
    NotFound "NOT_FOUND" 404,
    /// The path exists, the method does not.
    MethodNotAllowed "METHOD_NOT_ALLOWED" 405,
    /// The body did not arrive in time.
    RequestTimeout "REQUEST_TIMEOUT" 408,
    /// It is in the wrong state, or the key was used for something else.
    Conflict "CONFLICT" 409,
    /// The queue accepts nothing new.
    QueueDraining "QUEUE_DRAINING" 409,
    /// The token is not that of the current lease.
    LeaseLost "LEASE_LOST" 409,
    /// Something is larger than its limit.
    PayloadTooLarge "PAYLOAD_TOO_LARGE" 413,
    /// The body is of a type the endpoint does not read.
    UnsupportedMediaType "UNSUPPORTED_MEDIA_TYPE" 415,
    /// The key calls more often than it may.
    RateLimited "RATE_LIMITED" 429,
    /// More is waiting than fits.
    Overloaded "OVERLOADED" 429,
    /// The machine failed.
    Internal "INTERNAL" 500,
    /// There is no leader.
    NoLeader "NO_LEADER" 503,
    /// What would answer is starting, restarting or stopping.
    Unavailable "UNAVAILABLE" 503,
    /// It may have happened.
    OutcomeUnknown "OUTCOME_UNKNOWN" 503,
    /// The disk is full.
    StorageFull "STORAGE_FULL" 507,
}

/// Something that a detail of an error says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Detail {
    /// A word.
    Text(String),
    /// A number.
    Number(u64),
    /// Several words.
    List(Vec<String>),
}

/// Why a call is not answered as asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Problem {
    /// For programs.
    pub code: Code,
    /// For people.
    pub message: String,
    /// More for programs: the field, what is allowed, the limit.
    pub details: Vec<(&'static str, Detail)>,
    /// Seconds after which to try again.
    pub retry_after: Option<u64>,
    /// The log index at which the rules said no.
    pub index: Option<u64>,
}

impl Problem {
    /// A problem with a sentence.
    #[must_use]
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        let message = short(message.into());
        Self { code, message, details: Vec::new(), retry_after: None, index: None }
    }

    /// A field that is not as it must be: `message` goes on after the field's name.
    #[must_use]
    pub fn field(field: impl ToString, message: impl AsRef<str>) -> Self {
        let field = field.to_string();
        let sentence = if field.is_empty() {
            format!("the body {}", message.as_ref())
        } else {
            format!("{field} {}", message.as_ref())
        };
        let problem = Self::new(Code::Validation, sentence);
        if field.is_empty() { problem } else { problem.with("field", Detail::Text(field)) }
    }

    /// A field that is larger than allowed.
    #[must_use]
    pub fn too_large(field: impl ToString, size: usize, limit: usize) -> Self {
        let field = field.to_string();
        let message = format!("{field} has {size} bytes, at most {limit} are allowed");
        Self::new(Code::PayloadTooLarge, message)
            .with("field", Detail::Text(field))
            .with("limit", Detail::Number(limit as u64))
    }

    /// Nothing of that name, for this caller.
    #[must_use]
    pub fn not_found(what: &str, name: &str) -> Self {
        Self::new(Code::NotFound, format!("there is no {what} {name}"))
    }

    /// Adds a detail.
    #[must_use]
    pub fn with(mut self, name: &'static str, detail: Detail) -> Self {
        let detail = match detail {
            Detail::Text(text) => Detail::Text(short(text)),
            other => other,
        };
        self.details.push((name, detail));
        self
    }

    /// Says when to try again.
    #[must_use]
    pub const fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// Says at which log index it was decided.
    #[must_use]
    pub const fn at_index(mut self, index: u64) -> Self {
        self.index = Some(index);
        self
    }

    /// The body of the answer.
    #[must_use]
    pub const fn body<'a>(&'a self, request_id: &'a str) -> ProblemBody<'a> {
        ProblemBody { problem: self, request_id }
    }
}

/// Cuts what a caller sent off when a refusal repeats it: a field's name may be as long as a body.
fn short(mut text: String) -> String {
    if text.len() > MAX_TEXT {
        text.truncate(text.floor_char_boundary(MAX_TEXT));
        text.push('…');
    }
    text
}

/// The body of an error answer.
pub struct ProblemBody<'a> {
    problem: &'a Problem,
    request_id: &'a str,
}

struct Details<'a>(&'a [(&'static str, Detail)]);

impl Serialize for Details<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, detail)| (name, detail)))
    }
}

impl Serialize for ProblemBody<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let details = !self.problem.details.is_empty();
        let mut map = serializer.serialize_map(Some(if details { 4 } else { 3 }))?;
        map.serialize_entry("error", &self.problem.message)?;
        map.serialize_entry("code", self.problem.code.name())?;
        if details {
            map.serialize_entry("details", &Details(&self.problem.details))?;
        }
        map.serialize_entry("request_id", self.request_id)?;
        map.end()
    }
}

impl From<Reject> for Problem {
    fn from(reject: Reject) -> Self {
        Self::new(Code::from(reject.code), reject.message)
    }
}

impl From<reject::Code> for Code {
    fn from(code: reject::Code) -> Self {
        match code {
            reject::Code::NotFound => Self::NotFound,
            reject::Code::Conflict => Self::Conflict,
            reject::Code::QueueDraining => Self::QueueDraining,
            reject::Code::LeaseLost => Self::LeaseLost,
            reject::Code::Forbidden => Self::Forbidden,
        }
    }
}

impl From<PortError> for Problem {
    fn from(error: PortError) -> Self {
        let message = error.to_string();
        match error {
            PortError::Overloaded { retry_after } => {
                Self::new(Code::Overloaded, message).retry_after(retry_after.as_secs().max(1))
            }
            PortError::Unavailable { retry_after, .. } => {
                Self::new(Code::Unavailable, message).retry_after(retry_after.as_secs().max(1))
            }
            PortError::NoLeader => Self::new(Code::NoLeader, message).retry_after(1),
            PortError::StorageFull { free, reserve } => Self::new(Code::StorageFull, message)
                .with("free_bytes", Detail::Number(free))
                .with("reserve_bytes", Detail::Number(reserve)),
            PortError::Unknown => Self::new(Code::OutcomeUnknown, message),
            PortError::Outside(reject) => Self::from(reject),
            PortError::Fault(_) => Self::new(Code::Internal, message),
        }
    }
}

/// An error.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = Error)]
pub struct ErrorBody {
    /// A sentence for people.
    #[schema(example = "queue may have 1 to 128 characters of A-Z a-z 0-9 _ . : -")]
    pub error: String,
    /// A code for programs.
    #[schema(example = "VALIDATION", pattern = "^[A-Z_]+$")]
    pub code: String,
    /// More for programs: `field` names what is wrong, `allowed` and `limit` what would be right.
    #[schema(value_type = Option<Object>, nullable = false)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<serde_json::Value>,
    /// The id of the request, as in the header `X-Request-Id`.
    pub request_id: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_table_is_that_of_the_contract() {
        let contract = [
            ("VALIDATION", 400),
            ("UNAUTHORIZED", 401),
            ("NOT_LICENSED", 402),
            ("FORBIDDEN", 403),
            ("NOT_FOUND", 404),
            ("CONFLICT", 409),
            ("QUEUE_DRAINING", 409),
            ("LEASE_LOST", 409),
            ("PAYLOAD_TOO_LARGE", 413),
            ("UNSUPPORTED_MEDIA_TYPE", 415),
            ("RATE_LIMITED", 429),
            ("OVERLOADED", 429),
            ("INTERNAL", 500),
            ("NO_LEADER", 503),
            ("UNAVAILABLE", 503),
            ("OUTCOME_UNKNOWN", 503),
            ("STORAGE_FULL", 507),
        ];
        for (name, status) in contract {
            let found = Code::TABLE.iter().find(|(_, text, _)| *text == name);
            assert_eq!(found.map(|(_, _, status)| *status), Some(status), "{name}");
        }
        for (code, name, status) in Code::TABLE {
            assert_eq!((code.name(), code.status()), (*name, *status));
        }
    }

    #[test]
    fn the_body_has_details_only_if_there_are_any() {
        let plain = Problem::new(Code::NotFound, "there is no job x");
        assert_eq!(
            serde_json::to_string(&plain.body("r1")).unwrap(),
            r#"{"error":"there is no job x","code":"NOT_FOUND","request_id":"r1"}"#
        );
        let field = Problem::field("jobs[17].queue", "is missing");
        assert_eq!(
            serde_json::to_string(&field.body("r1")).unwrap(),
            r#"{"error":"jobs[17].queue is missing","code":"VALIDATION","details":{"field":"jobs[17].queue"},"request_id":"r1"}"#
        );
    }

    #[test]
    fn what_can_be_tried_again_says_when() {
        let retry = |error: PortError| Problem::from(error).retry_after;
        assert_eq!(retry(PortError::NoLeader), Some(1));
        assert_eq!(retry(PortError::Overloaded { retry_after: Duration::from_millis(10) }), Some(1));
        assert_eq!(retry(PortError::Unavailable { what: "x", retry_after: Duration::from_secs(3) }), Some(3));
        assert_eq!(retry(PortError::Unknown), None);
        assert_eq!(Problem::from(PortError::Unknown).code, Code::OutcomeUnknown);
    }
}
