// SPDX-License-Identifier: Apache-2.0
//! `jobs retry|cancel|delete|move|clone|patch`: one call per job. Every job is tried; the exit code says whether all
//! went well.

use anyhow::Result;

use super::super::body::Body;
use super::super::exit::{self, Exit, usage};
use super::super::out::note;
use super::super::{Context, input};
use crate::client::{Answer, Call, segment};

/// What to do with jobs.
#[derive(Debug, clap::Subcommand)]
pub enum Act {
    /// Run dead, cancelled or waiting jobs again, now.
    Retry(Ids),
    /// Cancel jobs; a running one is told through its worker.
    Cancel(Ids),
    /// Delete jobs.
    Delete(Ids),
    /// Move jobs to another queue.
    Move {
        #[command(flatten)]
        ids: Ids,
        /// The queue.
        #[arg(long, value_name = "QUEUE")]
        to: String,
    },
    /// Enqueue copies of jobs; prints the new ids.
    Clone(Ids),
    /// Change jobs that are not running.
    Patch(Patch),
}

/// Jobs by id.
#[derive(Debug, clap::Args)]
pub struct Ids {
    /// The jobs.
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
}

/// What to change.
#[derive(Debug, clap::Args)]
pub struct Patch {
    #[command(flatten)]
    ids: Ids,
    /// New payload: JSON, `-` or `@file`.
    #[arg(long, value_name = "JSON", allow_hyphen_values = true)]
    payload: Option<String>,
    /// New priority.
    #[arg(long, value_parser = input::priority)]
    priority: Option<serde_json::Value>,
    /// All labels of the job from now on; may be given several times.
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = input::pair)]
    tags: Vec<(String, String)>,
    /// New time (RFC 3339).
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
}

impl Patch {
    fn body(&self) -> Result<Body> {
        let payload = self.payload.as_ref().map(|text| input::json("payload", text)).transpose()?;
        let mut body = Body::default();
        body.opt("payload", payload.as_ref())?
            .opt("priority", self.priority.as_ref())?
            .opt("scheduled_at", self.at.as_ref())?;
        if !self.tags.is_empty() {
            let tags: std::collections::BTreeMap<_, _> = self.tags.iter().cloned().collect();
            body.set("tags", &tags)?;
        }
        if body.is_empty() {
            return Err(usage("nothing to change: give --payload, --priority, --tag or --at"));
        }
        Ok(body)
    }
}

impl Act {
    pub async fn run(self, context: &Context) -> Result<Exit> {
        let mut body = Body::default();
        let (ids, method, verb, done) = match self {
            Self::Retry(ids) => (ids, "POST", "/retry", "is pending"),
            Self::Cancel(ids) => (ids, "POST", "/cancel", "is cancelled"),
            Self::Delete(ids) => (ids, "DELETE", "", "is deleted"),
            Self::Move { ids, to } => {
                body.set("queue", &to)?;
                (ids, "POST", "/move", "is moved")
            }
            Self::Clone(ids) => (ids, "POST", "/clone", ""),
            Self::Patch(patch) => {
                body = patch.body()?;
                (patch.ids, "PATCH", "", "is changed")
            }
        };
        let mut worst = Exit::Done;
        for (at, id) in ids.ids.iter().enumerate() {
            let call = Call::new(method, format!("/jobs/{}{verb}", segment(id)));
            // A copy is a new job each time, so it is the one call here that is never written twice.
            let answer = match (verb, method) {
                ("/clone", _) => context.client.send(&call.json(&body)?.once()).await,
                (_, "DELETE") => context.client.send_repeatable(&call).await,
                _ => context.client.send_repeatable(&call.json(&body)?).await,
            };
            match answer {
                Ok(answer) => say(context, id, &answer, done)?,
                Err(e) if ids.ids.len() == 1 => return Err(e.into()),
                Err(e) => {
                    note(format!("jobbie: {id}: {e}"));
                    let (exit, _) = exit::of(&e.into());
                    if exit == Exit::Unreachable {
                        // For the jobs before this one, something was sent.
                        return Ok(if at == 0 { exit } else { Exit::Failed });
                    }
                    worst = worst.worse(exit);
                }
            }
        }
        Ok(worst)
    }
}

fn say(context: &Context, id: &str, answer: &Answer, done: &str) -> Result<()> {
    if context.out.is_json() {
        return if answer.body.is_empty() { Ok(()) } else { context.out.line(&answer.body) };
    }
    let said: serde_json::Value = answer.json().unwrap_or_default();
    if done.is_empty() {
        let copy = said["job_id"].as_str().or_else(|| said["id"].as_str());
        return context.out.line(copy.unwrap_or(id));
    }
    // A cancel of a running job is only a request; the answer says so.
    let state = said["state"].as_str().or_else(|| said["status"].as_str());
    match state.filter(|_| done == "is cancelled") {
        Some("active" | "cancelling") => context.out.line(format!("{id} is told to stop")),
        _ => context.out.line(format!("{id} {done}")),
    }
}
