// SPDX-License-Identifier: Apache-2.0
//! The jobbie binary: parse the arguments, run one subcommand.

mod cli;
mod client;
mod config;
mod serve;

use clap::Parser;

fn main() -> std::process::ExitCode {
    cli::run(cli::Cli::parse())
}
