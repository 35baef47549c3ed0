// SPDX-License-Identifier: Apache-2.0
//! `jobbie heartbeat`: a sign of life, with progress and a checkpoint. Inside `jobbie work` the job and its token
//! come from the environment, so a script can say `jobbie heartbeat --progress 3/10`.

use std::collections::BTreeMap;

use anyhow::Result;
use serde::Deserialize;

use super::body::Body;
use super::exit::{Exit, usage};
use super::out::note;
use super::{Context, input};
use crate::client::Call;

const EXAMPLES: &str = r#"Examples:
  jobbie heartbeat job_01K... --token TOKEN
  jobbie heartbeat --progress 3/10 --message 'page 3'       # inside `jobbie work`
  jobbie heartbeat --checkpoint '{"page":3}'

Prints ok, cancel (stop: cancelling was asked for) or lost (stop: the lease is gone).
Exit code 1 unless it is ok."#;

/// Say that a job is still being worked on.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Command {
    /// The job.
    #[arg(env = "JOBBIE_JOB_ID", required = true)]
    id: String,
    /// The lease token that came with the job.
    #[arg(long, env = "JOBBIE_LEASE_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// How far it is: 3, or 3/10.
    #[arg(long, value_name = "N[/TOTAL]", value_parser = progress)]
    progress: Option<Progress>,
    /// A sentence about the progress.
    #[arg(long, value_name = "TEXT", requires = "progress")]
    message: Option<String>,
    /// State to keep with the job: JSON, `-` or `@file`.
    #[arg(long, value_name = "JSON")]
    checkpoint: Option<String>,
    /// The worker that has the job; compared when there is no token.
    #[arg(long, value_name = "ID")]
    worker_id: Option<String>,
}

type Progress = (u64, Option<u64>);

fn progress(text: &str) -> Result<Progress, String> {
    let wrong = |_| "expected 3 or 3/10".to_owned();
    match text.split_once('/') {
        Some((current, total)) => Ok((current.parse().map_err(wrong)?, Some(total.parse().map_err(wrong)?))),
        None => Ok((text.parse().map_err(wrong)?, None)),
    }
}

/// The answer to `POST /heartbeat`.
#[derive(Debug, Deserialize)]
pub struct Beats {
    /// By job id.
    pub jobs: BTreeMap<String, Beat>,
}

/// What the server says about one job.
#[derive(Debug, Deserialize)]
pub struct Beat {
    /// `ok`, `cancel` or `lost`.
    pub status: String,
}

impl Command {
    pub async fn run(self, context: &Context) -> Result<Exit> {
        let mut beat = Body::default();
        beat.opt("lease_token", self.token.as_ref())?;
        if let Some((current, total)) = self.progress {
            let mut progress = Body::default();
            progress
                .set("current", &current)?
                .opt("total", total.as_ref())?
                .opt("message", self.message.as_ref())?;
            beat.set("progress", &progress)?;
        }
        let checkpoint = self.checkpoint.map(|text| input::json("checkpoint", &text)).transpose()?;
        beat.opt("checkpoint", checkpoint.as_ref())?;
        let mut body = Body::default();
        body.opt("worker_id", self.worker_id.as_ref())?.set("jobs", &BTreeMap::from([(&self.id, beat)]))?;
        let answer = context.client.send_repeatable(&Call::post("/heartbeat", &body)?).await?;
        let beats: Beats = answer.json()?;
        let Some(beat) = beats.jobs.get(&self.id) else {
            return Err(usage(format!("the server says nothing about {}", self.id)));
        };
        match context.out.is_json() {
            true => context.out.line(&answer.body)?,
            false => context.out.line(&beat.status)?,
        }
        match beat.status.as_str() {
            "ok" => return Ok(Exit::Done),
            "cancel" => note("jobbie: cancelling was asked for; stop and fail the job"),
            _ => note("jobbie: the lease is gone; stop, another worker may have the job"),
        }
        Ok(Exit::Failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_read() {
        assert_eq!(progress("3"), Ok((3, None)));
        assert_eq!(progress("3/10"), Ok((3, Some(10))));
        assert!(progress("a/b").is_err() && progress("1/").is_err());
    }
}
