// SPDX-License-Identifier: Apache-2.0
//! `jobbie bench`: what a server does on this machine. Raw HTTP/1.1 with keep-alive, so that the client costs little;
//! the numbers are ratios to be compared on one machine, not promises.

mod cpu;
mod cycle;
mod disk;
mod enqueue;
mod latency;
mod load;
mod mixed;
mod report;
mod run;
mod spawn;
mod stats;
mod target;

use std::path::PathBuf;

use anyhow::Result;

use super::Context;
use super::exit::{Exit, usage};
use super::when::Span;
use crate::client::unique_token;

const EXAMPLES: &str = "Examples:
  jobbie bench --spawn                            # everything, against a server of its own
  jobbie bench --spawn enqueue cycle --seconds 10
  jobbie bench --url http://127.0.0.1:8080 --pid $(pgrep -x jobbie) latency
  jobbie bench --spawn --output json > before.ndjson

Scenarios: enqueue, enqueue-batch, cycle (fetch + ack), cycle-batch, stream (pushed, batched acks), mixed,
latency (idle enqueue to worker), durable (one connection, next to fdatasync of the same directory).
Client and server share this machine's cores: compare ratios and CPU per job, and repeat.";

/// Measure a server.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Command {
    /// What to measure; everything if nothing is named.
    #[arg(value_enum, value_name = "SCENARIO")]
    scenarios: Vec<Scenario>,
    /// Start a durable server in a temporary directory on a free port, and stop it afterwards.
    #[arg(long)]
    spawn: bool,
    /// Where the temporary directory goes: the disk that is measured.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Keep the temporary directory.
    #[arg(long, requires = "spawn")]
    keep: bool,
    /// The server's process, for its CPU time.
    #[arg(long, conflicts_with = "spawn")]
    pid: Option<u32>,
    /// How long each row is measured.
    #[arg(long, value_name = "DURATION", default_value = "5")]
    seconds: Span,
    /// At most this many jobs per row.
    #[arg(long, value_name = "N")]
    jobs: Option<u64>,
    /// Numbers of connections for `enqueue`.
    #[arg(long, value_delimiter = ',', value_name = "N,...", default_value = "1,16,64")]
    connections: Vec<usize>,
    /// Numbers of workers for `cycle`.
    #[arg(long, value_delimiter = ',', value_name = "N,...", default_value = "16,64")]
    workers: Vec<usize>,
    /// Connections for batches and streams.
    #[arg(long, value_name = "N", default_value_t = 4)]
    batch_connections: usize,
    /// Jobs per batch.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    batch: u32,
    /// Bytes of payload.
    #[arg(long, value_name = "BYTES", default_value_t = 200)]
    payload: usize,
    /// Enqueues per second for `latency`.
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,
    /// Threads of the load generator.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: u16,
    /// Do not compare with a bare HTTP server.
    #[arg(long)]
    no_bare: bool,
    /// Threads of the bare HTTP server; as many as the server's.
    #[arg(long, value_name = "N")]
    bare_workers: Option<usize>,
    /// Load a server that is not on this machine.
    #[arg(long)]
    i_own_this_host: bool,
    /// Be the bare HTTP server.
    #[arg(long, hide = true, value_name = "PORT")]
    bare_server: Option<u16>,
}

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Scenario {
    /// One job per request.
    Enqueue,
    /// Many jobs per request.
    EnqueueBatch,
    /// Fetch and ack one job.
    Cycle,
    /// Fetch and ack many jobs.
    CycleBatch,
    /// Jobs pushed on streams, acks in batches.
    Stream,
    /// Producers and workers.
    Mixed,
    /// Idle enqueue to worker.
    Latency,
    /// One connection and the disk.
    Durable,
}

impl Command {
    /// The hidden mode in which this process is the server to compare with.
    pub fn run_before_the_client(&self) -> Result<Option<Exit>> {
        let Some(port) = self.bare_server else { return Ok(None) };
        let workers = self.bare_workers.map_or_else(std::thread::available_parallelism, |n| {
            std::num::NonZero::new(n)
                .ok_or_else(|| std::io::Error::other("--bare-workers must be at least 1"))
        })?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime
            .block_on(jobbie_web::bare::serve((std::net::Ipv4Addr::LOCALHOST, port).into(), workers.get()))?;
        Ok(Some(Exit::Done))
    }

    /// Threads of the runtime.
    pub fn threads(&self) -> usize {
        usize::from(self.threads)
    }

    pub async fn run(self, context: &Context) -> Result<Exit> {
        let counts = self.connections.iter().chain(&self.workers).chain([&self.batch_connections]);
        if counts.into_iter().any(|n| !(1..=10_000).contains(n)) {
            return Err(usage("numbers of connections are from 1 to 10000"));
        }
        run::run(self, context).await
    }

    /// Whether a scenario was asked for.
    fn wants(&self, scenario: Scenario) -> bool {
        self.scenarios.is_empty() || self.scenarios.contains(&scenario)
    }
}

/// A queue that nobody else uses.
fn queue_name() -> String {
    format!("bench-{}", &unique_token()[..12])
}
