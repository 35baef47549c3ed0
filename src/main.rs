// SPDX-License-Identifier: Apache-2.0
//! The jobbie binary: parse the arguments, run one subcommand.

mod cli;
mod client;
mod config;
mod first_key;
mod serve;
mod telemetry;

use clap::Parser;

/// Nearly half of what applying a command costs is allocation: with this allocator a fetch-and-ack cycle takes a
/// third less CPU than with the system's (docs/performance.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    cli::run(cli::Cli::parse())
}
