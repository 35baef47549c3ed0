// SPDX-License-Identifier: Apache-2.0
//! The command line: one file per subcommand, nearly each of them an HTTP client of the public contract.
//!
//! No rules here and no access to the disk of a running server: whatever these commands can do, any client can.
//! `restore`, `doctor` and `backup --data-dir` work on a directory that no server uses.

mod ack;
mod archive;
mod backup;
mod bench;
mod body;
mod completions;
mod config;
mod doctor;
mod enqueue;
mod events;
mod exit;
mod fail;
mod fetch;
mod group;
mod heartbeat;
mod input;
mod jobs;
mod keys;
mod out;
mod progress;
mod queues;
mod release;
mod restore;
mod server;
mod status;
mod tree;
mod wait;
pub mod when;
mod work;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Args, Parser, Subcommand};

use crate::client::Client;
use exit::Exit;
use out::{Format, Out};

/// A durable job broker in one binary.
///
/// `jobbie server` runs the broker; the other commands talk to one over HTTP, but for those with --data-dir.
#[derive(Debug, Parser)]
#[command(name = "jobbie", version, propagate_version = true, after_help = exit::HELP, max_term_width = 110)]
#[command(subcommand_required = true, arg_required_else_help = true, disable_help_subcommand = true)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// What every command that talks to a server needs to know.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
struct Global {
    /// The server.
    #[arg(long, env = "JOBBIE_URL", default_value = "http://127.0.0.1:8080", global = true)]
    url: String,
    /// API key, sent as a bearer token. The environment keeps it out of `ps`.
    #[arg(long, env = "JOBBIE_API_KEY", hide_env_values = true, global = true)]
    api_key: Option<String>,
    /// Authorities that the server's certificate must come from, in PEM, instead of those of this machine.
    #[arg(long, env = "JOBBIE_CA_CERT", value_name = "FILE", global = true)]
    ca_cert: Option<PathBuf>,
    /// How answers are printed.
    #[arg(long, env = "JOBBIE_OUTPUT", value_enum, default_value = "table", global = true)]
    output: Format,
    /// The same as `--output json`.
    #[arg(long, global = true, conflicts_with = "output")]
    json: bool,
}

impl Global {
    fn out(&self) -> Out {
        Out::new(if self.json { Format::Json } else { self.output })
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    Server(Box<server::Command>),
    Enqueue(Box<enqueue::Command>),
    Fetch(fetch::Command),
    Ack(ack::Command),
    Fail(fail::Command),
    Release(release::Command),
    Heartbeat(heartbeat::Command),
    Work(work::Command),
    Jobs(jobs::Command),
    Queues(queues::Command),
    Keys(keys::Command),
    Events(events::Command),
    Status(status::Command),
    Tree(tree::Command),
    Bench(bench::Command),
    Config(Box<config::Command>),
    Completions(completions::Command),
    Backup(backup::Command),
    Restore(restore::Command),
    Doctor(doctor::Command),
}

/// What a command works with.
struct Context {
    client: Client,
    out: Out,
}

/// Runs the command that was asked for, says what went wrong, and gives the exit code.
pub fn run(cli: Cli) -> ExitCode {
    dispatch(cli).unwrap_or_else(|error| {
        let (exit, is_worth_saying) = exit::of(&error);
        if is_worth_saying {
            out::note(format!("jobbie: {error:#}"));
        }
        exit.into()
    })
}

fn dispatch(cli: Cli) -> Result<ExitCode> {
    match cli.command {
        Command::Server(command) => command.run(),
        Command::Config(command) => command.run(cli.global.out()).map(ExitCode::from),
        Command::Completions(command) => command.run(cli.global.out()).map(ExitCode::from),
        Command::Restore(command) => command.run(cli.global.out()).map(ExitCode::from),
        Command::Doctor(command) => command.run(cli.global.out()).map(ExitCode::from),
        command => call(cli.global, command).map(ExitCode::from),
    }
}

/// Runs a command that talks to a server.
fn call(global: Global, command: Command) -> Result<Exit> {
    if let Command::Bench(bench) = &command
        && let Some(exit) = bench.run_before_the_client()?
    {
        return Ok(exit);
    }
    let threads = match &command {
        Command::Bench(bench) => bench.threads(),
        _ => 1,
    };
    // One thread is enough for a client that mostly waits, and costs no wake-ups between threads.
    let mut runtime = match threads {
        1 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    let runtime = runtime.worker_threads(threads).enable_all().build().context("cannot start the runtime")?;
    let done = runtime.block_on(async {
        let context = Context {
            client: Client::trusting(&global.url, global.api_key.as_deref(), global.ca_cert.as_deref())?,
            out: global.out(),
        };
        match command {
            Command::Server(_)
            | Command::Config(_)
            | Command::Completions(_)
            | Command::Restore(_)
            | Command::Doctor(_) => Err(exit::usage("this command is no client of a server")),
            Command::Backup(command) => command.run(&context).await,
            Command::Enqueue(command) => command.run(&context).await,
            Command::Fetch(command) => command.run(&context).await,
            Command::Ack(command) => command.run(&context).await,
            Command::Fail(command) => command.run(&context).await,
            Command::Release(command) => command.run(&context).await,
            Command::Heartbeat(command) => command.run(&context).await,
            Command::Work(command) => command.run(context).await,
            Command::Jobs(command) => command.run(&context).await,
            Command::Queues(command) => command.run(&context).await,
            Command::Keys(command) => command.run(&context).await,
            Command::Events(command) => command.run(&context).await,
            Command::Status(command) => command.run(&context).await,
            Command::Tree(command) => command.run(&context).await,
            Command::Bench(command) => command.run(&context).await,
        }
    });
    // A read of stdin or a name lookup may still sit in a thread of its own; it must not hold the exit.
    runtime.shutdown_background();
    done
}

#[cfg(test)]
mod help;

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_an_example() {
        for command in Cli::command().get_subcommands() {
            let help = command.clone().render_long_help().to_string();
            assert!(help.contains("Example"), "{} has none", command.get_name());
        }
    }

    #[test]
    fn globals_may_come_last() {
        let cli =
            Cli::try_parse_from(["jobbie", "jobs", "get", "x", "--url", "http://h:1", "--output", "json"])
                .unwrap();
        assert_eq!((cli.global.url.as_str(), cli.global.output), ("http://h:1", Format::Json));
        let cli = Cli::try_parse_from(["jobbie", "queues", "--json"]).unwrap();
        assert!(cli.global.out().is_json());
    }
}
