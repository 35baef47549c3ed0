// SPDX-License-Identifier: Apache-2.0
//! `jobbie tree`: the server's live supervisor tree.

use std::fmt::Write as _;

use anyhow::Result;
use serde::Deserialize;

use super::Context;
use super::exit::Exit;
use super::out::clean;

const EXAMPLES: &str = "Examples:
  jobbie tree
  jobbie tree --output json

For each child: its state, how often it was restarted, how many messages wait in its mailbox, and how it last failed.";

/// Show the supervisor tree of a running server.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Command {}

#[derive(Debug, Deserialize)]
struct Node {
    name: String,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    state: String,
    #[serde(default)]
    restarts: u64,
    last_error: Option<String>,
    mailbox_depth: Option<u64>,
    strategy: Option<String>,
    #[serde(default)]
    children: Vec<Node>,
}

impl Command {
    pub async fn run(self, context: &Context) -> Result<Exit> {
        let answer = context.client.get("/supervisors").await?;
        match context.out.is_json() {
            true => context.out.line(&answer.body)?,
            false => context.out.line(draw(&answer.json()?))?,
        }
        Ok(Exit::Done)
    }
}

fn draw(root: &Node) -> String {
    let mut out = String::new();
    describe(root, "", "", &mut out);
    children(root, "", &mut out);
    out
}

fn children(node: &Node, indent: &str, out: &mut String) {
    for (i, child) in node.children.iter().enumerate() {
        let is_last = i + 1 == node.children.len();
        describe(child, indent, if is_last { "└─ " } else { "├─ " }, out);
        children(child, &format!("{indent}{}", if is_last { "   " } else { "│  " }), out);
    }
}

fn describe(node: &Node, indent: &str, branch: &str, out: &mut String) {
    let mut text = format!(
        "{indent}{branch}{:<width$}",
        clean(&node.name),
        width = 28_usize.saturating_sub(indent.chars().count() + branch.chars().count())
    );
    let mut part = |value: String| {
        text.push_str("  ");
        text.push_str(&value);
    };
    part(format!("{:<10}", node.state));
    part(format!("{:<10}", node.kind));
    if node.restarts > 0 {
        part(format!("{} restarts", node.restarts));
    }
    if let Some(depth) = node.mailbox_depth.filter(|depth| *depth > 0) {
        part(format!("{depth} waiting"));
    }
    if let Some(strategy) = &node.strategy {
        part(clean(strategy));
    }
    if let Some(error) = &node.last_error {
        part(format!("last error: {}", clean(error)));
    }
    let _ = writeln!(out, "{}", text.trim_end());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_is_drawn() {
        let root: Node = serde_json::from_value(serde_json::json!({
            "name": "root", "kind": "supervisor", "state": "running", "strategy": "one_for_one, 0 restarts",
            "children": [
                {"name": "jobs", "kind": "supervisor", "state": "running", "children": [
                    {"name": "dispatch", "kind": "actor", "state": "restarting", "restarts": 2, "mailbox_depth": 7,
                     "last_error": "panicked at\nx"}]},
                {"name": "http", "kind": "task", "state": "running", "children": []},
            ]
        }))
        .unwrap();
        let text = draw(&root);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("root  ") && lines[0].ends_with("one_for_one, 0 restarts"), "{text}");
        assert!(lines[1].starts_with("├─ jobs"));
        assert!(lines[2].starts_with("│  └─ dispatch"));
        assert!(lines[2].ends_with("2 restarts  7 waiting  last error: panicked at⏎x"));
        assert!(lines[3].starts_with("└─ http"));
    }
}
