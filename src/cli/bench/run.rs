// SPDX-License-Identifier: Apache-2.0
//! The order of things: start what is to be started, one row after the other, stop what was started.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::signal::unix::{SignalKind, signal};

use super::super::Context;
use super::super::exit::Exit;
use super::super::out::note;
use super::latency::Waiting;
use super::load::{Gate, Measured};
use super::report::{self, Row};
use super::spawn::Spawned;
use super::stats::{Part, Spread};
use super::target::Target;
use super::{Command, Scenario, cpu, cycle, disk, enqueue, latency, mixed, queue_name};
use crate::client::{Call, segment};

/// Jobs per second that a row can be expected not to exceed on a small machine, singly and in batches: as many are
/// put into the queue before fetching is measured. A row that empties its queue ends there and stays correct.
const FILL_SINGLE: u64 = 20_000;
const FILL_BATCH: u64 = 100_000;
/// The most that is filled in, whatever was asked for.
const FILL_MOST: u64 = 5_000_000;
/// What batches, streams and mixed loads are compared with: single requests on this many connections, about
/// the most that the bare server answers.
const BARE_CONNECTIONS: usize = 64;
/// The bare server is measured for this long per row: it has nothing that warms up.
const BARE: Duration = Duration::from_secs(2);
/// fdatasyncs before and after the enqueues that they are compared with.
const SYNCS: usize = 300;

struct Bench<'a> {
    command: &'a Command,
    context: &'a Context,
    target: Arc<Target>,
    bare: Option<Arc<Target>>,
    bare_rates: BTreeMap<usize, f64>,
    pid: Option<u32>,
    dir: Option<PathBuf>,
    queues: Vec<String>,
    rows: Vec<Row>,
}

/// Measures everything that was asked for. Everything that was started ends with it, whatever happens.
pub async fn run(command: Command, context: &Context) -> Result<Exit> {
    let mut term = signal(SignalKind::terminate())?;
    let mut int = signal(SignalKind::interrupt())?;
    tokio::select! {
        done = start_and_measure(&command, context) => done,
        _ = term.recv() => Ok(Exit::Failed),
        _ = int.recv() => Ok(Exit::Failed),
    }
}

async fn start_and_measure(command: &Command, context: &Context) -> Result<Exit> {
    let dir = command.dir.clone().unwrap_or_else(std::env::temp_dir);
    let server = match command.spawn {
        true => Some(Spawned::server(&dir).await?),
        false => None,
    };
    let bare = match command.no_bare {
        true => None,
        false => Some(
            Spawned::bare().await.context("cannot start the bare HTTP server (--no-bare does without)")?,
        ),
    };
    let measured = measure(command, context, server.as_ref(), bare.as_ref()).await;
    if let Some(bare) = bare {
        bare.stop(false).await?;
    }
    if let Some(server) = server {
        if command.keep
            && let Some(dir) = server.dir()
        {
            note(format!("kept: {}", dir.display()));
        }
        server.stop(command.keep).await?;
    }
    measured
}

async fn measure(
    command: &Command,
    context: &Context,
    server: Option<&Spawned>,
    bare: Option<&Spawned>,
) -> Result<Exit> {
    let base = context.client.base().url();
    let url = server.map_or(base.as_str(), |server| server.url.as_str());
    let target = Arc::new(Target::new(url, context.client.api_key(), command.i_own_this_host)?);
    target.client().get("/info").await.context("the server does not answer")?;
    let bare = bare.map(|bare| Target::new(&bare.url, None, false)).transpose()?.map(Arc::new);
    let mut bench = Bench {
        command,
        context,
        target,
        bare,
        bare_rates: BTreeMap::new(),
        pid: server.and_then(Spawned::pid).or(command.pid),
        dir: server.and_then(Spawned::dir).map(Path::to_owned).or_else(|| command.dir.clone()),
        queues: Vec::new(),
        rows: Vec::new(),
    };
    note(format!(
        "{} s and {} bytes of payload per row, against {url}",
        command.seconds.duration().as_secs_f64(),
        command.payload
    ));
    let done = bench.scenarios().await;
    if server.is_none() {
        bench.clean().await;
    }
    if !context.out.is_json() && !bench.rows.is_empty() {
        context.out.table(&report::table(&bench.rows))?;
        note(report::LEGEND);
    }
    done?;
    Ok(if bench.rows.iter().any(|row| row.errors > 0) { Exit::Failed } else { Exit::Done })
}

impl Bench<'_> {
    async fn scenarios(&mut self) -> Result<()> {
        let command = self.command;
        let (batch, few) = (command.batch as usize, command.batch_connections);
        if command.wants(Scenario::Durable) {
            self.durable().await?;
        }
        if command.wants(Scenario::Latency) {
            for (name, waiting) in
                [("latency, stream", Waiting::Stream), ("latency, long poll", Waiting::Fetch)]
            {
                let (queue, gate, before) = (self.queue(), self.gate(), self.cpu());
                let run =
                    latency::run(&self.target, waiting, command.rate, &gate, &queue, command.payload).await?;
                self.add(name, 1, run, before, None).await?;
            }
        }
        if command.wants(Scenario::Enqueue) {
            for &count in &command.connections {
                let (queue, gate, before) = (self.queue(), self.gate(), self.cpu());
                let request = enqueue::single(&self.target, &queue, command.payload);
                let run = enqueue::repeat(&self.target, count, &gate, request, 1).await?;
                self.add("enqueue", count, run, before, Some(count)).await?;
            }
        }
        if command.wants(Scenario::EnqueueBatch) {
            let (queue, gate, before) = (self.queue(), self.gate(), self.cpu());
            let request = enqueue::many(&self.target, &queue, command.payload, batch);
            let run = enqueue::repeat(&self.target, few, &gate, request, batch as u64).await?;
            self.add(&format!("enqueue, batches of {batch}"), few, run, before, Some(BARE_CONNECTIONS))
                .await?;
        }
        if command.wants(Scenario::Cycle) {
            for &count in &command.workers {
                let (queue, _) = self.filled(FILL_SINGLE).await?;
                let (gate, before) = (self.gate(), self.cpu());
                let run = cycle::single(&self.target, count, &gate, &queue).await?;
                self.add("fetch + ack", count, run, before, Some(count)).await?;
            }
        }
        if command.wants(Scenario::CycleBatch) {
            let (queue, _) = self.filled(FILL_BATCH).await?;
            let (gate, before) = (self.gate(), self.cpu());
            let run = cycle::batches(&self.target, few, &gate, &queue, batch).await?;
            self.add(&format!("fetch + ack, batches of {batch}"), few, run, before, Some(BARE_CONNECTIONS))
                .await?;
        }
        if command.wants(Scenario::Stream) {
            let (queue, filled) = self.filled(FILL_BATCH).await?;
            let (gate, before) = (self.gate(), self.cpu());
            let run = cycle::streams(&self.target, few, &gate, &queue, filled).await?;
            self.add("stream, batched acks", few, run, before, Some(BARE_CONNECTIONS)).await?;
        }
        if command.wants(Scenario::Mixed) {
            let producers = command.workers.first().copied().unwrap_or(16);
            let (queue, gate, before) = (self.queue(), self.gate(), self.cpu());
            let run = mixed::run(&self.target, producers, producers, &gate, &queue, command.payload).await?;
            self.add("enqueue + fetch + ack", 2 * producers, run, before, Some(BARE_CONNECTIONS)).await?;
        }
        Ok(())
    }

    /// One connection next to the disk, so that the distance between them is measured in one run.
    async fn durable(&mut self) -> Result<()> {
        let dir = self.dir.clone();
        let sync = move || dir.map(|dir| disk::fdatasync(&dir, SYNCS)).transpose();
        let (before_sync, after_sync) = (sync.clone(), sync);
        let mut samples = tokio::task::spawn_blocking(before_sync)
            .await?
            .context("cannot measure the disk")?
            .unwrap_or_default();
        let (queue, gate, before) = (self.queue(), self.gate(), self.cpu());
        let request = enqueue::single(&self.target, &queue, self.command.payload);
        let run = enqueue::repeat(&self.target, 1, &gate, request, 1).await?;
        self.add("durable enqueue", 1, run, before, Some(1)).await?;
        samples.extend(
            tokio::task::spawn_blocking(after_sync)
                .await?
                .context("cannot measure the disk")?
                .unwrap_or_default(),
        );
        let Some(spread) = Spread::of(&mut samples) else {
            note("the disk is not measured: name the server's disk with --dir");
            return Ok(());
        };
        let mut part = Part::default();
        samples.iter().for_each(|us| part.sample(Duration::from_micros(u64::from(*us))));
        let total: u64 = samples.iter().map(|us| u64::from(*us)).sum();
        (part.jobs, part.requests) = (samples.len() as u64, samples.len() as u64);
        if let Some(remark) = disk::remark(&spread) {
            note(remark);
        }
        self.push(Row::new("fdatasync alone", 0, Measured { part, took: Duration::from_micros(total) }, None))
    }

    fn gate(&self) -> Arc<Gate> {
        Gate::new(self.command.seconds.duration(), self.command.jobs)
    }

    fn cpu(&self) -> Option<Duration> {
        self.pid.and_then(cpu::time_of)
    }

    fn queue(&mut self) -> String {
        let queue = queue_name();
        self.queues.push(queue.clone());
        queue
    }

    /// A queue with enough jobs for one row, and how many.
    async fn filled(&mut self, per_second: u64) -> Result<(String, u64)> {
        let queue = self.queue();
        let wanted = (per_second as f64 * self.command.seconds.duration().as_secs_f64()) as u64;
        let wanted = self.command.jobs.unwrap_or(wanted).clamp(1, FILL_MOST);
        let size = wanted.min(1_000);
        let gate = Gate::new(Duration::from_secs(300), Some(wanted));
        let request = enqueue::many(&self.target, &queue, self.command.payload, usize::try_from(size)?);
        let run = enqueue::repeat(&self.target, self.command.batch_connections, &gate, request, size).await?;
        if let Some(error) = run.part.first_error {
            anyhow::bail!("filling a queue failed: {error}");
        }
        Ok((queue, run.part.jobs))
    }

    /// Adds a row; `against` is the number of connections of the bare server that it is compared with.
    async fn add(
        &mut self,
        name: &str,
        connections: usize,
        run: Measured,
        before: Option<Duration>,
        against: Option<usize>,
    ) -> Result<()> {
        let cpu = self.cpu().zip(before).map(|(after, before)| after.saturating_sub(before));
        let mut row = Row::new(name, connections, run, cpu);
        if let Some(against) = against
            && let Some(rate) = self.bare_rate(against).await?
        {
            row.of_bare = Some(row.per_second / rate);
        }
        self.push(row)
    }

    fn push(&mut self, row: Row) -> Result<()> {
        match self.context.out.is_json() {
            true => self.context.out.line(serde_json::to_string(&row)?)?,
            // Something to look at while the rest is measured.
            false => note(format!(
                "  {}, {} connections: {:.0} per second",
                row.scenario, row.connections, row.per_second
            )),
        }
        self.rows.push(row);
        Ok(())
    }

    /// Single enqueues per second that the bare server answers on that many connections; measured once.
    async fn bare_rate(&mut self, connections: usize) -> Result<Option<f64>> {
        let Some(bare) = &self.bare else { return Ok(None) };
        if let Some(rate) = self.bare_rates.get(&connections) {
            return Ok(Some(*rate));
        }
        let request = enqueue::single(bare, "bare", self.command.payload);
        let run = enqueue::repeat(bare, connections, &Gate::new(BARE, None), request, 1).await?;
        let row = Row::new("bare HTTP", connections, run, None);
        let rate = row.per_second;
        self.bare_rates.insert(connections, rate);
        self.push(row)?;
        Ok(Some(rate))
    }

    /// Leaves nothing behind in a server that goes on.
    async fn clean(&self) {
        for queue in &self.queues {
            let call = Call::new("DELETE", format!("/queues/{}?confirm=true", segment(queue)));
            if let Err(e) = self.target.client().send(&call).await
                && e.code() != Some("NOT_FOUND")
            {
                note(format!("{queue} was not removed: {e}"));
            }
        }
    }
}
