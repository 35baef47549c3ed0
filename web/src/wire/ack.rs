// SPDX-License-Identifier: Apache-2.0
//! `POST /ack/{job_id}` and `POST /ack/batch`.

use jobbie_broker::command::AckItem;
use serde::Deserialize;
use utoipa::ToSchema;

use super::lease::{Claim, RawItems, Settling, job_of};
use super::schema;
use super::{Limits, Opaque, Place, Text};
use crate::error::Problem;

/// An attempt that succeeded.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = AckRequest)]
pub struct AckBody<'a> {
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
    /// What the worker answers; at most 1 MiB.
    #[serde(borrow, default)]
    #[schema(value_type = schema::AnyJson, required = false)]
    pub result: Option<Opaque<'a>>,
    /// What the worker saves; at most 1 MiB.
    #[serde(borrow, default)]
    #[schema(value_type = schema::AnyJson, required = false)]
    pub checkpoint: Option<Opaque<'a>>,
}

/// Attempts that succeeded; each item stands alone.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = AckBatchRequest)]
pub struct AckBatchBody<'a> {
    /// The attempts.
    #[serde(borrow)]
    #[schema(value_type = Vec<AckBody<'static>>, max_items = 10_000)]
    pub acks: RawItems<'a>,
}

impl<'a> Settling<'a> for AckBody<'a> {
    type Item = AckItem;

    fn job_id(&self) -> Option<&str> {
        self.job_id.as_deref()
    }

    fn check(&self, place: &Place<'_>, path: Option<&str>, limits: &Limits) -> Result<AckItem, Problem> {
        let claim = Claim {
            job: job_of(place, path, self.job_id.as_deref())?,
            token: self.lease_token.as_deref(),
            worker: self.worker_id.as_deref(),
        };
        let result = self.result.map(|json| json.check(&place.key("result"), limits.result));
        let checkpoint = self.checkpoint.map(|json| json.check(&place.key("checkpoint"), limits.checkpoint));
        Ok(AckItem {
            lease: claim.check(place)?,
            result: result.transpose()?,
            checkpoint: checkpoint.transpose()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::read;
    use jobbie_broker::{JobRef, Json, LeaseToken};

    fn ack(body: &str) -> Result<AckItem, Problem> {
        read::object::<AckBody<'_>>(body)?.check(&Place::ROOT, Some("j-1"), &Limits::default())
    }

    #[test]
    fn everything_is_optional() {
        let item = ack("{}").unwrap();
        assert_eq!(item.lease.job, JobRef::parse("j-1"));
        assert_eq!(
            (item.lease.token, item.lease.worker, item.result, item.checkpoint),
            (None, None, None, None)
        );
    }

    #[test]
    fn every_field_arrives() {
        let item =
            ack(r#"{"job_id":"j-1","lease_token":"1.0000000000000007","worker_id":"w","result": {"a": 1},"checkpoint":[]}"#)
                .unwrap();
        assert_eq!(item.lease.token, Some(LeaseToken { delivery: 1, salt: 7 }));
        assert_eq!(item.lease.worker.as_deref(), Some("w"));
        assert_eq!((item.result, item.checkpoint), (Some(Json::from(r#"{"a": 1}"#)), Some(Json::from("[]"))));
    }

    #[test]
    fn the_rest_is_refused() {
        for body in [
            r#"{"lease_token":5}"#,
            r#"{"lease_token":""}"#,
            r#"{"worker_id":"a\u0000"}"#,
            r#"{"job_id":"j-2"}"#,
            r#"{"usage":{}}"#,
            r#"{"agent_status":"done"}"#,
        ] {
            assert_eq!(ack(body).unwrap_err().code.name(), "VALIDATION", "{body}");
        }
        let large = format!(r#"{{"result":"{}"}}"#, "x".repeat(1024 * 1024));
        assert_eq!(ack(&large).unwrap_err().code.name(), "PAYLOAD_TOO_LARGE");
    }
}
