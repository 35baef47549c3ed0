// SPDX-License-Identifier: Apache-2.0
//! `queues list` and `queues show`.

use std::time::SystemTime;

use anyhow::Result;
use serde_json::Value;

use super::super::Context;
use super::super::exit::Exit;
use super::super::out::{Table, note, text_of};
use super::super::when;
use crate::client::segment;

/// The states worth a column; the others are in `show`.
const STATES: [&str; 6] = ["pending", "active", "scheduled", "retrying", "held", "dead"];

pub async fn list(context: &Context) -> Result<Exit> {
    let answer = context.client.get("/queues").await?;
    if context.out.is_json() {
        context.out.line(&answer.body)?;
        return Ok(Exit::Done);
    }
    let said: Value = answer.json()?;
    match rows_of(&said) {
        [] => note("jobbie: no queues"),
        queues => context.out.table(&table_of(queues, SystemTime::now()))?,
    }
    Ok(Exit::Done)
}

pub async fn show(context: &Context, queue: &str) -> Result<Exit> {
    let answer = context.client.get(&format!("/queues/{}", segment(queue))).await?;
    match context.out.is_json() {
        true => context.out.line(&answer.body)?,
        false => {
            let mut said: Value = answer.json()?;
            let counts = said.as_object_mut().and_then(|map| map.remove("counts")).unwrap_or_default();
            context
                .out
                .fields(&said, &["name", "paused", "draining", "health", "oldest_pending_at", "latency"])?;
            context.out.fields(&counts, &STATES)?;
        }
    }
    Ok(Exit::Done)
}

/// The queues in an answer: a list, or an object with a list.
pub fn rows_of(said: &Value) -> &[Value] {
    said.as_array().or_else(|| said["queues"].as_array()).map_or(&[], Vec::as_slice)
}

/// One row per queue.
pub fn table_of(queues: &[Value], now: SystemTime) -> Table {
    let mut table = Table::new(&[
        "queue",
        ">pending",
        ">active",
        ">scheduled",
        ">retrying",
        ">held",
        ">dead",
        ">oldest",
        "limits",
        "state",
    ]);
    for queue in queues {
        let name = [&queue["name"], &queue["queue"]].into_iter().find(|n| n.is_string()).map(text_of);
        let mut row = vec![name.unwrap_or_default()];
        row.extend(STATES.map(|state| text_of(&count(queue, state))));
        row.push(queue["oldest_pending_at"].as_str().map(|at| when::relative(at, now)).unwrap_or_default());
        row.push(limits(queue));
        row.push(condition(queue).to_owned());
        table.row(row);
    }
    table
}

fn count(queue: &Value, state: &str) -> Value {
    let counted = [&queue["counts"][state], &queue[state]].into_iter().find(|n| n.is_number());
    counted.cloned().unwrap_or_else(|| 0.into())
}

fn limits(queue: &Value) -> String {
    let of = |key: &str| [&queue[key], &queue["limits"][key]].into_iter().find(|v| !v.is_null()).cloned();
    let concurrency = of("concurrency").map(|n| format!("{} at once", text_of(&n)));
    let throttle = of("throttle").map(|t| match t["period_ms"].as_u64() {
        Some(ms) => format!("{} per {}", t["count"], when::short(std::time::Duration::from_millis(ms))),
        None => format!("{} per {}", t["count"], text_of(&t["period"])),
    });
    concurrency.into_iter().chain(throttle).collect::<Vec<_>>().join(", ")
}

fn condition(queue: &Value) -> &'static str {
    let is =
        |keys: [&str; 2]| keys.iter().any(|key| !matches!(queue[*key], Value::Null | Value::Bool(false)));
    if is(["deleting", "deleting_at"]) {
        "deleting"
    } else if is(["paused", "paused_at"]) {
        "paused"
    } else if is(["draining", "draining_at"]) {
        "draining"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn both_shapes_of_a_queue_are_shown() {
        let said = json!({"queues": [
            {"name": "mail", "counts": {"pending": 3, "dead": 1}, "paused": true, "concurrency": 4},
            {"queue": "api", "pending": 7, "throttle": {"count": 5, "period_ms": 60_000}},
        ]});
        let text = table_of(rows_of(&said), SystemTime::UNIX_EPOCH).to_string();
        let lines: Vec<Vec<&str>> = text.lines().map(|l| l.split_whitespace().collect()).collect();
        assert_eq!(lines[1], ["mail", "3", "0", "0", "0", "0", "1", "4", "at", "once", "paused"]);
        assert_eq!(lines[2], ["api", "7", "0", "0", "0", "0", "0", "5", "per", "60s"]);
        assert!(rows_of(&json!({})).is_empty());
    }
}
