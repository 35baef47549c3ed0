// SPDX-License-Identifier: Apache-2.0
//! `jobs get`, `timeline`: one job, read.

use anyhow::Result;
use serde_json::Value;

use super::super::Context;
use super::super::exit::Exit;
use super::super::out::{Table, text_of};
use crate::client::segment;

/// Fields in the order in which a person asks for them; the rest follows by name.
const ORDER: [&str; 14] = [
    "id",
    "queue",
    "state",
    "reason",
    "priority",
    "attempt",
    "max_retries",
    "worker_id",
    "lease_expires_at",
    "scheduled_at",
    "created_at",
    "payload",
    "result",
    "checkpoint",
];

pub async fn get(context: &Context, id: &str) -> Result<Exit> {
    let answer = context.client.get(&format!("/jobs/{}", segment(id))).await?;
    if context.out.is_json() {
        context.out.line(&answer.body)?;
        return Ok(Exit::Done);
    }
    let mut job: Value = answer.json()?;
    let errors = job.as_object_mut().and_then(|map| map.remove("errors")).unwrap_or_default();
    context.out.fields(&job, &ORDER)?;
    let mut table = Table::new(&[">attempt", "at", "error"]);
    for error in errors.as_array().into_iter().flatten() {
        table.row(["attempt", "at", "error"].map(|key| text_of(&error[key])));
    }
    if !table.is_empty() {
        context.out.line("")?;
        context.out.table(&table)?;
    }
    Ok(Exit::Done)
}

pub async fn timeline(context: &Context, id: &str) -> Result<Exit> {
    lines(context, &format!("/jobs/{}/timeline", segment(id)), &["events", "timeline"], &["at", "type"]).await
}

/// A list of objects, one line each: the fields in `first`, then the others as `key=value`.
async fn lines(context: &Context, path: &str, list: &[&str], first: &[&str]) -> Result<Exit> {
    let answer = context.client.get(path).await?;
    if context.out.is_json() {
        context.out.line(&answer.body)?;
        return Ok(Exit::Done);
    }
    let said: Value = answer.json()?;
    let Some(items) = said.as_array().or_else(|| list.iter().find_map(|key| said[*key].as_array())) else {
        context.out.fields(&said, &[])?;
        return Ok(Exit::Done);
    };
    let mut table = Table::plain();
    for item in items {
        let mut row: Vec<String> =
            first.iter().map(|key| text_of(&item[*key])).filter(|t| !t.is_empty()).collect();
        let rest = item
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(key, value)| !first.contains(&key.as_str()) && !value.is_null());
        row.push(rest.map(|(key, value)| format!("{key}={}", text_of(value))).collect::<Vec<_>>().join(" "));
        if item.is_string() {
            row = vec![text_of(item)];
        }
        table.row(row);
    }
    context.out.table(&table)?;
    Ok(Exit::Done)
}
