// SPDX-License-Identifier: Apache-2.0
//! `jobbie fail`: an attempt went wrong.

use anyhow::Result;
use serde_json::Value;

use super::Context;
use super::body::Body;
use super::exit::Exit;
use super::when::Span;
use super::{input, out};
use crate::client::{Call, segment};

const EXAMPLES: &str = "Examples:
  jobbie fail job_01K... --token TOKEN --error 'connection refused'
  jobbie fail job_01K... --token TOKEN --error 'no such user' --no-retry
  jobbie fail job_01K... --token TOKEN --error 'slow down' --rate-limited --retry-after 30s";

/// Say that an attempt failed.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Command {
    /// The job.
    id: String,
    /// The lease token that came with the job.
    #[arg(long, env = "JOBBIE_LEASE_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// What went wrong; `-` or `@file` to read it.
    #[arg(long)]
    error: String,
    /// Where; `-` or `@file` to read it.
    #[arg(long, value_name = "TEXT")]
    backtrace: Option<String>,
    /// Do not try again.
    #[arg(long, conflicts_with_all = ["retry_after", "rate_limited"])]
    no_retry: bool,
    /// Try again after this long instead of the backoff.
    #[arg(long, value_name = "DURATION")]
    retry_after: Option<Span>,
    /// The other side asked to slow down: no attempt is spent.
    #[arg(long)]
    rate_limited: bool,
}

impl Command {
    pub async fn run(self, context: &Context) -> Result<Exit> {
        let mut body = Body::default();
        body.opt("lease_token", self.token.as_ref())?
            .set("error", &input::text(&self.error)?)?
            .opt("backtrace", self.backtrace.map(|text| input::text(&text)).transpose()?.as_ref())?
            .opt("retry", self.no_retry.then_some(false).as_ref())?
            .span("retry_after", self.retry_after)?
            .opt("kind", self.rate_limited.then_some("rate_limited").as_ref())?;
        let path = format!("/fail/{}", segment(&self.id));
        let answer = context.client.send_repeatable(&Call::post(path, &body)?).await?;
        if context.out.is_json() {
            context.out.line(&answer.body)?;
            return Ok(Exit::Done);
        }
        let said: Value = answer.json()?;
        let mut text = format!("{} is {}", self.id, out::text_of(&said["status"]));
        if let Some(at) = said["next_attempt_at"].as_str() {
            text += &format!(", next attempt {at} ({} left)", said["attempts_remaining"]);
        }
        context.out.line(out::clean(&text))?;
        Ok(Exit::Done)
    }
}
