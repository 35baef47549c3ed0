// SPDX-License-Identifier: Apache-2.0
//! `jobbie server`: runs the broker. Everything about it is in `config.rs` and `serve.rs`.

use std::process::ExitCode;

use anyhow::Result;

use super::exit::Usage;
use crate::config::ServerArgs;

const EXAMPLES: &str = "Examples:
  jobbie server
  jobbie server --bind 127.0.0.1:8080 --data-dir /var/lib/jobbie
  jobbie server --durability relaxed --retention 1d";

/// Run the broker.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Command {
    #[command(flatten)]
    args: ServerArgs,
}

impl Command {
    pub fn run(self) -> Result<ExitCode> {
        // A setting that cannot be honoured is a wrong command line, wherever it was written.
        let config = self.args.load().map_err(|e| Usage(format!("{e:#}")))?;
        crate::serve::run(config)
    }
}
