// SPDX-License-Identifier: Apache-2.0
//! The work of `jobbie bench` on other systems, so that both can be measured on one machine in one session: 200-byte jobs,
//! the same numbers of connections, server and load on the same cores, and beside each row the same yardsticks (the bare
//! HTTP server of jobbie, and one write with fdatasync).
//!
//! ```text
//! cargo run --release --example peers -- redis beanstalkd nats --dir /path/on/the/disk [--seconds 5] [--queued 1000000]
//! ```
//!
//! The servers must be installed (`apt-get install redis-server beanstalkd nats-server`); each is started on a free port of
//! the loopback interface with its data below `--dir`, and stopped again. What "acknowledged" means in each is printed
//! beside its figures and explained in docs/comparison.md.

mod bare;
mod beanstalkd;
mod disk;
mod load;
mod nats;
mod peer;
mod redis;
mod rows;
mod wire;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::signal::unix::{SignalKind, signal};

/// What was asked for.
pub struct Arguments {
    /// Where the data of the servers goes: the disk that is measured.
    pub dir: PathBuf,
    /// How long a row is measured.
    pub time: Duration,
    /// Jobs in the deep queue.
    pub queued: u64,
    peers: Vec<String>,
}

fn main() -> Result<()> {
    let mut words = std::env::args().skip(1);
    let mut arguments = Arguments {
        dir: std::env::temp_dir(),
        time: Duration::from_secs(5),
        queued: 1_000_000,
        peers: Vec::new(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    while let Some(word) = words.next() {
        let mut value = || words.next().with_context(|| format!("{word} needs a value"));
        match word.as_str() {
            "--bare" => return runtime.block_on(bare::serve(value()?.parse()?)),
            "--dir" => arguments.dir = value()?.into(),
            "--seconds" => arguments.time = Duration::from_secs_f64(value()?.parse()?),
            "--queued" => arguments.queued = value()?.parse()?,
            "redis" | "beanstalkd" | "nats" => arguments.peers.push(word),
            _ => bail!("{word} is not known: redis, beanstalkd, nats, --dir, --seconds, --queued"),
        }
    }
    let measure = async {
        let bare = peer::Running::<bare::Bare>::start(&arguments.dir).await?;
        for name in &arguments.peers {
            match name.as_str() {
                "redis" => rows::all::<redis::Redis>(&arguments, &bare).await?,
                "beanstalkd" => rows::all::<beanstalkd::Beanstalkd>(&arguments, &bare).await?,
                _ => rows::all::<nats::Nats>(&arguments, &bare).await?,
            }
        }
        Ok(())
    };
    // An interrupted run leaves no servers behind: they end when what holds them is dropped.
    let interrupted_or_done = async {
        let mut terminated = signal(SignalKind::terminate())?;
        tokio::select! {
            done = measure => done,
            _ = tokio::signal::ctrl_c() => bail!("interrupted"),
            _ = terminated.recv() => bail!("terminated"),
        }
    };
    tokio::task::LocalSet::new().block_on(&runtime, interrupted_or_done)
}
