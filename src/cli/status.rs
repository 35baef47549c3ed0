// SPDX-License-Identifier: Apache-2.0
//! `jobbie status`: the server and its queues on one screen.

use std::time::SystemTime;

use anyhow::Result;
use serde_json::Value;
use serde_json::value::RawValue;

use super::Context;
use super::exit::Exit;
use super::out::text_of;
use super::queues::{rows_of, table_of};
use crate::client::Call;

const EXAMPLES: &str = "Examples:
  jobbie status
  watch jobbie status
  jobbie status --output json | jq .queues
  jobbie status --ready                       # only whether it answers; needs no API key";

/// Show the server and its queues.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Command {
    /// Only ask whether calls can be answered, for health checks: that needs no API key
    #[arg(long)]
    ready: bool,
}

impl Command {
    pub async fn run(self, context: &Context) -> Result<Exit> {
        if self.ready {
            context.client.send(&Call::outside_the_api("/readyz")).await?;
            context.out.line("ready")?;
            return Ok(Exit::Done);
        }
        let info = context.client.get("/info").await?;
        let queues = context.client.get("/queues").await?;
        if context.out.is_json() {
            let (info, queues): (&RawValue, &RawValue) =
                (serde_json::from_slice(&info.body)?, serde_json::from_slice(&queues.body)?);
            context.out.line(format!(r#"{{"info":{info},"queues":{queues}}}"#))?;
            return Ok(Exit::Done);
        }
        let (info, queues): (Value, Value) = (info.json()?, queues.json()?);
        context.out.line(format!(
            "jobbie {} at {}",
            text_of(&info["version"]),
            context.client.base().url()
        ))?;
        let mut rest = info;
        rest.as_object_mut().map(|map| map.remove("version"));
        context.out.fields(&rest, &["durability", "started_at", "uptime", "node_id", "leads", "leader"])?;
        let queues = rows_of(&queues);
        if !queues.is_empty() {
            context.out.line("")?;
            context.out.table(&table_of(queues, SystemTime::now()))?;
        }
        Ok(Exit::Done)
    }
}
