// SPDX-License-Identifier: Apache-2.0
//! The rows of a system, in the order of `jobbie bench`, as a table in Markdown.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::load::{Load, Role, idle, run};
use super::peer::{Peer, Running};
use super::{Arguments, bare::Bare, disk};

/// What batches and mixed loads are compared with.
const BARE_CONNECTIONS: usize = 64;
/// The bare server is measured for this long before a row and again after it.
const BARE: Duration = Duration::from_secs(1);
/// Connections of batches, and jobs in one.
const FEW: usize = 4;
const BATCH: usize = 100;
/// What a queue is filled with for each second that it is emptied, singly and in batches.
const SINGLE_RATE: u64 = 60_000;
const BATCH_RATE: u64 = 400_000;
/// The deep queue is filled for no longer than this: a system that syncs every job by itself takes minutes for a million.
const FILLING: Duration = Duration::from_secs(60);

/// Measures a system.
pub async fn all<P: Peer>(arguments: &Arguments, bare: &Running<Bare>) -> Result<()> {
    println!("\n{}\n", P::NAME);
    println!("| work | connections | jobs/s | of bare | p50 ms | p99 ms | server CPU µs per job | left |");
    println!("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    let mut sync = disk::fdatasync(&arguments.dir)?;
    sync.sort_unstable();
    let (p50, p99) = (sync[sync.len() / 2], sync[sync.len() * 99 / 100]);
    println!(
        "| fdatasync alone | | | | {:.2} | {:.2} | | |",
        p50.as_secs_f64() * 1e3,
        p99.as_secs_f64() * 1e3
    );

    let time = arguments.time;
    row::<P>(arguments, bare, "enqueue", &[Role::Produce(1)], 0).await?;
    row::<P>(arguments, bare, "enqueue", &[Role::Produce(1); 64], 0).await?;
    row::<P>(arguments, bare, "enqueue, batches of 100", &[Role::Produce(BATCH); FEW], 0).await?;
    let single = SINGLE_RATE * time.as_secs().max(1);
    row::<P>(arguments, bare, "fetch + ack", &[Role::Drain(1); 16], single).await?;
    row::<P>(arguments, bare, "fetch + ack", &[Role::Drain(1); 64], single).await?;
    let many = BATCH_RATE * time.as_secs().max(1);
    row::<P>(arguments, bare, "fetch + ack, batches of 100", &[Role::Drain(BATCH); FEW], many).await?;
    let mixed = [[Role::Produce(1); 16], [Role::Work; 16]].concat();
    row::<P>(arguments, bare, "16 producers, 16 workers, single", &mixed, 0).await?;

    let running = Running::<P>::start(&arguments.dir).await?;
    P::prepare(running.port, "idle").await?;
    let load = idle(&running, "idle", time).await?;
    print("idle enqueue to waiting worker, 200/s", 1, None, None, &load, None);
    drop(running);
    deep::<P>(arguments).await
}

/// One row on a server of its own.
async fn row<P: Peer>(
    arguments: &Arguments,
    bare: &Running<Bare>,
    work: &str,
    roles: &[Role],
    filled: u64,
) -> Result<()> {
    let running = Running::<P>::start(&arguments.dir).await?;
    P::prepare(running.port, "q").await?;
    if filled > 0 {
        run(&running, "q", &[Role::Produce(BATCH); FEW], arguments.time * 4, filled).await?;
    }
    // A cycle has two requests, but its rate is still compared with one of the bare server, as in `jobbie bench`.
    let alone = if roles.iter().all(|role| matches!(role, Role::Produce(1) | Role::Drain(1))) {
        roles.len()
    } else {
        BARE_CONNECTIONS
    };
    let first = bare_rate(bare, alone).await?;
    let before = running.time();
    let (load, took) = run(&running, "q", roles, arguments.time, u64::MAX).await?;
    let cpu = running.time().zip(before).map(|(now, then)| now.saturating_sub(then));
    let second = bare_rate(bare, alone).await?;
    let rate = load.jobs.get() as f64 / took.as_secs_f64();
    print(work, roles.len(), Some(rate), Some(rate * 2.0 / (first + second)), &load, cpu);
    Ok(())
}

async fn bare_rate(bare: &Running<Bare>, connections: usize) -> Result<f64> {
    let (load, took) = run(bare, "bare", &vec![Role::Produce(1); connections], BARE, u64::MAX).await?;
    Ok(load.jobs.get() as f64 / took.as_secs_f64())
}

fn print(
    work: &str,
    connections: usize,
    rate: Option<f64>,
    of_bare: Option<f64>,
    load: &Load,
    cpu: Option<Duration>,
) {
    let jobs = load.jobs.get();
    let left = match load.produced.get() {
        made if made > 0 && made != jobs => made.saturating_sub(jobs).to_string(),
        _ => String::new(),
    };
    let (p50, p99) = load
        .spread()
        .map_or((String::new(), String::new()), |(p50, p99)| (format!("{p50:.2}"), format!("{p99:.2}")));
    let rate = rate.map_or(String::new(), |rate| format!("{rate:.0}"));
    let of_bare = of_bare.map_or(String::new(), |ratio| format!("{ratio:.2}"));
    let cpu = cpu.map_or(String::new(), |cpu| format!("{:.1}", cpu.as_micros() as f64 / jobs.max(1) as f64));
    println!("| {work} | {connections} | {rate} | {of_bare} | {p50} | {p99} | {cpu} | {left} |");
}

/// Memory with a deep queue, and the first job after SIGKILL.
async fn deep<P: Peer>(arguments: &Arguments) -> Result<()> {
    let mut running = Running::<P>::start(&arguments.dir).await?;
    P::prepare(running.port, "deep").await?;
    let (load, _) = run(&running, "deep", &[Role::Produce(BATCH); FEW], FILLING, arguments.queued).await?;
    let memory = running.memory().context("no memory")?;
    let start = Instant::now();
    running.kill_and_start_again()?;
    running.answering().await?;
    // It may listen before it has read its data; whoever asks too early is told so in different ways.
    while !delivers(&running).await {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "\n{} jobs queued: {memory:.0} MiB resident; SIGKILL to first delivery {seconds:.2} s",
        load.jobs.get()
    );
    Ok(())
}

async fn delivers<P: Peer>(running: &Running<P>) -> bool {
    let Ok(mut peer) = P::connect(running.port, "deep", 0).await else { return false };
    matches!(peer.fetch(1, false).await, Ok(1))
}
