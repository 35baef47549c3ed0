// SPDX-License-Identifier: Apache-2.0
//! `jobbie fetch`: leases jobs and prints them. What is fetched must be acked, failed or released by somebody.

use std::time::Duration;

use anyhow::Result;
use serde_json::Value;

use super::Context;
use super::body::Body;
use super::exit::Exit;
use super::out::{Table, note, text_of};
use super::when::Span;
use crate::client::{Call, unique_token};

const EXAMPLES: &str = "Examples:
  jobbie fetch mail                          # one job if there is one
  jobbie fetch urgent mail --timeout 30      # wait for one, urgent first
  jobbie fetch mail --output json | jq -r .lease_token

Exit code 4: there was no job. `jobbie work` runs a command per job and does the rest by itself.";

/// Lease jobs from queues.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Command {
    /// Queues, the most urgent first.
    #[arg(required = true, value_name = "QUEUE")]
    queues: Vec<String>,
    /// How long to wait for a job (at most 60s).
    #[arg(long, value_name = "DURATION", default_value = "0")]
    timeout: Span,
    /// How many jobs at most (up to 1,000).
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    count: u32,
    /// How long the lease lasts without a heartbeat.
    #[arg(long, value_name = "DURATION")]
    lease: Option<Span>,
    /// The name this worker goes by.
    #[arg(long, value_name = "ID")]
    worker_id: Option<String>,
}

/// This machine's name.
pub fn hostname() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let name = name.or_else(|| std::env::var("HOSTNAME").ok()).unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "localhost".to_owned() } else { name.to_owned() }
}

impl Command {
    pub async fn run(self, context: &Context) -> Result<Exit> {
        let host = hostname();
        let mut body = Body::default();
        body.set("queues", &self.queues)?
            .set("worker_id", &self.worker_id.unwrap_or_else(|| format!("cli-{host}")))?
            .set("hostname", &host)?
            .set("timeout", &self.timeout.to_string())?
            // Makes the call repeatable: the second answer has the same jobs.
            .set("request_id", &unique_token())?
            .span("lease_duration", self.lease)?;
        let path = if self.count > 1 { "/fetch/batch" } else { "/fetch" };
        if self.count > 1 {
            body.set("count", &self.count)?;
        }
        let wait = self.timeout.duration().min(Duration::from_secs(60));
        let answer = context.client.send_repeatable(&Call::post(path, &body)?.waiting(wait)).await?;
        let jobs: Vec<Value> = match answer.body.is_empty() {
            true => Vec::new(),
            false => match answer.json()? {
                Value::Object(mut batch) if self.count > 1 => match batch.remove("jobs") {
                    Some(Value::Array(jobs)) => jobs,
                    _ => Vec::new(),
                },
                job => vec![job],
            },
        };
        if jobs.is_empty() {
            note("jobbie: no job");
            return Ok(Exit::Nothing);
        }
        if context.out.is_json() {
            context.out.line(&answer.body)?;
        } else if let [job] = &jobs[..] {
            context
                .out
                .fields(job, &["job_id", "queue", "attempt", "lease_token", "lease_expires_at", "payload"])?;
        } else {
            let mut table = Table::new(&["job", "queue", ">attempt", "lease token", "payload"]);
            for job in &jobs {
                table.row(
                    ["job_id", "queue", "attempt", "lease_token", "payload"].map(|key| text_of(&job[key])),
                );
            }
            context.out.table(&table)?;
        }
        Ok(Exit::Done)
    }
}
