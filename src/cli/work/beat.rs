// SPDX-License-Identifier: Apache-2.0
//! Heartbeats: one call for all running jobs every third of a lease. It carries what the children have saved, and
//! brings back who is cancelled and whose lease is gone. A lease lasts from when the beat was *sent*: when the server
//! heard it is not known, but not before that.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use serde_json::value::RawValue;
use tokio::time::Instant;

use super::super::body::Body;
use super::super::heartbeat::Beats;
use super::Worker;
use super::job::Leased;
use super::registry::Stop;
use crate::client::{Call, Error};

/// A heartbeat that takes longer than this is tried again rather than waited for.
const LONGEST_CALL: Duration = Duration::from_secs(10);

/// Beats until the task is aborted.
pub async fn run(worker: Arc<Worker>) {
    let every = worker.lease / 3;
    // Two tries fit into the third that is left after a beat was missed.
    let again = (every / 4).min(Duration::from_secs(1));
    let mut next = Instant::now() + every;
    loop {
        tokio::time::sleep_until(next).await;
        next = Instant::now() + every;
        if let Err(e) = beat(&worker, every.min(LONGEST_CALL)).await {
            worker.log.say(&format!("heartbeat: {e}"));
            if e.is_passing() {
                next = Instant::now() + again;
            }
        }
    }
}

async fn beat(worker: &Worker, timeout: Duration) -> Result<(), Error> {
    let beats = worker.registry.beats();
    if beats.is_empty() {
        return Ok(());
    }
    let (mut jobs, mut tokens, mut saved) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
    for (id, token, checkpoint) in beats {
        let json = checkpoint.lock().unwrap_or_else(PoisonError::into_inner).changed();
        jobs.insert(id.clone(), beat_of(&token, json.as_deref())?);
        if let Some(json) = json {
            saved.push((checkpoint, json));
        }
        tokens.insert(id, token);
    }
    let mut call = Call::post("/heartbeat", &body(worker, &jobs)?)?;
    call.timeout = timeout;
    let mut sent = Instant::now();
    let answer = match worker.client.send(&call).await {
        // One bad checkpoint must not cost every job its lease.
        Err(Error::Refused(r)) if matches!(r.status, 400 | 413) && !saved.is_empty() => {
            worker.log.say(&format!("a checkpoint was refused: {} [{}]", r.sentence, r.code));
            for (id, token) in &tokens {
                jobs.insert(id.clone(), beat_of(token, None)?);
            }
            let mut call = Call::post("/heartbeat", &body(worker, &jobs)?)?;
            call.timeout = timeout;
            sent = Instant::now();
            worker.client.send(&call).await?
        }
        answer => answer?,
    };
    for (checkpoint, json) in saved {
        checkpoint.lock().unwrap_or_else(PoisonError::into_inner).sent = Some(json);
    }
    let said: Beats = answer.json()?;
    for (id, beat) in &said.jobs {
        let Some(token) = tokens.get(id) else { continue };
        match beat.status.as_str() {
            "lost" => worker.registry.stop(id, token, Stop::Lost),
            status => {
                worker.registry.extend(id, token, sent + worker.lease);
                if status == "cancel" {
                    worker.registry.stop(id, token, Stop::Cancelled);
                }
            }
        }
    }
    Ok(())
}

/// Until when jobs are ours that were asked for at `asked`, and which of them still are. Such a lease may have begun
/// at any time since; after a long poll or a repeated one it is extended first, so that its end is known.
pub async fn confirm(worker: &Worker, jobs: &mut Vec<Leased>, asked: Instant) -> Instant {
    if jobs.is_empty() || asked.elapsed() <= worker.lease / 3 {
        return asked + worker.lease;
    }
    let sent = Instant::now();
    let extended = async {
        let beats = jobs.iter().map(|job| Ok((job.job_id.clone(), beat_of(&job.lease_token, None)?)));
        let beats = beats.collect::<Result<BTreeMap<String, Body>, Error>>()?;
        let mut call = Call::post("/heartbeat", &body(worker, &beats)?)?;
        call.timeout = (worker.lease / 3).min(LONGEST_CALL);
        worker.client.send(&call).await?.json::<Beats>()
    };
    match extended.await {
        Ok(said) => {
            jobs.retain(|job| {
                let is_lost = said.jobs.get(&job.job_id).is_some_and(|beat| beat.status == "lost");
                if is_lost {
                    worker.tally.count(&worker.tally.other);
                    worker.log.say(&format!("{} lost before it was started", job.job_id));
                }
                !is_lost
            });
            sent + worker.lease
        }
        Err(e) => {
            worker.log.say(&format!("heartbeat: {e}"));
            asked + worker.lease
        }
    }
}

/// Saves the checkpoint of one job that is about to be released, which cannot carry one itself. Best effort.
pub async fn save(worker: &Worker, id: &str, token: &str, checkpoint: &RawValue) -> Result<(), Error> {
    let jobs = BTreeMap::from([(id.to_owned(), beat_of(token, Some(checkpoint))?)]);
    worker.client.send(&Call::post("/heartbeat", &body(worker, &jobs)?)?).await.map(drop)
}

fn body(worker: &Worker, jobs: &BTreeMap<String, Body>) -> Result<Body, Error> {
    let mut body = Body::default();
    built(body.set("worker_id", &worker.id))?;
    built(body.set("jobs", jobs))?;
    Ok(body)
}

fn beat_of(token: &str, checkpoint: Option<&RawValue>) -> Result<Body, Error> {
    let mut beat = Body::default();
    built(beat.set("lease_token", &token))?;
    built(beat.opt("checkpoint", checkpoint.as_ref()))?;
    Ok(beat)
}

fn built<T>(done: anyhow::Result<T>) -> Result<(), Error> {
    done.map(drop).map_err(|e| Error::Nonsense(e.to_string()))
}
