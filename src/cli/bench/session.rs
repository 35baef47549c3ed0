// SPDX-License-Identifier: Apache-2.0
//! What all scenarios share: a server for each, the yardsticks, what a row costs, and where rows go.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::super::out::{Out, note};
use super::load::{Gate, Measured};
use super::report::{Row, Unit};
use super::spawn::Spawned;
use super::target::Target;
use super::{Command, conditions::Conditions, enqueue, goals::Goal, process, queue_name};
use crate::client::{Call, segment};

/// What batches, streams and mixed loads are compared with: single requests on this many connections, about
/// the most that the bare server answers.
pub const BARE_CONNECTIONS: usize = 64;
/// The bare server is measured for this long before a row and again after it: it has nothing that warms up.
const BARE: Duration = Duration::from_secs(1);
/// A server that uses less than this share of a core has written what it had to write in the background.
const SETTLED: f64 = 0.05;
/// A server that is not settled by then is measured as it is.
const SETTLING: Duration = Duration::from_secs(20);
/// How often that is looked at: five ticks of `/proc` are its resolution.
const LOOK: Duration = Duration::from_millis(500);

/// A run of scenarios.
pub struct Session<'a> {
    /// What was asked for.
    pub command: &'a Command,
    /// What was measured so far.
    pub rows: Vec<Row>,
    /// The median of one durable enqueue in milliseconds, once it is known.
    pub durable_ms: Option<f64>,
    /// The conditions that were found.
    pub conditions: Conditions,
    out: Out,
    existing: Existing,
    bare: Option<Arc<Target>>,
}

/// The server that is measured if none is started.
#[derive(Clone)]
pub struct Existing {
    /// Where it is.
    pub url: String,
    /// What it wants to see.
    pub api_key: Option<String>,
}

/// The server of a scenario.
pub struct Server {
    /// How to load it.
    pub target: Arc<Target>,
    pid: Option<u32>,
    spawned: Option<Spawned>,
    queues: Vec<String>,
}

/// The moment before a row.
pub struct Before {
    at: Instant,
    server: Option<Duration>,
    load: Option<Duration>,
    machine: Option<Duration>,
    bare: Option<(usize, f64)>,
}

impl Server {
    /// A queue that nobody else uses.
    pub fn queue(&mut self) -> String {
        let queue = queue_name();
        self.queues.push(queue.clone());
        queue
    }

    /// Its memory, if its process is known.
    pub fn memory(&self) -> Option<process::Memory> {
        self.pid.and_then(process::memory_of)
    }

    /// Its CPU time, if its process is known.
    pub fn time(&self) -> Option<Duration> {
        self.pid.and_then(process::time_of)
    }

    /// Waits until it has nothing more to do in the background, or for as long as that is worth waiting for.
    pub async fn settle(&self) {
        let end = Instant::now() + SETTLING;
        let Some(mut last) = self.time() else { return };
        while Instant::now() < end {
            tokio::time::sleep(LOOK).await;
            let Some(now) = self.time() else { return };
            if now.saturating_sub(last).as_secs_f64() < LOOK.as_secs_f64() * SETTLED {
                return;
            }
            last = now;
        }
    }

    /// Kills it with SIGKILL and starts it again on the same data.
    pub async fn kill_and_start_again(&mut self) -> Result<()> {
        let Some(spawned) = &mut self.spawned else { bail!("only a server that was started here is killed") };
        spawned.kill_and_start_again().await?;
        self.pid = spawned.pid();
        self.target = Arc::new(Target::new(&spawned.url, None, false)?);
        Ok(())
    }

    /// Stops it if it was started here, or leaves nothing behind in a server that goes on.
    pub async fn close(self, keep: bool) -> Result<()> {
        if let Some(spawned) = self.spawned {
            if keep && let Some(dir) = spawned.dir() {
                note(format!("kept: {}", dir.display()));
            }
            return spawned.stop(keep).await;
        }
        for queue in &self.queues {
            let call = Call::new("DELETE", format!("/queues/{}?confirm=true", segment(queue)));
            if let Err(e) = self.target.client().send(&call).await
                && e.code() != Some("NOT_FOUND")
            {
                note(format!("{queue} was not removed: {e}"));
            }
        }
        Ok(())
    }
}

impl<'a> Session<'a> {
    /// Finds the conditions and prints them.
    pub async fn begin(
        command: &'a Command,
        out: Out,
        existing: Existing,
        bare: Option<&Spawned>,
    ) -> Result<Self> {
        let bare = bare.map(|bare| Target::new(&bare.url, None, false)).transpose()?.map(Arc::new);
        let server = open(command, &existing).await?;
        let dir = if command.spawn { Some(data_below(command)) } else { command.dir.clone() };
        let conditions = Conditions::find(
            server.target.client(),
            dir.as_deref(),
            command.spawn,
            command.payload,
            command.seconds.duration().as_secs_f64(),
        )
        .await?;
        server.close(false).await?;
        match out.is_json() {
            true => out.line(serde_json::to_string(&serde_json::json!({ "conditions": conditions }))?)?,
            false => conditions.lines().iter().try_for_each(|line| out.line(line))?,
        }
        let rows = Vec::new();
        Ok(Self { command, rows, durable_ms: None, conditions, out, existing, bare })
    }

    /// A server for one scenario: a fresh one, or the one that is there.
    pub async fn server(&self) -> Result<Server> {
        open(self.command, &self.existing).await
    }

    /// The directory whose disk is measured.
    pub fn dir(&self) -> Option<PathBuf> {
        if self.command.spawn { Some(data_below(self.command)) } else { self.command.dir.clone() }
    }

    /// The end of one row.
    pub fn gate(&self) -> Arc<Gate> {
        Gate::new(self.command.seconds.duration(), self.command.jobs)
    }

    /// Goals, if the sizes and the durability are those that they are stated for.
    pub fn goals(&self, goals: &'static [Goal]) -> &'static [Goal] {
        let command = self.command;
        let is_default =
            command.payload == 200 && command.batch == 100 && self.conditions.durability == "fsync";
        if is_default { goals } else { &[] }
    }

    /// Measures the bare server if the row is compared with it, and notes what everybody has used so far.
    pub async fn before(&self, server: &Server, bare_connections: Option<usize>) -> Result<Before> {
        let mut bare = None;
        if let Some(connections) = bare_connections
            && let Some(rate) = self.bare_rate(connections).await?
        {
            bare = Some((connections, rate));
        }
        Ok(Before {
            at: Instant::now(),
            server: server.time(),
            load: process::time_of(std::process::id()),
            machine: process::machine_busy(),
            bare,
        })
    }

    /// Completes a row with what it cost and what it is compared with.
    pub async fn after(&self, server: &Server, before: Before, row: Row) -> Result<Row> {
        let took = before.at.elapsed();
        let since = |now: Option<Duration>, then: Option<Duration>| Some(now?.saturating_sub(then?));
        let own = since(server.time(), before.server);
        let load = since(process::time_of(std::process::id()), before.load);
        let machine = since(process::machine_busy(), before.machine);
        let mut row = row.costing(own, load);
        let cores = self.conditions.cores.max(1) as f64;
        row.others_cpu_share = machine.zip(own).zip(load).map(|((machine, own), load)| {
            machine.saturating_sub(own + load).as_secs_f64() / (took.as_secs_f64() * cores)
        });
        if let Some((connections, rate)) = before.bare
            && let Some(again) = self.bare_rate(connections).await?
        {
            row = row.against("bare", Some((rate + again) / 2.0));
        }
        Ok(row)
    }

    /// Prints a row as soon as it is there.
    pub fn push(&mut self, row: Row) -> Result<()> {
        match self.out.is_json() {
            true => self.out.line(serde_json::to_string(&row)?)?,
            // Something to look at while the rest is measured.
            false => note(format!("  {}: {}", row.work, row.said())),
        }
        self.rows.push(row);
        Ok(())
    }

    /// Fills a queue with `wanted` jobs; the run that did it.
    pub async fn fill(&self, server: &Server, queue: &str, wanted: u64) -> Result<Measured> {
        let size = wanted.clamp(1, 1_000);
        let gate = Gate::new(Duration::from_secs(600), Some(wanted));
        let request = enqueue::many(&server.target, queue, self.command.payload, usize::try_from(size)?);
        let run =
            enqueue::repeat(&server.target, self.command.batch_connections, &gate, request, size).await?;
        match &run.part.first_error {
            Some(error) => bail!("filling a queue failed: {error}"),
            None => Ok(run),
        }
    }

    /// A queue with as many jobs as one row can need at that rate, and how many. What the server has to write in the
    /// background for them is written.
    pub async fn filled(&self, server: &mut Server, per_second: u64) -> Result<(String, u64)> {
        let queue = server.queue();
        let wanted = (per_second as f64 * self.command.seconds.duration().as_secs_f64()) as u64;
        let wanted = self.command.jobs.unwrap_or(wanted).clamp(1, FILL_MOST);
        let run = self.fill(server, &queue, wanted).await?;
        server.settle().await;
        Ok((queue, run.part.jobs))
    }

    /// Single enqueues per second that the bare server answers on that many connections.
    async fn bare_rate(&self, connections: usize) -> Result<Option<f64>> {
        let Some(bare) = &self.bare else { return Ok(None) };
        let request = enqueue::single(bare, "bare", self.command.payload);
        let run = enqueue::repeat(bare, connections, &Gate::new(BARE, None), request, 1).await?;
        let row = Row::rate("bare", "bare", connections, run);
        debug_assert_eq!(row.unit, Unit::JobsPerSecond);
        Ok(Some(row.figure))
    }
}

/// The most that is filled in for a row, whatever was asked for.
const FILL_MOST: u64 = 5_000_000;

fn data_below(command: &Command) -> PathBuf {
    command.dir.clone().unwrap_or_else(std::env::temp_dir)
}

async fn open(command: &Command, existing: &Existing) -> Result<Server> {
    let spawned = match command.spawn {
        true => Some(Spawned::server(&data_below(command)).await?),
        false => None,
    };
    let url = spawned.as_ref().map_or(&existing.url, |spawned| &spawned.url);
    let key = existing.api_key.as_deref().filter(|_| spawned.is_none());
    let target = Arc::new(Target::new(url, key, command.i_own_this_host)?);
    target.client().get("/info").await.context("the server does not answer")?;
    let pid = spawned.as_ref().map_or(command.pid, Spawned::pid);
    Ok(Server { target, pid, spawned, queues: Vec::new() })
}
