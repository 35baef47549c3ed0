// SPDX-License-Identifier: Apache-2.0
//! `jobbie completions`: what a shell needs to complete commands, flags and their values.

use anyhow::Result;
use clap::CommandFactory as _;
use clap_complete::{Shell, generate};

use super::Cli;
use super::exit::Exit;
use super::out::Out;

const EXAMPLES: &str = "Examples:
  bash        jobbie completions bash > ~/.local/share/bash-completion/completions/jobbie
  zsh         jobbie completions zsh > \"${fpath[1]}/_jobbie\"
  fish        jobbie completions fish > ~/.config/fish/completions/jobbie.fish
  PowerShell  jobbie completions powershell >> $PROFILE
  for now     source <(jobbie completions bash)";

/// Print the completions for a shell.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Command {
    /// The shell.
    shell: Shell,
}

impl Command {
    pub fn run(self, out: Out) -> Result<Exit> {
        let mut script = Vec::new();
        generate(self.shell, &mut Cli::command(), "jobbie", &mut script);
        out.line(script)?;
        Ok(Exit::Done)
    }
}
