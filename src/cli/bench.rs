// SPDX-License-Identifier: Apache-2.0
//! `jobbie bench`: what a server does on this machine. Raw HTTP/1.1 with keep-alive, so that the client costs little;
//! the numbers are ratios to be compared on one machine, not promises.

mod conditions;
mod cycle;
mod depth;
mod disk;
mod enqueue;
mod goals;
mod h2c;
mod idle_streams;
mod latency;
mod load;
mod mixed;
mod process;
mod report;
mod run;
mod session;
mod spawn;
mod stats;
mod steady;
mod stream;
mod target;

use std::path::PathBuf;

use anyhow::Result;

use super::Context;
use super::exit::{Exit, usage};
use super::when::Span;
use crate::client::unique_token;

const EXAMPLES: &str = "Examples:
  jobbie bench --spawn                            # everything, each scenario against a server of its own
  jobbie bench --spawn enqueue cycle --seconds 10
  jobbie bench --spawn depth --queued 1000000,5000000
  jobbie bench --url http://127.0.0.1:8080 --pid $(pgrep -x jobbie) latency
  jobbie bench --spawn --json > before.ndjson     # the conditions, then one object per row

Client and server share this machine's cores: compare ratios and CPU per job, and repeat.";

/// Measure a server.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Command {
    /// What to measure; everything if nothing is named.
    #[arg(value_enum, value_name = "SCENARIO")]
    scenarios: Vec<Scenario>,
    /// Start a durable server for each scenario in a temporary directory on a free port, and stop it afterwards.
    #[arg(long)]
    spawn: bool,
    /// Where the temporary directory goes: the disk that is measured.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Keep the temporary directories.
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
    #[arg(long, value_delimiter = ',', value_name = "N,...", default_value = "64,256")]
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
    /// Depths for `depth`; a million takes some ten seconds and 1 GiB of disk.
    #[arg(long, value_delimiter = ',', value_name = "N,...", default_value = "1000000")]
    queued: Vec<u64>,
    /// Queues with one stream each for `idle-streams`.
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    streams: u32,
    /// Enqueues per second for `latency`.
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,
    /// Threads of the load generator.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: u16,
    /// Print JSON, one object per line; the same as `--output json`.
    #[arg(long)]
    json: bool,
    /// End with exit code 1 if a row misses one of its goals.
    #[arg(long)]
    check: bool,
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

/// What can be measured, in the order in which it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Scenario {
    /// Enqueue one job at a time on one connection, next to fdatasync of the same directory.
    Durable,
    /// Idle enqueue to a worker that waits on a stream (HTTP/1.1 and h2c) or in a long poll.
    Latency,
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
    /// 16 producers and 16 workers with single calls.
    Mixed,
    /// 16 producers with single calls, 16 workers on streams.
    MixedStream,
    /// A deep queue: rates, memory, SIGKILL and the first delivery after it.
    Depth,
    /// Many queues with one idle stream each: CPU and memory.
    IdleStreams,
}

impl Scenario {
    /// The name on the command line.
    fn name(self) -> String {
        clap::ValueEnum::to_possible_value(&self)
            .map_or_else(String::new, |value| value.get_name().to_owned())
    }
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
        if self.queued.iter().any(|n| !(1..=100_000_000).contains(n)) {
            return Err(usage("--queued is from 1 to 100000000 jobs"));
        }
        run::run(self, context).await
    }

    /// What was asked for, in the order in which it is measured.
    fn wanted(&self) -> Vec<Scenario> {
        let all = <Scenario as clap::ValueEnum>::value_variants().iter().copied();
        all.filter(|scenario| self.scenarios.is_empty() || self.scenarios.contains(scenario)).collect()
    }
}

/// A queue that nobody else uses.
fn queue_name() -> String {
    format!("bench-{}", &unique_token()[..12])
}
