// SPDX-License-Identifier: Apache-2.0
//! `jobs list`: pages of jobs, newest first.

use std::time::SystemTime;

use anyhow::Result;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::super::Context;
use super::super::exit::Exit;
use super::super::out::{Table, note, text_of};
use super::super::when;
use crate::client::segment;

/// Jobs per request with `--all`.
const PAGE: u32 = 500;

/// Which jobs.
#[derive(Debug, Default, clap::Args)]
pub struct List {
    /// Only jobs of this queue.
    #[arg(long)]
    queue: Option<String>,
    /// Only jobs in this state: scheduled, blocked, pending, active, retrying, held, completed, dead or cancelled.
    #[arg(long)]
    state: Option<String>,
    /// How many.
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: u32,
    /// Go on where an earlier list ended.
    #[arg(long, value_name = "CURSOR")]
    cursor: Option<String>,
    /// All of them; as JSON, one job per line.
    #[arg(long, conflicts_with = "limit")]
    all: bool,
}

#[derive(Deserialize)]
struct Page {
    jobs: Vec<Box<RawValue>>,
    cursor: Option<String>,
    has_more: Option<bool>,
}

impl List {
    pub async fn run(self, context: &Context) -> Result<Exit> {
        let mut cursor = self.cursor.clone();
        let mut table = Table::new(&["id", "queue", "state", ">attempt", ">prio", ">age", "due / error"]);
        loop {
            let answer = context.client.get(&self.path(cursor.as_deref())).await?;
            let page: Page = answer.json()?;
            if context.out.is_json() && !self.all {
                context.out.line(&answer.body)?;
                return Ok(Exit::Done);
            }
            if context.out.is_json() {
                let lines: Vec<&str> = page.jobs.iter().map(|job| job.get()).collect();
                if !lines.is_empty() {
                    context.out.line(lines.join("\n"))?;
                }
            } else {
                let now = SystemTime::now();
                for job in &page.jobs {
                    table.row(row(&serde_json::from_str(job.get())?, now));
                }
            }
            let next = page.cursor.filter(|_| !page.jobs.is_empty() && page.has_more.unwrap_or(true));
            // A cursor that does not move would go round for ever.
            if self.all && next.is_some() && next != cursor {
                cursor = next;
                continue;
            }
            if context.out.is_json() {
                return Ok(Exit::Done);
            }
            match table.is_empty() {
                true => note("jobbie: no jobs"),
                false => context.out.table(&table)?,
            }
            if let Some(next) =
                next.filter(|_| !self.all && page.has_more.unwrap_or(page.jobs.len() == self.limit as usize))
            {
                note(format!("more: --cursor {next}, or --all"));
            }
            return Ok(Exit::Done);
        }
    }

    fn path(&self, cursor: Option<&str>) -> String {
        let limit = if self.all { PAGE } else { self.limit };
        let mut path = format!("/jobs?limit={limit}");
        for (name, value) in
            [("queue", self.queue.as_deref()), ("state", self.state.as_deref()), ("cursor", cursor)]
        {
            if let Some(value) = value {
                path += &format!("&{name}={}", segment(value));
            }
        }
        path
    }
}

/// A job as a row: what is due next, or what went wrong last.
fn row(job: &Value, now: SystemTime) -> [String; 7] {
    let time = |key: &str| job[key].as_str().map(|at| when::relative(at, now));
    let last_error = job["errors"].as_array().and_then(|all| all.last()).map(|last| text_of(&last["error"]));
    let remark = match job["state"].as_str().unwrap_or_default() {
        "scheduled" | "retrying" => time("scheduled_at").or(last_error),
        "active" => Some(text_of(&job["worker_id"])),
        "dead" | "cancelled" => last_error.or_else(|| job["reason"].as_str().map(ToOwned::to_owned)),
        _ => None,
    };
    let text = |key: &str| text_of(&job[key]);
    [
        text("id"),
        text("queue"),
        text("state"),
        text("attempt"),
        text("priority"),
        time("created_at").unwrap_or_default(),
        super::super::out::shortened(&remark.unwrap_or_default(), 60),
    ]
}
