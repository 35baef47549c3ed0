// SPDX-License-Identifier: Apache-2.0
//! Telling the server how a job ended, until it is known that it knows. Repeating is safe: the lease token makes the
//! second call a no-op with the same answer.

use std::sync::PoisonError;
use std::time::Duration;

use anyhow::Result;

use super::super::body::Body;
use super::super::when::Span;
use super::backoff::Backoff;
use super::registry::Entry;
use super::signals::Phase;
use super::verdict::Verdict;
use super::{Worker, beat};
use crate::client::{Call, Error, segment};

/// One try while the server may be restarting; the lease is kept alive meanwhile.
const CALL: Duration = Duration::from_secs(10);
/// How long the end of a worker waits for a server that does not answer. After it the lease runs out by itself.
const AT_THE_END: Duration = Duration::from_secs(10);

/// What became of it.
#[derive(Debug, PartialEq, Eq)]
pub enum Settled {
    /// The server knows.
    Known,
    /// The lease was gone: somebody else has the job.
    Lost,
    /// The server refused for another reason; its words.
    Refused(String),
    /// The worker had to leave before the server answered.
    Unknown,
}

/// Tells the server.
pub async fn settle(
    worker: &Worker,
    entry: &Entry<'_>,
    id: &str,
    token: &str,
    verdict: &Verdict,
) -> Result<Settled> {
    let checkpoint = entry.checkpoint.lock().unwrap_or_else(PoisonError::into_inner).changed();
    let mut body = Body::default();
    body.set("lease_token", &token)?;
    let verb = match verdict {
        Verdict::Nothing => return Ok(Settled::Lost),
        Verdict::Ack { result } => {
            body.opt("result", result.as_ref())?.opt("checkpoint", checkpoint.as_ref())?;
            "ack"
        }
        Verdict::Fail { error, backtrace, retry } => {
            body.set("error", error)?
                .opt("backtrace", backtrace.as_ref())?
                .opt("retry", (!retry).then_some(false).as_ref())?
                .opt("checkpoint", checkpoint.as_ref())?;
            "fail"
        }
        Verdict::Release { delay } => {
            if let Some(checkpoint) = checkpoint
                && let Err(e) = beat::save(worker, id, token, &checkpoint).await
            {
                worker.log.say(&format!("{id}: its checkpoint was not saved: {e}"));
            }
            body.span("delay", delay.map(Span::from))?;
            "release"
        }
    };
    let settled = until_known(worker, verb, id, &body).await?;
    let Settled::Refused(why) = &settled else { return Ok(settled) };
    // How it ended counts. That what came with it cannot be stored is no reason to leave the job to its lease.
    let mut bare = Body::default();
    bare.set("lease_token", &token)?;
    match verdict {
        Verdict::Ack { .. } => {
            worker.log.say(&format!("{id}: completed without its result, which was refused: {why}"));
        }
        Verdict::Fail { error, retry, .. } => {
            worker.log.say(&format!("{id}: failed without its backtrace, which was refused: {why}"));
            bare.set("error", error)?.opt("retry", (!retry).then_some(false).as_ref())?;
        }
        Verdict::Release { .. } | Verdict::Nothing => return Ok(settled),
    }
    until_known(worker, verb, id, &bare).await
}

/// Gives back a job that was never started. Best effort.
pub async fn release(worker: &Worker, id: &str, token: &str, delay: Option<Duration>) -> Result<Settled> {
    let mut body = Body::default();
    body.set("lease_token", &token)?.span("delay", delay.map(Span::from))?;
    until_known(worker, "release", id, &body).await
}

async fn until_known(worker: &Worker, verb: &str, id: &str, body: &impl serde::Serialize) -> Result<Settled> {
    let mut call = Call::post(format!("/{verb}/{}", segment(id)), body)?;
    call.timeout = CALL;
    let mut backoff = Backoff::default();
    let give_up = async {
        worker.reached(Phase::Releasing).await;
        tokio::select! {
            () = tokio::time::sleep(AT_THE_END) => {}
            () = worker.reached(Phase::Gone) => {}
        }
    };
    let tries = async {
        loop {
            let error = match worker.client.send(&call).await {
                Ok(_) => return Settled::Known,
                Err(Error::Refused(r)) if r.code == "LEASE_LOST" || r.code == "NOT_FOUND" => {
                    return Settled::Lost;
                }
                // A job that has ended in another way meanwhile: cancelled, deleted, settled by hand.
                Err(Error::Refused(r)) if r.code == "CONFLICT" => return Settled::Lost,
                Err(error) if error.is_passing() => error,
                Err(error) => return Settled::Refused(error.to_string()),
            };
            if backoff.tries() == 0 {
                worker.log.say(&format!("{id}: {verb} not answered, repeating: {error}"));
            }
            if worker.phase() >= Phase::Killing {
                return Settled::Unknown;
            }
            tokio::time::sleep(error.retry_after().unwrap_or(Duration::ZERO).min(CALL).max(backoff.next()))
                .await;
        }
    };
    Ok(tokio::select! {
        settled = tries => settled,
        () = give_up => Settled::Unknown,
    })
}
