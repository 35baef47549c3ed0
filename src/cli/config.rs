// SPDX-License-Identifier: Apache-2.0
//! `jobbie config`: what a server started with these flags, environment and file would run with.

use anyhow::Result;
use clap::CommandFactory as _;
use serde_json::Value;

use super::Cli;
use super::exit::{Exit, Usage, usage};
use super::out::{Out, Table, note, text_of};
use crate::config::{Listing, ServerArgs};

const EXAMPLES: &str = "Examples:
  jobbie config
  jobbie config --config /etc/jobbie.toml --durability relaxed
  jobbie config --json | jq '.settings[] | select(.source != \"default\")'

Takes the flags of `jobbie server` and starts nothing. What the server would refuse is refused here in the same words,
with exit code 2: use it to check a configuration before a restart.";

/// Variables that are read elsewhere than on the command line: the log's filter, what `work` tells the commands that
/// it runs, and the routes for tests of crashes.
const OTHER: [&str; 8] = [
    "JOBBIE_LOG",
    "JOBBIE_JOB_ID",
    "JOBBIE_QUEUE",
    "JOBBIE_ATTEMPT",
    "JOBBIE_MAX_RETRIES",
    "JOBBIE_LEASE_TOKEN",
    "JOBBIE_CHECKPOINT_FILE",
    "JOBBIE_DEBUG_ROUTES",
];

/// Show every setting of the server, and where it comes from.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Command {
    #[command(flatten)]
    args: ServerArgs,
}

impl Command {
    pub fn run(self, out: Out) -> Result<Exit> {
        // Read once more: what was parsed does not say where it came from.
        let matches = Cli::command().get_matches();
        let matches = matches.subcommand_matches("config").ok_or_else(|| usage("this is `jobbie config`"))?;
        let listing = Listing::new(self.args, matches).map_err(|e| Usage(format!("{e:#}")))?;
        for name in unknown(std::env::vars_os().filter_map(|(name, _)| name.into_string().ok())) {
            note(format!("jobbie: {name} is set, but there is no such variable"));
        }
        if out.is_json() {
            out.line(serde_json::to_vec(&listing)?)?;
            return Ok(Exit::Done);
        }
        if let Some(file) = &listing.config_file {
            note(format!("jobbie: the configuration file is {}", file.display()));
        }
        let mut table = Table::new(&["setting", "value", "from", "variable"]);
        for row in listing.settings {
            let value = if row.value == Value::Null { "-".to_owned() } else { text_of(&row.value) };
            table.row([row.name, value, row.source.name().to_owned(), row.env]);
        }
        out.table(&table)?;
        Ok(Exit::Done)
    }
}

/// Variables that only look as if they were jobbie's.
fn unknown(names: impl Iterator<Item = String>) -> Vec<String> {
    fn collect(command: &clap::Command, known: &mut Vec<String>) {
        known.extend(command.get_arguments().filter_map(|arg| Some(arg.get_env()?.to_str()?.to_owned())));
        command.get_subcommands().for_each(|command| collect(command, known));
    }
    let mut known = OTHER.map(ToOwned::to_owned).to_vec();
    collect(&Cli::command(), &mut known);
    let mut unknown: Vec<String> =
        names.filter(|name| name.starts_with("JOBBIE_") && !known.contains(name)).collect();
    unknown.sort_unstable();
    unknown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_variable_is_noticed() {
        let names = ["JOBBIE_RETENTOIN", "JOBBIE_RETENTION", "JOBBIE_URL", "JOBBIE_JOB_ID", "PATH"];
        assert_eq!(unknown(names.into_iter().map(ToOwned::to_owned)), ["JOBBIE_RETENTOIN"]);
    }
}
