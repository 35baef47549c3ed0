// SPDX-License-Identifier: Apache-2.0
//! `jobbie ack`: a job is done.

use anyhow::Result;

use super::body::Body;
use super::exit::Exit;
use super::{Context, input};
use crate::client::{Call, segment};

const EXAMPLES: &str = r#"Examples:
  jobbie ack job_01K... --token TOKEN
  jobbie ack job_01K... --token TOKEN --result '{"rows":7}'

Repeating it with the same token is safe."#;

/// Say that a job is done.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Command {
    /// The job.
    id: String,
    /// The lease token that came with the job.
    #[arg(long, env = "JOBBIE_LEASE_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// What came out: JSON, `-` or `@file`.
    #[arg(long, value_name = "JSON", allow_hyphen_values = true)]
    result: Option<String>,
    /// State to keep with the job: JSON, `-` or `@file`.
    #[arg(long, value_name = "JSON")]
    checkpoint: Option<String>,
}

impl Command {
    pub async fn run(self, context: &Context) -> Result<Exit> {
        let result = self.result.map(|text| input::json("result", &text)).transpose()?;
        let checkpoint = self.checkpoint.map(|text| input::json("checkpoint", &text)).transpose()?;
        let mut body = Body::default();
        body.opt("lease_token", self.token.as_ref())?
            .opt("result", result.as_ref())?
            .opt("checkpoint", checkpoint.as_ref())?;
        let path = format!("/ack/{}", segment(&self.id));
        let answer = context.client.send_repeatable(&Call::post(path, &body)?).await?;
        match context.out.is_json() {
            true => context.out.line(&answer.body)?,
            false => context.out.line(format!("{} is completed", self.id))?,
        }
        Ok(Exit::Done)
    }
}
