// SPDX-License-Identifier: Apache-2.0
//! `jobbie jobs`: look at jobs and move them about.

mod act;
mod list;
mod show;

use anyhow::Result;

use super::Context;
use super::exit::Exit;
use super::wait;
use super::when::Span;

const EXAMPLES: &str = r#"Examples:
  jobbie jobs --queue mail --state dead
  jobbie jobs get job_01K...
  jobbie jobs wait job_01K... --timeout 30s
  jobbie jobs retry job_01K... job_01L...
  jobbie jobs patch job_01K... --priority critical
  jobbie jobs --state dead --all --output json | jq -r .id | xargs jobbie jobs retry"#;

/// Look at jobs, retry, cancel, move and change them.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub struct Command {
    #[command(subcommand)]
    what: Option<What>,
    #[command(flatten)]
    list: list::List,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// List jobs, newest first.
    List(list::List),
    /// Show everything about a job.
    Get {
        /// The job.
        id: String,
    },
    /// Wait until a job has ended and print its result; exit code 1 if it did not complete.
    Wait {
        /// The job.
        id: String,
        /// How long; without it, as long as it takes. Then the exit code is 4.
        #[arg(long, value_name = "DURATION")]
        timeout: Option<Span>,
    },
    /// Show what happened to a job, step by step.
    Timeline {
        /// The job.
        id: String,
    },
    #[command(flatten)]
    Act(act::Act),
}

impl Command {
    pub async fn run(self, context: &Context) -> Result<Exit> {
        match self.what.unwrap_or(What::List(self.list)) {
            What::List(list) => list.run(context).await,
            What::Get { id } => show::get(context, &id).await,
            What::Wait { id, timeout } => wait::until_done(context, &id, timeout.map(Span::duration)).await,
            What::Timeline { id } => show::timeline(context, &id).await,
            What::Act(act) => act.run(context).await,
        }
    }
}

#[cfg(test)]
mod tests;
