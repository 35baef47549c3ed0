// SPDX-License-Identifier: Apache-2.0
//! A deep queue: what filling it reaches, what memory it takes, whether work over it is as fast as over a short one, and
//! how soon a server that was killed delivers again.

use std::time::Instant;

use anyhow::{Context as _, Result, bail};

use super::super::out::note;
use super::report::{Row, Unit, grouped};
use super::session::{Server, Session};
use super::target::Line;
use super::{goals, steady};

/// The depth that rates are compared with: more than the connections, so that no fetch finds the queue empty.
const SHORT: u64 = 1_000;
/// Connections of the single calls.
const CONNECTIONS: usize = 64;
const SCENARIO: &str = "depth";

/// Rates at one depth.
#[derive(Clone, Copy)]
struct Rates {
    single: f64,
    batches: f64,
}

/// All depths on one server, from the short one up.
pub async fn run(session: &mut Session<'_>) -> Result<()> {
    if !session.command.spawn {
        note("depth needs a server of its own (--spawn): left out");
        return Ok(());
    }
    let mut depths = session.command.queued.clone();
    depths.sort_unstable();
    let mut server = session.server().await?;
    let queue = server.queue();
    session.fill(&server, &queue, SHORT).await?;
    let (mut filled, mut first_memory) = (SHORT, None);
    let short = rates(session, &server, &queue, SHORT, None).await?;
    for depth in depths {
        let missing = depth.saturating_sub(filled);
        if missing > 0 {
            let run = session.fill(&server, &queue, missing).await?;
            filled += run.part.jobs;
            let connections = session.command.batch_connections;
            session.push(Row::rate(SCENARIO, format!("fill to {}", jobs(depth)), connections, run))?;
        }
        server.settle().await;
        memory(session, &server, depth, &mut first_memory)?;
        rates(session, &server, &queue, depth, Some(short)).await?;
        restart(session, &mut server, &queue, depth).await?;
    }
    server.close(session.command.keep).await
}

async fn rates(
    session: &mut Session<'_>,
    server: &Server,
    queue: &str,
    depth: u64,
    short: Option<Rates>,
) -> Result<Rates> {
    let (payload, batch) = (session.command.payload, session.command.batch as usize);
    let mut figures = [0.0; 2];
    for (i, (work, connections, count, against)) in [
        ("cycle, single", CONNECTIONS, 1, short.map(|short| short.single)),
        ("cycle, batches", session.command.batch_connections, batch, short.map(|short| short.batches)),
    ]
    .into_iter()
    .enumerate()
    {
        let before = session.before(server, None).await?;
        let run = steady::run(&server.target, connections, &session.gate(), queue, payload, count).await?;
        let row = Row::rate(SCENARIO, format!("{work}, {} queued", jobs(depth)), connections, run);
        let row =
            session.after(server, before, row).await?.against(format!("{} queued", jobs(SHORT)), against);
        figures[i] = row.figure;
        session.push(row.held_to(session.goals(goals::DEPTH_RATE)))?;
    }
    Ok(Rates { single: figures[0], batches: figures[1] })
}

fn memory(
    session: &mut Session<'_>,
    server: &Server,
    depth: u64,
    first: &mut Option<(u64, f64)>,
) -> Result<()> {
    let Some(memory) = server.memory() else { return Ok(()) };
    let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let resident = mebibytes(memory.resident);
    let row = Row::figure(SCENARIO, format!("memory, {} queued", jobs(depth)), resident, Unit::Mebibytes);
    let row = match first {
        Some((depth, first)) => row
            .against(format!("{} queued", jobs(*depth)), Some(*first))
            .held_to(session.goals(goals::MEMORY_DEEPER)),
        None => row.held_to(session.goals(goals::MEMORY)),
    };
    first.get_or_insert((depth, resident));
    session.push(row)?;
    let peak = format!("peak memory, {} queued", jobs(depth));
    session.push(Row::figure(SCENARIO, peak, mebibytes(memory.peak), Unit::Mebibytes))
}

/// From the signal to the job: the start of the process, opening, applying what the state had not seen, listening.
async fn restart(session: &mut Session<'_>, server: &mut Server, queue: &str, depth: u64) -> Result<()> {
    let start = Instant::now();
    server.kill_and_start_again().await?;
    let listening = start.elapsed();
    let mut line = Line::open(&server.target).await?;
    let body =
        format!(r#"{{"queues":["{queue}"],"worker_id":"bench-first","hostname":"bench","timeout":60}}"#);
    let fetch = server.target.request("/fetch", body.as_bytes());
    if !line.send(&fetch).await.context("the first fetch")? || line.body.is_empty() {
        bail!("no job came from the server that was started again");
    }
    let row = |work: &str, seconds: f64| {
        Row::figure(SCENARIO, format!("{work}, {} queued", jobs(depth)), seconds, Unit::Seconds)
    };
    session.push(row("SIGKILL to listening", listening.as_secs_f64()))?;
    let first = row("SIGKILL to first delivery", start.elapsed().as_secs_f64());
    session.push(first.held_to(session.goals(goals::RESTART)))
}

/// `1 M`, `1 k`, `1,234`.
fn jobs(count: u64) -> String {
    match count {
        _ if count > 0 && count.is_multiple_of(1_000_000) => format!("{} M", count / 1_000_000),
        _ if count > 0 && count.is_multiple_of(1_000) => format!("{} k", count / 1_000),
        _ => grouped(count as f64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depths_are_readable() {
        assert_eq!([1_000, 5_000_000, 1_234, 0].map(jobs), ["1 k", "5 M", "1,234", "0"]);
    }
}
