// SPDX-License-Identifier: Apache-2.0
//! Many queues with one idle stream each: what a server costs whose workers all wait.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Resource, getrlimit, setrlimit};

use super::super::out::note;
use super::report::{Row, Unit};
use super::session::{Server, Session};
use super::target::{Leased, Line, acks};
use super::{enqueue, goals};
use crate::client::EventStream;

/// Streams are pinged every 15 s, so in this time each is once.
const WATCHED: Duration = Duration::from_secs(15);
/// File descriptors of both sides besides the streams.
const SPARE: u64 = 100;
const SCENARIO: &str = "idle-streams";

/// As many streams as the command says, watched for [`WATCHED`].
pub async fn run(session: &mut Session<'_>) -> Result<()> {
    if !session.command.spawn {
        note("idle-streams needs a server of its own (--spawn): left out");
        return Ok(());
    }
    let count = session.command.streams;
    allow_files(u64::from(count) + SPARE)?;
    let mut server = session.server().await?;
    let streams = open(&mut server, count, session.command.payload).await?;
    server.settle().await;
    let (start, before) = (Instant::now(), server.time());
    tokio::time::sleep(WATCHED).await;
    let (took, after, memory) = (start.elapsed(), server.time(), server.memory());
    let work = |what: &str| format!("{what}, {count} queues with a stream each");
    if let Some((before, after)) = before.zip(after) {
        let percent = after.saturating_sub(before).as_secs_f64() / took.as_secs_f64() * 100.0;
        let row = Row::figure(SCENARIO, work("CPU"), percent, Unit::CorePercent);
        session.push(row.held_to(session.goals(goals::IDLE_CPU)))?;
    }
    if let Some(memory) = memory {
        let mebibytes = memory.resident as f64 / f64::from(1 << 20);
        let row = Row::figure(SCENARIO, work("memory"), mebibytes, Unit::Mebibytes);
        session.push(row.held_to(session.goals(goals::IDLE_MEMORY)))?;
    }
    drop(streams);
    server.close(session.command.keep).await
}

/// Opens the streams, and takes one job on each: the queues exist, and each stream has shown that it delivers.
async fn open(server: &mut Server, count: u32, payload: usize) -> Result<Vec<EventStream>> {
    let mut line = Line::open(&server.target).await?;
    let (mut streams, mut ack, mut body) = (Vec::new(), Vec::new(), Vec::new());
    for i in 0..count {
        let queue = server.queue();
        let path = format!("/stream?queues={queue}&worker_id=bench-{i}&prefetch=16");
        let mut stream = server.target.client().stream(&path, None).await?;
        if !line.send(&enqueue::single(&server.target, &queue, payload)).await? {
            bail!("an enqueue was refused: {}", line.part.first_error.unwrap_or_default());
        }
        let job = loop {
            let event = stream.next().await?.context("the server ended a stream")?;
            if event.name == "job" {
                break event.data;
            }
        };
        let job: Leased<'_> = serde_json::from_str(&job)?;
        acks([(&*job.job_id, &*job.lease_token)].into_iter(), &mut body);
        server.target.write(&mut ack, &["/ack/batch"], &body);
        if !line.send(&ack).await? {
            bail!("an ack was refused: {}", line.part.first_error.unwrap_or_default());
        }
        streams.push(stream);
    }
    Ok(streams)
}

/// Raises the number of files that this process and the server that it starts may open.
fn allow_files(wanted: u64) -> Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    let allowed = |limit: Option<u64>| limit.is_none_or(|limit| limit >= wanted);
    if allowed(limit.current) {
        return Ok(());
    }
    if !allowed(limit.maximum) {
        bail!("this many streams need {wanted} open files, and the hard limit is lower (ulimit -Hn)");
    }
    limit.current = Some(wanted);
    setrlimit(Resource::Nofile, limit).context("cannot raise the limit of open files")
}
