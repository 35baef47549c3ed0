// SPDX-License-Identifier: Apache-2.0
//! The order of things: start what is to be started, one scenario after the other, stop what was started.

use anyhow::{Context as _, Result};
use tokio::signal::unix::{SignalKind, signal};

use super::super::Context;
use super::super::exit::Exit;
use super::super::out::{Format, Out, note};
use super::latency::Waiting;
use super::mixed::Workers;
use super::report::{self, Row};
use super::session::{BARE_CONNECTIONS, Existing, Session};
use super::spawn::Spawned;
use super::{Command, Scenario, cycle, depth, disk, enqueue, goals, idle_streams, latency, mixed, stream};

/// Jobs per second that a row can be expected not to exceed on a small machine, singly and in batches: as many are
/// put into the queue before fetching is measured. A row that empties its queue ends there and stays correct.
const FILL_SINGLE: u64 = 40_000;
const FILL_BATCH: u64 = 200_000;
/// Producers of mixed loads, and workers.
const PRODUCERS: usize = 16;
/// Jobs on the way to a worker in the mixed load with streams.
const PREFETCH: usize = 100;
/// From this share of the cores' time on, others disturb a row more than it varies by itself.
const DISTURBED: f64 = 0.05;

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
    let bare = match command.no_bare {
        true => None,
        false => Some(
            Spawned::bare().await.context("cannot start the bare HTTP server (--no-bare does without)")?,
        ),
    };
    let out = if command.json { Out::new(Format::Json) } else { context.out };
    let existing =
        Existing { url: context.client.base().url(), api_key: context.client.api_key().map(str::to_owned) };
    let mut session = Session::begin(command, out, existing, bare.as_ref()).await?;
    let done = scenarios(&mut session).await;
    if let Some(bare) = bare {
        bare.stop(false).await?;
    }
    let rows = session.rows;
    if !out.is_json() && !rows.is_empty() {
        out.line("")?;
        out.table(&report::table(&rows))?;
        note(report::LEGEND);
        let worst = rows.iter().filter_map(|row| row.others_cpu_share).fold(0.0, f64::max);
        if worst > DISTURBED {
            note(format!(
                "warning: other processes used up to {:.0} % of the cores during a row: it is slower than it should be",
                worst * 100.0
            ));
        }
    }
    done?;
    let is_bad = rows.iter().any(|row| row.errors > 0 || (command.check && !row.is_good()));
    Ok(if is_bad { Exit::Failed } else { Exit::Done })
}

async fn scenarios(session: &mut Session<'_>) -> Result<()> {
    for scenario in session.command.wanted() {
        match scenario {
            Scenario::Durable => durable(session).await,
            Scenario::Latency => latencies(session).await,
            Scenario::Enqueue => enqueues(session).await,
            Scenario::EnqueueBatch => enqueue_batches(session).await,
            Scenario::Cycle => cycles(session).await,
            Scenario::CycleBatch => cycle_batches(session).await,
            Scenario::Stream => streams(session).await,
            Scenario::Mixed => mixed_load(session, "mixed", Workers::Single).await,
            Scenario::MixedStream => mixed_load(session, "mixed-stream", Workers::Streams(PREFETCH)).await,
            Scenario::Depth => depth::run(session).await,
            Scenario::IdleStreams => idle_streams::run(session).await,
        }
        .with_context(|| format!("scenario {}", scenario.name()))?;
    }
    Ok(())
}

/// One connection next to the disk, so that the distance between them is measured in one run.
async fn durable(session: &mut Session<'_>) -> Result<()> {
    let dir = session.dir();
    let sync = async || match &dir {
        Some(dir) => disk::spread(dir).await,
        None => Ok(None),
    };
    let mut server = session.server().await?;
    let queue = server.queue();
    let first = sync().await?;
    let before = session.before(&server, None).await?;
    let request = enqueue::single(&server.target, &queue, session.command.payload);
    let run = enqueue::repeat(&server.target, 1, &session.gate(), request, 1).await?;
    let row = Row::latency("durable", "enqueue, one at a time", 1, run);
    let row = session.after(&server, before, row).await?;
    let second = sync().await?;
    let floor = first.zip(second).map(|(a, b)| f64::from(a.p50_us + b.p50_us) / 2e3);
    if floor.is_none() {
        note("the disk is not measured: name the server's disk with --dir");
    }
    session.durable_ms = Some(row.figure);
    session.push(row.against("fdatasync", floor).held_to(session.goals(goals::DURABLE)))?;
    server.close(session.command.keep).await
}

async fn latencies(session: &mut Session<'_>) -> Result<()> {
    if session.durable_ms.is_none() {
        durable(session).await?;
    }
    for (work, waiting, held_to) in [
        ("idle enqueue to stream, HTTP/1.1", Waiting::Stream, goals::LATENCY),
        ("idle enqueue to stream, h2c", Waiting::Http2, goals::LATENCY),
        ("idle enqueue to long poll", Waiting::Fetch, &[]),
    ] {
        let (rate, payload) = (session.command.rate, session.command.payload);
        let mut server = session.server().await?;
        let queue = server.queue();
        let before = session.before(&server, None).await?;
        let run = latency::run(&server.target, waiting, rate, &session.gate(), &queue, payload).await?;
        let row = Row::latency("latency", format!("{work}, {rate}/s"), 1, run);
        let row = session.after(&server, before, row).await?;
        let row = row.against("durable", session.durable_ms).held_to(session.goals(held_to));
        session.push(row)?;
        server.close(session.command.keep).await?;
    }
    Ok(())
}

async fn enqueues(session: &mut Session<'_>) -> Result<()> {
    for &count in &session.command.connections {
        let mut server = session.server().await?;
        let queue = server.queue();
        let before = session.before(&server, Some(count)).await?;
        let request = enqueue::single(&server.target, &queue, session.command.payload);
        let run = enqueue::repeat(&server.target, count, &session.gate(), request, 1).await?;
        let row = Row::rate("enqueue", "enqueue", count, run);
        let row = session.after(&server, before, row).await?;
        session.push(row.held_to(session.goals(goals::enqueue(count))))?;
        server.close(session.command.keep).await?;
    }
    Ok(())
}

async fn enqueue_batches(session: &mut Session<'_>) -> Result<()> {
    let (batch, few) = (session.command.batch, session.command.batch_connections);
    let mut server = session.server().await?;
    let queue = server.queue();
    let before = session.before(&server, Some(BARE_CONNECTIONS)).await?;
    let request = enqueue::many(&server.target, &queue, session.command.payload, batch as usize);
    let run = enqueue::repeat(&server.target, few, &session.gate(), request, u64::from(batch)).await?;
    let row = Row::rate("enqueue-batch", format!("enqueue, batches of {batch}"), few, run);
    let row = session.after(&server, before, row).await?;
    session.push(row.held_to(session.goals(goals::ENQUEUE_BATCH)))?;
    server.close(session.command.keep).await
}

async fn cycles(session: &mut Session<'_>) -> Result<()> {
    let mut rates: Vec<(usize, f64)> = Vec::new();
    for &count in &session.command.workers {
        let mut server = session.server().await?;
        let (queue, _) = session.filled(&mut server, FILL_SINGLE).await?;
        let before = session.before(&server, Some(count)).await?;
        let run = cycle::single(&server.target, count, &session.gate(), &queue).await?;
        let row = Row::rate("cycle", "fetch + ack", count, run);
        let row = session.after(&server, before, row).await?;
        rates.push((count, row.figure));
        session.push(row.held_to(session.goals(goals::cycle(count))))?;
        server.close(session.command.keep).await?;
    }
    // More workers must not make it slower: rates are compared with those of fewer workers in the same run.
    for pair in rates.windows(2) {
        let [(few, slow), (many, fast)] = pair else { continue };
        let row =
            Row::figure("cycle", format!("fetch + ack, {many} workers"), *fast, report::Unit::JobsPerSecond);
        let row = row.against(format!("{few} workers"), Some(*slow));
        session.push(row.held_to(session.goals(goals::MORE_WORKERS)))?;
    }
    Ok(())
}

async fn cycle_batches(session: &mut Session<'_>) -> Result<()> {
    let (batch, few) = (session.command.batch, session.command.batch_connections);
    let mut server = session.server().await?;
    let (queue, _) = session.filled(&mut server, FILL_BATCH).await?;
    let before = session.before(&server, Some(BARE_CONNECTIONS)).await?;
    let run = cycle::batches(&server.target, few, &session.gate(), &queue, batch as usize).await?;
    let row = Row::rate("cycle-batch", format!("fetch + ack, batches of {batch}"), few, run);
    let row = session.after(&server, before, row).await?;
    session.push(row.held_to(session.goals(goals::CYCLE_BATCH)))?;
    server.close(session.command.keep).await
}

async fn streams(session: &mut Session<'_>) -> Result<()> {
    let few = session.command.batch_connections;
    let mut server = session.server().await?;
    let (queue, filled) = session.filled(&mut server, FILL_BATCH).await?;
    let before = session.before(&server, Some(BARE_CONNECTIONS)).await?;
    let run = stream::run(&server.target, few, &session.gate(), &queue, filled).await?;
    let row = Row::rate("stream", "stream, batched acks", few, run);
    let row = session.after(&server, before, row).await?;
    session.push(row.held_to(session.goals(goals::CYCLE_BATCH)))?;
    server.close(session.command.keep).await
}

async fn mixed_load(session: &mut Session<'_>, name: &'static str, workers: Workers) -> Result<()> {
    let payload = session.command.payload;
    let (work, goals) = match workers {
        Workers::Single => (format!("{PRODUCERS} producers, {PRODUCERS} workers, single"), goals::MIXED),
        Workers::Streams(prefetch) => {
            (format!("{PRODUCERS} producers, {PRODUCERS} streams, prefetch {prefetch}"), goals::MIXED_STREAM)
        }
    };
    for keep_pace in [true, false] {
        let mut server = session.server().await?;
        let queue = server.queue();
        let before = session.before(&server, Some(BARE_CONNECTIONS)).await?;
        let gate = session.gate();
        let run = mixed::run(&server.target, PRODUCERS, workers, keep_pace, &gate, &queue, payload).await?;
        // Only the load in balance is held to anything: the other one shows what is left when nobody waits.
        let (work, held_to) =
            if keep_pace { (work.clone(), goals) } else { (format!("{work}, unpaced"), &[][..]) };
        let row = session.after(&server, before, Row::rate(name, work, 2 * PRODUCERS, run)).await?;
        session.push(row.held_to(session.goals(held_to)))?;
        server.close(session.command.keep).await?;
    }
    Ok(())
}
