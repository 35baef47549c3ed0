// SPDX-License-Identifier: Apache-2.0
//! `POST /heartbeat`.

use jobbie_broker::Reject;
use jobbie_broker::command::HeartbeatItem;
use jobbie_broker::job::Progress;
use jobbie_broker::reply::Settled;
use serde::ser::{SerializeMap, Serializer};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::lease::Claim;
use super::limits::{MAX_ITEMS, MAX_PROGRESS};
use super::schema;
use super::{Entries, Limits, Obj, Opaque, Place, Stamp, Text, name};
use crate::error::Problem;

/// Signs of life.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = HeartbeatRequest)]
pub struct HeartbeatBody<'a> {
    /// The worker, compared where a job has no token.
    #[serde(borrow, default)]
    #[schema(value_type = Option<String>, max_length = 256)]
    pub worker_id: Option<Text<'a>>,
    /// The jobs, by id.
    #[serde(borrow)]
    #[schema(value_type = std::collections::HashMap<String, BeatBody<'static>>)]
    pub jobs: Entries<'a, Obj<BeatBody<'a>>, MAX_ITEMS>,
}

/// One job's sign of life.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Beat)]
pub struct BeatBody<'a> {
    /// The token that came with the job. Without it the call counts for the current lease.
    #[serde(borrow, default)]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 64)]
    pub lease_token: Option<Text<'a>>,
    /// How far the attempt has come.
    #[serde(borrow, default)]
    #[schema(value_type = Option<ProgressBody<'static>>)]
    pub progress: Option<Obj<ProgressBody<'a>>>,
    /// What the worker saves; at most 1 MiB.
    #[serde(borrow, default)]
    #[schema(value_type = schema::AnyJson, required = false)]
    pub checkpoint: Option<Opaque<'a>>,
}

/// How far an attempt has come.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ProgressRequest)]
pub struct ProgressBody<'a> {
    /// Done so far.
    pub current: u64,
    /// To be done in all, if known.
    #[serde(default)]
    pub total: Option<u64>,
    /// A sentence for people; at most 1 KiB.
    #[serde(borrow, default)]
    #[schema(value_type = Option<String>, max_length = 1_024)]
    pub message: Option<Text<'a>>,
}

impl HeartbeatBody<'_> {
    /// The items for the port, in the order they came.
    ///
    /// # Errors
    /// With the place of what is wrong. An id that no job can have is in its item's answer, not here.
    pub fn check(&self, limits: &Limits) -> Result<Vec<Result<HeartbeatItem, Problem>>, Problem> {
        let place = Place::ROOT.key("jobs");
        let worker = self.worker_id.as_deref();
        let checked = self.jobs.0.iter().map(|(id, beat)| {
            if let Err(not_found) = name::job(id) {
                return Ok(Err(not_found));
            }
            beat.check(&place.key(id), Claim { job: id, token: beat.lease_token.as_deref(), worker }, limits)
                .map(Ok)
        });
        checked.collect()
    }
}

impl BeatBody<'_> {
    fn check(&self, place: &Place<'_>, claim: Claim<'_>, limits: &Limits) -> Result<HeartbeatItem, Problem> {
        let progress = self.progress.as_ref().map(|progress| progress.check(&place.key("progress")));
        let checkpoint = self.checkpoint.map(|json| json.check(&place.key("checkpoint"), limits.checkpoint));
        Ok(HeartbeatItem {
            lease: claim.check(place)?,
            progress: progress.transpose()?,
            checkpoint: checkpoint.transpose()?,
        })
    }
}

impl ProgressBody<'_> {
    fn check(&self, place: &Place<'_>) -> Result<Progress, Problem> {
        let message = match self.message.as_deref() {
            Some(text) if text.len() > MAX_PROGRESS => {
                return Err(Problem::too_large(place.key("message"), text.len(), MAX_PROGRESS));
            }
            message => message.map(ToOwned::to_owned),
        };
        Ok(Progress { current: self.current, total: self.total, message })
    }
}

/// What a job's sign of life is answered with.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BeatReply)]
pub struct BeatReply {
    /// `ok`: go on. `cancel`: stop, cancelling has been asked for. `lost`: the lease is gone, stop.
    #[schema(value_type = String, example = "ok")]
    pub status: &'static str,
    /// Until when the lease lasts now.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::Time>)]
    pub lease_expires_at: Option<Stamp>,
    /// Why it is lost, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Why it is lost, for programs.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "LEASE_LOST")]
    pub code: Option<&'static str>,
}

impl BeatReply {
    /// A lease that is gone.
    #[must_use]
    pub fn lost(problem: Problem) -> Self {
        Self {
            status: "lost",
            lease_expires_at: None,
            code: Some(problem.code.name()),
            error: Some(problem.message),
        }
    }

    /// What the port answered.
    #[must_use]
    pub fn new(answer: Result<Settled, Reject>) -> Self {
        match answer {
            Ok(Settled::Alive { lease_expires_at, cancel, .. }) => Self {
                status: if cancel { "cancel" } else { "ok" },
                lease_expires_at: Some(Stamp(lease_expires_at)),
                error: None,
                code: None,
            },
            Ok(_) => Self { status: "ok", lease_expires_at: None, error: None, code: None },
            Err(reject) => Self::lost(reject.into()),
        }
    }
}

/// The answers by job, in the order of the request.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = HeartbeatReply)]
pub struct HeartbeatReply<'a> {
    /// The answers, by job id.
    #[schema(value_type = std::collections::HashMap<String, BeatReply>)]
    pub jobs: Beats<'a>,
}

/// Answers by job id.
#[derive(Debug)]
pub struct Beats<'a>(pub Vec<(&'a str, BeatReply)>);

impl Serialize for Beats<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (id, beat) in &self.0 {
            map.serialize_entry(id, beat)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::read;
    use jobbie_broker::{Millis, Timestamp};

    fn beat(body: &str) -> Result<Vec<Result<HeartbeatItem, Problem>>, Problem> {
        read::object::<HeartbeatBody<'_>>(body)?.check(&Limits::default())
    }

    #[test]
    fn jobs_keep_their_order_and_an_impossible_id_fails_alone() {
        let items =
            beat(r#"{"worker_id":"w","jobs":{"b":{"progress":{"current":1,"total":2,"message":"x"}},"a/b":{},"a":{"checkpoint":[1]}}}"#)
                .unwrap();
        assert_eq!(items.len(), 3);
        let progress = Progress { current: 1, total: Some(2), message: Some("x".into()) };
        assert_eq!(items[0].as_ref().unwrap().progress, Some(progress));
        assert_eq!(items[1].as_ref().unwrap_err().code.name(), "NOT_FOUND");
        assert!(items[2].as_ref().unwrap().checkpoint.is_some());
        assert_eq!(items[2].as_ref().unwrap().lease.worker.as_deref(), Some("w"));
    }

    #[test]
    fn the_rest_is_refused() {
        for body in [
            "{}",
            r#"{"jobs":[]}"#,
            r#"{"jobs":{"a":{"usage":{}}}}"#,
            r#"{"jobs":{"a":{},"a":{}}}"#,
            r#"{"jobs":{"a":[]}}"#,
            r#"{"jobs":{"a":{"progress":{"current":-1}}}}"#,
            r#"{"jobs":{"a":{"progress":[1]}}}"#,
        ] {
            assert_eq!(beat(body).unwrap_err().code.name(), "VALIDATION", "{body}");
        }
    }

    #[test]
    fn answers_say_what_to_do() {
        let alive = |cancel| {
            BeatReply::new(Ok(Settled::Alive { lease_expires_at: Timestamp(0), length: Millis(1), cancel }))
        };
        let reply = HeartbeatReply { jobs: Beats(vec![("b", alive(false)), ("a", alive(true))]) };
        assert_eq!(
            serde_json::to_string(&reply).unwrap(),
            r#"{"jobs":{"b":{"status":"ok","lease_expires_at":"1970-01-01T00:00:00.000Z"},"a":{"status":"cancel","lease_expires_at":"1970-01-01T00:00:00.000Z"}}}"#
        );
        let lost = BeatReply::lost(Problem::not_found("job", "x"));
        assert_eq!((lost.status, lost.code), ("lost", Some("NOT_FOUND")));
    }
}
