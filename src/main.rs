// SPDX-License-Identifier: Apache-2.0
//! The jobbie binary: parse the arguments, run one subcommand.

mod cli;
mod client;
mod config;
mod serve;

fn main() -> std::process::ExitCode {
    cli::main()
}
