// SPDX-License-Identifier: Apache-2.0
//! `POST /fail/{job_id}` and `POST /fail/batch`.

use jobbie_broker::command::FailItem;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use super::lease::{Claim, RawItems, Settling, job_of};
use super::list::word;
use super::schema;
use super::{Limits, Opaque, Place, Span, Text};
use crate::error::Problem;

/// An attempt that failed.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = FailRequest)]
pub struct FailBody<'a> {
    /// The job; only in a batch.
    #[serde(borrow, default)]
    #[schema(value_type = Option<schema::JobId>)]
    pub job_id: Option<Text<'a>>,
    /// The token that came with the job. Without it the call counts for the current lease.
    #[serde(borrow, default)]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 64)]
    pub lease_token: Option<Text<'a>>,
    /// The worker, compared when there is no token.
    #[serde(borrow, default)]
    #[schema(value_type = Option<String>, max_length = 256)]
    pub worker_id: Option<Text<'a>>,
    /// What went wrong; at most 16 KiB.
    #[serde(borrow)]
    #[schema(value_type = String, max_length = 16_384, example = "connection refused")]
    pub error: Text<'a>,
    /// Where; at most 64 KiB.
    #[serde(borrow, default)]
    #[schema(value_type = Option<String>, max_length = 65_536)]
    pub backtrace: Option<Text<'a>>,
    /// False: no further attempt, whatever the policy says.
    #[serde(default)]
    pub retry: Option<bool>,
    /// Try again after exactly that long instead of the backoff.
    #[serde(default)]
    #[schema(value_type = Option<schema::Duration>)]
    pub retry_after: Option<Span>,
    /// `rate_limited`: the other side asked to slow down; no attempt is spent.
    #[serde(default)]
    pub kind: Option<FailKind>,
    /// What the worker saves; at most 1 MiB.
    #[serde(borrow, default)]
    #[schema(value_type = schema::AnyJson, required = false)]
    pub checkpoint: Option<Opaque<'a>>,
}

/// What kind of failure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FailKind {
    /// An ordinary failure.
    Error,
    /// The other side asked to slow down.
    RateLimited,
}

impl<'de> Deserialize<'de> for FailKind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        word(deserializer, &[("error", Self::Error), ("rate_limited", Self::RateLimited)])
    }
}

/// Attempts that failed; each item stands alone.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = FailBatchRequest)]
pub struct FailBatchBody<'a> {
    /// The attempts.
    #[serde(borrow)]
    #[schema(value_type = Vec<FailBody<'static>>, max_items = 10_000)]
    pub fails: RawItems<'a>,
}

impl<'a> Settling<'a> for FailBody<'a> {
    type Item = FailItem;

    fn job_id(&self) -> Option<&str> {
        self.job_id.as_deref()
    }

    fn check(&self, place: &Place<'_>, path: Option<&str>, limits: &Limits) -> Result<FailItem, Problem> {
        let claim = Claim {
            job: job_of(place, path, self.job_id.as_deref())?,
            token: self.lease_token.as_deref(),
            worker: self.worker_id.as_deref(),
        };
        let checkpoint = self.checkpoint.map(|json| json.check(&place.key("checkpoint"), limits.checkpoint));
        let backtrace = self.backtrace.as_deref();
        Ok(FailItem {
            lease: claim.check(place)?,
            error: text(&place.key("error"), &self.error, limits.error)?,
            backtrace: backtrace.map(|t| text(&place.key("backtrace"), t, limits.backtrace)).transpose()?,
            retry: self.retry.unwrap_or(true),
            retry_after: self.retry_after.map(|span| span.0),
            rate_limited: self.kind == Some(FailKind::RateLimited),
            checkpoint: checkpoint.transpose()?,
        })
    }
}

fn text(place: &Place<'_>, text: &str, limit: usize) -> Result<String, Problem> {
    if text.len() > limit { Err(Problem::too_large(place, text.len(), limit)) } else { Ok(text.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::read;
    use jobbie_broker::{Json, Millis};

    fn fail(body: &str) -> Result<FailItem, Problem> {
        read::object::<FailBody<'_>>(body)?.check(&Place::ROOT, Some("j-1"), &Limits::default())
    }

    #[test]
    fn an_error_is_enough() {
        let item = fail(r#"{"error":"x"}"#).unwrap();
        assert_eq!(
            (item.error.as_str(), item.retry, item.rate_limited, item.retry_after),
            ("x", true, false, None)
        );
    }

    #[test]
    fn every_field_arrives() {
        let item = fail(
            r#"{"error":"a\nb","backtrace":"at f","retry":false,"retry_after":"30s","kind":"rate_limited","checkpoint":{}}"#,
        )
        .unwrap();
        assert_eq!((item.error.as_str(), item.backtrace.as_deref()), ("a\nb", Some("at f")));
        assert_eq!((item.retry, item.rate_limited, item.retry_after), (false, true, Some(Millis(30_000))));
        assert_eq!(item.checkpoint, Some(Json::from("{}")));
    }

    #[test]
    fn the_rest_is_refused() {
        for body in [
            "{}",
            r#"{"error":null}"#,
            r#"{"error":"x","kind":"y"}"#,
            r#"{"error":"x","retry":"no"}"#,
            r#"{"error":"x","scope":"job"}"#,
        ] {
            assert_eq!(fail(body).unwrap_err().code.name(), "VALIDATION", "{body}");
        }
        let long = format!(r#"{{"error":"{}"}}"#, "x".repeat(16 * 1024 + 1));
        assert_eq!(fail(&long).unwrap_err().code.name(), "PAYLOAD_TOO_LARGE");
    }
}
