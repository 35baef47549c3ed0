// SPDX-License-Identifier: Apache-2.0
//! Waiting for a job to end, for `enqueue --wait` and `jobs wait`: long polls, one after the other.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::Context;
use super::exit::Exit;
use super::out::note;
use crate::client::{Answer, Call, segment};

/// One long poll. The server allows 60 s; proxies on the way often less.
const POLL: Duration = Duration::from_secs(25);

#[derive(Deserialize)]
struct Job {
    state: String,
    reason: Option<String>,
    result: Option<Box<RawValue>>,
    errors: Option<Vec<Attempt>>,
}

#[derive(Deserialize)]
struct Attempt {
    error: Option<String>,
}

/// Waits until the job is completed, dead or cancelled, and prints it: the whole job as JSON, or its result.
/// A job that did not complete is exit code 1, a wait that ran out is 4.
pub async fn until_done(context: &Context, id: &str, limit: Option<Duration>) -> Result<Exit> {
    let deadline = limit.map(|limit| Instant::now() + limit);
    loop {
        let left = deadline.map_or(POLL, |d| d.saturating_duration_since(Instant::now()));
        let wait = left.min(POLL);
        let path = format!("/jobs/{}/wait?timeout={}ms", segment(id), wait.as_millis());
        let answer = context.client.send_repeatable(&Call::new("GET", path).waiting(wait)).await?;
        if let Some(exit) = ended(context, id, &answer)? {
            return Ok(exit);
        }
        if deadline.is_some_and(|d| Instant::now() >= d) {
            note(format!("jobbie: {id} has not ended yet"));
            return Ok(Exit::Nothing);
        }
    }
}

fn ended(context: &Context, id: &str, answer: &Answer) -> Result<Option<Exit>> {
    if answer.body.is_empty() {
        return Ok(None);
    }
    let job: Job = answer.json()?;
    let is_completed = job.state == "completed";
    if !is_completed && job.state != "dead" && job.state != "cancelled" {
        return Ok(None);
    }
    if context.out.is_json() {
        context.out.line(&answer.body)?;
    } else if let Some(result) = job.result.filter(|_| is_completed) {
        context.out.line(result.get())?;
    }
    if is_completed {
        return Ok(Some(Exit::Done));
    }
    let reason = job.reason.map(|r| format!(" ({r})")).unwrap_or_default();
    let error = job.errors.and_then(|mut all| all.pop()).and_then(|last| last.error);
    let error = error.map(|e| format!(": {}", super::out::clean(&e))).unwrap_or_default();
    note(format!("jobbie: {id} is {}{reason}{error}", job.state));
    Ok(Some(Exit::Failed))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::super::out::{Format, Out};
    use super::*;
    use crate::client::testing::{Fake, Reply};

    async fn wait_for(answers: &'static [&'static str], limit: Option<Duration>) -> (Exit, usize) {
        let count = AtomicUsize::new(0);
        let fake = Fake::start(move |_| {
            let n = count.fetch_add(1, Ordering::SeqCst).min(answers.len() - 1);
            Reply::Json(200, answers[n].to_owned())
        })
        .await;
        let context = Context { client: fake.client(), out: Out::new(Format::Json) };
        (until_done(&context, "j", limit).await.unwrap(), fake.asked().len())
    }

    #[tokio::test]
    async fn polls_until_the_job_ends() {
        let done = wait_for(&[r#"{"state":"active"}"#, r#"{"state":"completed","result":1}"#], None).await;
        assert_eq!(done, (Exit::Done, 2));
        let dead = wait_for(&[r#"{"state":"dead","reason":"failed","errors":[{"error":"x"}]}"#], None).await;
        assert_eq!(dead, (Exit::Failed, 1));
        let late = wait_for(&[r#"{"state":"pending"}"#], Some(Duration::ZERO)).await;
        assert_eq!(late, (Exit::Nothing, 1));
    }
}
