// SPDX-License-Identifier: Apache-2.0
//! What ack, fail, release and heartbeat have in common: which lease is meant, and the answers per item.

use jobbie_broker::command::LeaseRef;
use jobbie_broker::reply::{FailedAs, Settled};
use jobbie_broker::{Reject, StateKind};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::limits::{MAX_ITEMS, MAX_NAME};
use super::schema;
use super::{Limits, List, Place, Stamp, Text, name};
use crate::error::Problem;

/// A lease as a worker names it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Claim<'a> {
    /// The job's id.
    pub job: &'a str,
    /// The token.
    pub token: Option<&'a str>,
    /// The worker's id.
    pub worker: Option<&'a str>,
}

impl Claim<'_> {
    /// The lease for the command.
    ///
    /// # Errors
    /// `NOT_FOUND` for an impossible id, `VALIDATION` for the rest.
    pub fn check(&self, place: &Place<'_>) -> Result<LeaseRef, Problem> {
        let token = self.token.map(|text| name::token(&place.key("lease_token"), text)).transpose()?;
        let worker = self.worker.filter(|text| !text.is_empty());
        let worker = worker.map(|text| name::label(&place.key("worker_id"), text, MAX_NAME)).transpose()?;
        Ok(LeaseRef { job: name::job(self.job)?, token, worker })
    }
}

/// The id of a job: from the path, or from the item of a batch.
///
/// # Errors
/// `VALIDATION` if there is none or there are two different ones.
pub fn job_of<'a>(
    place: &Place<'_>,
    path: Option<&'a str>,
    body: Option<&'a str>,
) -> Result<&'a str, Problem> {
    match (path, body) {
        (Some(path), Some(body)) if path != body => {
            Err(Problem::field(place.key("job_id"), "is not the job of the address"))
        }
        (Some(id), _) | (None, Some(id)) => Ok(id),
        (None, None) => Err(Problem::field(place.key("job_id"), "is missing")),
    }
}

/// The body of a call that ends an attempt; in a batch, one of its items.
pub trait Settling<'a>: Deserialize<'a> {
    /// What goes into the command.
    type Item;

    /// The job that the body names.
    fn job_id(&self) -> Option<&str>;

    /// The item for the command; `path` is the job of the address.
    ///
    /// # Errors
    /// With the place of what is wrong.
    fn check(&self, place: &Place<'_>, path: Option<&str>, limits: &Limits) -> Result<Self::Item, Problem>;
}

/// The items of a batched call, each read by itself so that a bad one fails alone.
pub type RawItems<'a> = List<&'a RawValue, MAX_ITEMS>;

/// What became of one attempt.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SettledReply)]
pub struct SettledReply<'a> {
    /// The job.
    #[schema(value_type = schema::JobId)]
    pub job_id: &'a str,
    /// Ack: `completed`. Release: `released`. Fail: `retrying`, `dead` or `cancelled`.
    #[schema(value_type = schema::SettledStatus)]
    pub status: &'static str,
    /// After a failure: when the next attempt is due.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::Time>)]
    pub next_attempt_at: Option<Option<Stamp>>,
    /// After a failure: attempts that are left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts_remaining: Option<u32>,
}

impl<'a> SettledReply<'a> {
    /// The answer for a job.
    #[must_use]
    pub fn new(job_id: &'a str, settled: &Settled) -> Self {
        let plain = |status| Self { job_id, status, next_attempt_at: None, attempts_remaining: None };
        match settled {
            Settled::Acked => plain(StateKind::Completed.name()),
            Settled::Released => plain("released"),
            Settled::Alive { .. } => plain("ok"),
            Settled::Failed(FailedAs { state, next_attempt_at, attempts_remaining }) => Self {
                next_attempt_at: Some(next_attempt_at.map(Stamp)),
                attempts_remaining: Some(*attempts_remaining),
                // A retry without backoff is pending already; for the worker it is a retry like any other.
                ..plain(if *state == StateKind::Pending { "retrying" } else { state.name() })
            },
        }
    }
}

/// One item's answer in a batched call: what became of it, or why not.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = ItemReply)]
pub enum ItemReply<'a> {
    /// It was done.
    Done(SettledReply<'a>),
    /// It was refused; the others stand for themselves.
    Refused {
        /// The job.
        job_id: &'a str,
        /// Always `error`.
        #[schema(value_type = schema::RefusedStatus)]
        status: &'static str,
        /// A sentence for people.
        error: String,
        /// A code for programs, as in an error answer.
        #[schema(value_type = String, example = "LEASE_LOST")]
        code: &'static str,
    },
}

impl<'a> ItemReply<'a> {
    /// A refusal.
    #[must_use]
    pub fn refused(job_id: &'a str, problem: Problem) -> Self {
        Self::Refused { job_id, status: "error", code: problem.code.name(), error: problem.message }
    }

    /// What the rules answered.
    #[must_use]
    pub fn new(job_id: &'a str, settled: Result<Settled, Reject>) -> Self {
        match settled {
            Ok(settled) => Self::Done(SettledReply::new(job_id, &settled)),
            Err(reject) => Self::refused(job_id, reject.into()),
        }
    }
}

/// The answer of a batched call.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BatchResults)]
pub struct Results<'a> {
    /// One per item, in order.
    pub results: Vec<ItemReply<'a>>,
}

/// Reads the id out of an item that could not be read as a whole, for its answer.
#[must_use]
pub fn id_of(item: &RawValue) -> String {
    #[derive(Deserialize)]
    struct Id<'a> {
        #[serde(borrow)]
        job_id: Text<'a>,
    }
    let id =
        serde_json::from_str::<Id<'_>>(item.get()).map(|id| id.job_id.chars().take(name::MAX_ID).collect());
    id.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use jobbie_broker::Timestamp;

    #[test]
    fn answers_have_the_fields_of_their_call() {
        let json = |settled| serde_json::to_string(&SettledReply::new("j", &settled)).unwrap();
        assert_eq!(json(Settled::Acked), r#"{"job_id":"j","status":"completed"}"#);
        assert_eq!(json(Settled::Released), r#"{"job_id":"j","status":"released"}"#);
        let failed = |at| {
            Settled::Failed(FailedAs {
                state: StateKind::Retrying,
                next_attempt_at: at,
                attempts_remaining: 3,
            })
        };
        assert_eq!(
            json(failed(Some(Timestamp(0)))),
            r#"{"job_id":"j","status":"retrying","next_attempt_at":"1970-01-01T00:00:00.000Z","attempts_remaining":3}"#
        );
        assert!(json(failed(None)).contains(r#""next_attempt_at":null"#));
    }

    #[test]
    fn the_job_is_named_once() {
        let at = Place::ROOT;
        assert_eq!(job_of(&at, Some("a"), None).unwrap(), "a");
        assert_eq!(job_of(&at, Some("a"), Some("a")).unwrap(), "a");
        assert_eq!(job_of(&at, None, Some("b")).unwrap(), "b");
        assert!(job_of(&at, Some("a"), Some("b")).is_err());
        assert!(job_of(&at, None, None).is_err());
    }

    #[test]
    fn the_id_of_a_bad_item_is_found_if_it_can_be() {
        let raw = |text: &str| serde_json::from_str::<Box<RawValue>>(text).unwrap();
        assert_eq!(id_of(&raw(r#"{"x":1,"job_id":"a"}"#)), "a");
        assert_eq!(id_of(&raw("7")), "");
    }
}
