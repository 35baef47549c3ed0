// SPDX-License-Identifier: Apache-2.0
//! `jobbie release`: gives a leased job back.

use anyhow::Result;

use super::Context;
use super::body::Body;
use super::exit::Exit;
use super::when::Span;
use crate::client::{Call, segment};

const EXAMPLES: &str = "Examples:
  jobbie release job_01K... --token TOKEN
  jobbie release job_01K... --token TOKEN --delay 5m     # not before five minutes from now";

/// Give a job back without spending an attempt.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Command {
    /// The job.
    id: String,
    /// The lease token that came with the job.
    #[arg(long, env = "JOBBIE_LEASE_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Not before this long from now.
    #[arg(long, value_name = "DURATION")]
    delay: Option<Span>,
}

impl Command {
    pub async fn run(self, context: &Context) -> Result<Exit> {
        let mut body = Body::default();
        body.opt("lease_token", self.token.as_ref())?.span("delay", self.delay)?;
        let path = format!("/release/{}", segment(&self.id));
        let answer = context.client.send_repeatable(&Call::post(path, &body)?).await?;
        match context.out.is_json() {
            true => context.out.line(&answer.body)?,
            false => context.out.line(format!("{} is released", self.id))?,
        }
        Ok(Exit::Done)
    }
}
