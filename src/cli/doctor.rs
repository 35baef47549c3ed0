// SPDX-License-Identifier: Apache-2.0
//! `jobbie doctor`: looks at a data directory that no server uses, and says what is wrong with it.

use std::path::PathBuf;

use anyhow::Result;
use jobbie_store::Options;
use jobbie_store::examine::{Examination, examine};
use serde_json::{Value, json};

use super::archive::size;
use super::exit::Exit;
use super::out::{Out, Table};

const EXAMPLES: &str = "Examples:
  jobbie doctor --data-dir /var/lib/jobbie
  jobbie doctor --data-dir /var/lib/jobbie --output json

Every record of the log, the newest snapshot and the state are read, and the state's invariants are checked. Nothing is
repaired. The exit code is 0 if the directory is sound and 65 if it is not; notes are things that the next start takes
care of.";

/// Check a data directory.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Command {
    /// The directory; no server may use it.
    #[arg(long, env = "JOBBIE_DATA_DIR", value_name = "DIR")]
    data_dir: PathBuf,
}

impl Command {
    pub fn run(self, out: Out) -> Result<Exit> {
        let found = examine(&Options::new(&self.data_dir))?;
        if out.is_json() {
            out.line(as_json(&found).to_string())?
        } else {
            out.line(as_text(&found))?
        }
        Ok(if found.is_sound() { Exit::Done } else { Exit::Damaged })
    }
}

fn as_text(found: &Examination) -> String {
    let mut table = Table::plain();
    let mut row = |name: &str, text: String| table.row([name.to_owned(), text]);
    if let Some(id) = found.node_id {
        row("node", format!("{id:016x}"));
    }
    if let Some(log) = &found.log {
        let entries = match (log.first_index, log.last_index) {
            (Some(first), Some(last)) => format!("entries {first} to {last}"),
            _ => "no entries".to_owned(),
        };
        row("log", format!("{entries} in {} segments, {}", log.segments, size(log.bytes_on_disk)));
    }
    if let Some((index, bytes)) = found.snapshot {
        row("snapshot", format!("as of entry {index}, {}", size(bytes)));
    }
    if let Some(state) = &found.state {
        let applied = state.applied.map_or("nothing".to_owned(), |index| format!("entry {index}"));
        row("state", format!("as of {applied}, {} queues", state.queues));
        let jobs = state.jobs.iter().filter(|(_, count)| *count > 0);
        let jobs: Vec<String> = jobs.map(|(kind, count)| format!("{count} {}", kind.name())).collect();
        row("jobs", if jobs.is_empty() { "none".to_owned() } else { jobs.join(", ") });
    }
    for finding in &found.findings {
        let kind = if finding.is_problem { "PROBLEM" } else { "note" };
        row(kind, format!("{}: {}", finding.part, finding.text));
    }
    let problems = found.findings.iter().filter(|finding| finding.is_problem).count();
    let verdict = if problems == 0 { "sound".to_owned() } else { format!("{problems} problems") };
    row("verdict", verdict);
    table.to_string()
}

fn as_json(found: &Examination) -> Value {
    let jobs = |state: &jobbie_store::examine::StateExamined| {
        let counts = state.jobs.iter().map(|(kind, count)| (kind.name().to_owned(), json!(count)));
        Value::Object(counts.collect())
    };
    json!({
        "sound": found.is_sound(),
        "node_id": found.node_id.map(|id| format!("{id:016x}")),
        "log": found.log.map(|log| json!({
            "first_index": log.first_index, "last_index": log.last_index, "purged_index": log.purged_index,
            "segments": log.segments, "bytes": log.bytes_on_disk, "torn_bytes": log.torn_bytes,
        })),
        "snapshot": found.snapshot.map(|(index, bytes)| json!({"index": index, "bytes": bytes})),
        "state": found.state.as_ref().map(|state| json!({
            "applied_index": state.applied, "queues": state.queues, "jobs": jobs(state),
        })),
        "findings": found.findings.iter().map(|finding| json!({
            "problem": finding.is_problem, "part": finding.part, "text": finding.text,
        })).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use jobbie_store::examine::Finding;

    #[test]
    fn notes_are_no_problems_and_problems_are_counted() {
        let finding = |is_problem, text: &str| Finding { is_problem, part: "log", text: text.to_owned() };
        let mut found = Examination { findings: vec![finding(false, "torn")], ..Examination::default() };
        assert!(as_text(&found).contains("note") && as_text(&found).contains("sound"));
        assert_eq!(as_json(&found)["sound"], true);
        found.findings.push(finding(true, "corrupt"));
        assert!(as_text(&found).contains("PROBLEM") && as_text(&found).contains("1 problems"));
        assert_eq!(as_json(&found)["findings"][1]["text"], "corrupt");
    }
}
