// SPDX-License-Identifier: Apache-2.0
//! `POST /release/{job_id}` and `POST /release/batch`.

use jobbie_broker::command::ReleaseItem;
use serde::Deserialize;
use utoipa::ToSchema;

use super::lease::{Claim, RawItems, Settling, job_of};
use super::schema;
use super::{Limits, Place, Span, Text};
use crate::error::Problem;

/// A job given back without spending an attempt.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ReleaseRequest)]
pub struct ReleaseBody<'a> {
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
    /// Not before that long from now.
    #[serde(default)]
    #[schema(value_type = Option<schema::Duration>)]
    pub delay: Option<Span>,
}

/// Jobs given back; each item stands alone.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ReleaseBatchRequest)]
pub struct ReleaseBatchBody<'a> {
    /// The jobs.
    #[serde(borrow)]
    #[schema(value_type = Vec<ReleaseBody<'static>>, max_items = 10_000)]
    pub releases: RawItems<'a>,
}

impl<'a> Settling<'a> for ReleaseBody<'a> {
    type Item = ReleaseItem;

    fn job_id(&self) -> Option<&str> {
        self.job_id.as_deref()
    }

    fn check(&self, place: &Place<'_>, path: Option<&str>, _: &Limits) -> Result<ReleaseItem, Problem> {
        let claim = Claim {
            job: job_of(place, path, self.job_id.as_deref())?,
            token: self.lease_token.as_deref(),
            worker: self.worker_id.as_deref(),
        };
        Ok(ReleaseItem {
            lease: claim.check(place)?,
            delay: self.delay.map(|span| span.0).filter(|span| span.0 > 0),
        })
    }
}
