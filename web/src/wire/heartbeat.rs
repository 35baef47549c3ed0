// SPDX-License-Identifier: Apache-2.0
//! `POST /heartbeat`.

use jobbie_broker::Reject;
use jobbie_broker::command::HeartbeatItem;
use jobbie_broker::job::Progress;
use jobbie_broker::reply::Settled;
use serde::ser::{SerializeMap, Serializer};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::lease::Claim;
use super::limits::{MAX_ITEMS, MAX_PROGRESS};
use super::schema;
use super::{Entries, Limits, Obj, Opaque, Place, Stamp, Text, name, read};
use crate::error::{Code, Problem};

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
    pub jobs: Entries<'a, &'a RawValue, MAX_ITEMS>,
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

/// One job of a heartbeat, read.
#[derive(Debug)]
pub struct Checked {
    /// What goes to the port; `None` if it cannot be said which lease is meant.
    pub item: Option<HeartbeatItem>,
    /// Why what the job carried is refused. The item then only extends the lease.
    pub refused: Option<Problem>,
}

impl HeartbeatBody<'_> {
    /// The items for the port, in the order they came. What is wrong with a job is in its item: a checkpoint
    /// that is too large must not cost a lease, neither its own nor that of another job.
    ///
    /// # Errors
    /// If the worker's id is no name.
    pub fn check(&self, limits: &Limits) -> Result<Vec<Checked>, Problem> {
        let worker = self.worker_id.as_deref();
        name::worker(&Place::ROOT.key("worker_id"), worker)?;
        let place = Place::ROOT.key("jobs");
        let checked = self.jobs.0.iter().map(|(id, raw)| {
            let refused = match item(raw.get(), &place.key(id), id, worker, limits) {
                Ok(item) => return Checked { item: Some(item), refused: None },
                Err(problem) => problem,
            };
            Checked { item: bare(raw.get(), id, worker), refused: Some(refused) }
        });
        Ok(checked.collect())
    }
}

fn item(
    text: &str,
    place: &Place<'_>,
    id: &str,
    worker: Option<&str>,
    limits: &Limits,
) -> Result<HeartbeatItem, Problem> {
    // An id that no job can have is not found, whatever else is wrong.
    name::job(id)?;
    let beat: BeatBody<'_> = read::object_at(text, place)?;
    let claim = Claim { job: id, token: beat.lease_token.as_deref(), worker };
    beat.check(place, claim, limits)
}

/// The bare sign of life in an item with something wrong in it. None if the token is what is wrong: without
/// one the call would count for whoever has the lease now.
fn bare(text: &str, id: &str, worker: Option<&str>) -> Option<HeartbeatItem> {
    #[derive(Deserialize)]
    struct Token<'a> {
        #[serde(borrow, default)]
        lease_token: Option<Text<'a>>,
    }
    let Obj(Token { lease_token }) = serde_json::from_str(text).ok()?;
    let claim = Claim { job: id, token: lease_token.as_deref(), worker };
    Some(HeartbeatItem { lease: claim.check(&Place::ROOT).ok()?, progress: None, checkpoint: None })
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
    /// `ok`: go on. `cancel`: stop, cancelling has been asked for. `lost`: the lease is gone, stop. `error`: go
    /// on, but nothing that came with this sign of life is kept.
    #[schema(value_type = String, example = "ok")]
    pub status: &'static str,
    /// Until when the lease lasts now; after an `error` absent if the token could not be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::Time>)]
    pub lease_expires_at: Option<Stamp>,
    /// Why it is lost or nothing is kept, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Why it is lost or nothing is kept, for programs.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "LEASE_LOST")]
    pub code: Option<&'static str>,
}

impl BeatReply {
    const fn plain(status: &'static str) -> Self {
        Self { status, lease_expires_at: None, error: None, code: None }
    }

    /// The answer for a job: what the port says of its lease, if it was asked, and what was refused before.
    #[must_use]
    pub fn new(answer: Option<Result<Settled, Reject>>, refused: Option<Problem>) -> Self {
        let reply = match answer {
            // Whoever has lost the lease, or must stop, has to know that first.
            Some(Err(reject)) => return Self::plain("lost").because(reject.into()),
            Some(Ok(Settled::Alive { lease_expires_at, cancel, .. })) => Self {
                lease_expires_at: Some(Stamp(lease_expires_at)),
                ..Self::plain(if cancel { "cancel" } else { "ok" })
            },
            Some(Ok(_)) => Self::plain("ok"),
            None => Self::plain("error"),
        };
        match refused {
            None => reply,
            Some(problem) if problem.code == Code::NotFound => Self::plain("lost").because(problem),
            Some(problem) if reply.status == "cancel" => reply.because(problem),
            Some(problem) => Self { status: "error", ..reply }.because(problem),
        }
    }

    fn because(mut self, problem: Problem) -> Self {
        (self.code, self.error) = (Some(problem.code.name()), Some(problem.message));
        self
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
mod tests;
