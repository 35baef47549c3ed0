// SPDX-License-Identifier: Apache-2.0
//! `jobbie enqueue`: one job, the same job many times, or one job per line of a file.
//!
//! Every request carries an `Idempotency-Key` (or the job's own id), so a repeat after a broken connection cannot
//! enqueue twice. The key belongs to one run of the command and not to its content, because the same jobs may be meant
//! twice; when an outcome stays unknown it is printed, and the same command with it repeats the same calls.

mod lines;

use anyhow::Result;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::body::Body;
use super::exit::{Exit, usage};
use super::out::note;
use super::when::Span;
use super::{Context, input, wait};
use jobbie_actors::trace::TraceContext;

use crate::client::{Call, Error, unique_token};

const EXAMPLES: &str = r#"Examples:
  jobbie enqueue mail '{"to":"ann@example.com"}' --priority high --delay 10m
  jobbie enqueue mail @job.json --unique-key welcome:ann --tag team=growth
  jobbie enqueue log --text 'not JSON at all'
  jobbie enqueue resize '{"id":7}' --wait --wait-timeout 30s      # prints the result
  jobbie enqueue import --lines jobs.ndjson                       # one job per line
  jobbie enqueue import --lines jobs.ndjson --idempotency-key import-2026-01-31   # safe to run again

The job's id is printed on stdout, so that ID=$(jobbie enqueue ...) works."#;

/// Enqueue a job.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Command {
    /// The queue; it comes into being with its first job.
    queue: String,
    /// JSON, `-` for stdin, or `@file`. Left out: null.
    #[arg(allow_negative_numbers = true)]
    payload: Option<String>,
    /// Send the payload as a string, whatever it is.
    #[arg(long)]
    text: bool,
    /// Enqueue one job per line of FILE (`-` for stdin), in batches of 1,000.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["payload", "count", "id", "wait"])]
    lines: Option<String>,
    /// Start at this line; printed when an earlier run stopped.
    #[arg(long, value_name = "N", requires = "lines", default_value_t = 1)]
    from_line: u64,
    /// Enqueue the same job N times.
    #[arg(long, value_name = "N", conflicts_with_all = ["id", "wait"])]
    count: Option<u64>,
    /// Wait until the job has ended and print its result.
    #[arg(long)]
    wait: bool,
    /// How long to wait; without it, as long as it takes.
    #[arg(long, value_name = "DURATION", requires = "wait")]
    wait_timeout: Option<Span>,
    /// The same command with the same KEY enqueues nothing twice, for 24 hours. A random one is printed when it
    /// is unknown whether the server has enqueued something.
    #[arg(long, value_name = "KEY", conflicts_with = "id")]
    idempotency_key: Option<String>,
    #[command(flatten)]
    options: Options,
}

/// What a job can be given on its way.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Job options")]
pub struct Options {
    /// 0 to 100, larger first, or low, normal, high, critical.
    #[arg(long, value_parser = input::priority)]
    priority: Option<serde_json::Value>,
    /// Not before this long from now.
    #[arg(long, value_name = "DURATION", conflicts_with = "at")]
    delay: Option<Span>,
    /// Not before this time (RFC 3339, e.g. 2026-01-31T08:00:00Z).
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// The job's id: enqueueing it again changes nothing.
    #[arg(long)]
    id: Option<String>,
    /// At most one live job has this key; the id of the one that has it is printed.
    #[arg(long, value_name = "KEY")]
    unique_key: Option<String>,
    /// How long a completed job still holds the key.
    #[arg(long, value_name = "DURATION", requires = "unique_key")]
    unique_period: Option<Span>,
    /// A label; may be given several times.
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = input::pair)]
    tags: Vec<(String, String)>,
    /// Retries after the first attempt.
    #[arg(long, value_name = "N")]
    max_retries: Option<u32>,
    /// Shape of the delays between attempts.
    #[arg(long, value_parser = ["none", "fixed", "linear", "exponential"])]
    retry_backoff: Option<String>,
    /// First delay.
    #[arg(long, value_name = "DURATION")]
    retry_base_delay: Option<Span>,
    /// Longest delay.
    #[arg(long, value_name = "DURATION")]
    retry_max_delay: Option<Span>,
    /// Random share of each delay, 0 to 1.
    #[arg(long, value_name = "SHARE")]
    retry_jitter: Option<f64>,
    /// Longest run of one attempt.
    #[arg(long, value_name = "DURATION")]
    timeout: Option<Span>,
    /// Dead if it has not started after this long.
    #[arg(long, value_name = "DURATION")]
    expire_after: Option<Span>,
    /// Any other field of the contract, as a JSON object; wins over the options.
    #[arg(long, value_name = "JSON")]
    with: Option<String>,
}

#[derive(Deserialize)]
struct Enqueued {
    job_id: String,
    #[serde(default)]
    unique_existing: bool,
}

#[derive(Deserialize)]
struct EnqueuedMany {
    job_ids: Vec<String>,
}

impl Options {
    /// The fields of a job for `queue`, all but its payload.
    pub fn job(&self, queue: &str) -> Result<Body> {
        let mut job = Body::default();
        job.set("queue", &queue)?
            .opt("priority", self.priority.as_ref())?
            .span("delay", self.delay)?
            .opt("scheduled_at", self.at.as_ref())?
            .opt("id", self.id.as_ref())?
            .opt("unique_key", self.unique_key.as_ref())?
            .span("unique_period", self.unique_period)?
            .opt("max_retries", self.max_retries.as_ref())?
            .opt("retry_backoff", self.retry_backoff.as_ref())?
            .span("retry_base_delay", self.retry_base_delay)?
            .span("retry_max_delay", self.retry_max_delay)?
            .opt("retry_jitter", self.retry_jitter.as_ref())?
            .span("timeout", self.timeout)?
            .span("expire_after", self.expire_after)?;
        if !self.tags.is_empty() {
            let tags: std::collections::BTreeMap<_, _> = self.tags.iter().cloned().collect();
            job.set("tags", &tags)?;
        }
        if let Some(with) = &self.with {
            job.merge(&input::json("value of --with", with)?)?;
        }
        Ok(job)
    }
}

impl Command {
    pub async fn run(self, context: &Context) -> Result<Exit> {
        let mut job = self.options.job(&self.queue)?;
        let run = Run::new(context, self.idempotency_key.as_deref());
        if let Some(file) = &self.lines {
            return lines::run(&run, &job, file, self.text, self.from_line).await;
        }
        if let Some(payload) = &self.payload {
            job.set("payload", &self.payload_of(payload)?)?;
        }
        match self.count {
            Some(0) => Err(usage("--count must be at least 1")),
            Some(count) => lines::repeat(&run, &job, count).await,
            None => self.one(&run, &job).await,
        }
    }

    async fn one(&self, run: &Run<'_>, job: &Body) -> Result<Exit> {
        let context = run.context;
        let mut call = Call::post("/enqueue", job)?;
        // An id makes the call repeatable by itself.
        call.key = self.options.id.is_none().then(|| run.key.clone());
        call.trace = inherited_trace();
        let answer = context.client.send_repeatable(&call).await.map_err(anyhow::Error::new);
        let answer = answer.map_err(|e| match is_unknown(&e) && call.key.is_some() {
            true => e.context(format!(
                "to repeat it without enqueueing it twice, add --idempotency-key {}",
                run.key
            )),
            false => e,
        })?;
        let enqueued: Enqueued = answer.json()?;
        if enqueued.unique_existing {
            note(format!("jobbie: the unique key is held by {}; nothing new was enqueued", enqueued.job_id));
        }
        if self.wait {
            note(format!("jobbie: waiting for {}", enqueued.job_id));
            return wait::until_done(context, &enqueued.job_id, self.wait_timeout.map(Span::duration)).await;
        }
        match context.out.is_json() {
            true => context.out.line(&answer.body)?,
            false => context.out.line(&enqueued.job_id)?,
        }
        Ok(Exit::Done)
    }

    fn payload_of(&self, argument: &str) -> Result<Box<RawValue>> {
        let text = input::text(argument)?;
        if self.text { input::string(&text) } else { input::parse("payload", &text) }
    }
}

/// The trace that this command runs in: `jobbie work` and CI systems say so in `TRACEPARENT`.
fn inherited_trace() -> Option<String> {
    let context = TraceContext::parse(&std::env::var("TRACEPARENT").ok()?)?;
    Some(context.to_string())
}

/// One run of the command, which has a key of its own.
struct Run<'a> {
    context: &'a Context,
    key: String,
    is_key_given: bool,
}

impl<'a> Run<'a> {
    fn new(context: &'a Context, key: Option<&str>) -> Self {
        let is_key_given = key.is_some();
        Self { context, key: key.map_or_else(unique_token, str::to_owned), is_key_given }
    }

    /// Sends the batch that begins at this line or job; all of it or nothing. The same batch of the same run is the
    /// same call, and another one at the same place is refused by the server.
    async fn send_batch(&self, at: u64, jobs: &[Body]) -> Result<Vec<String>> {
        let mut body = Body::default();
        body.set("jobs", &jobs)?;
        let mut call = Call::post("/enqueue/batch", &body)?;
        call.key = Some(format!("{}-{at}", self.key));
        call.trace = inherited_trace();
        let answer: EnqueuedMany = self.context.client.send_repeatable(&call).await?.json()?;
        Ok(answer.job_ids)
    }

    /// What has to be added to the command to go on after an error.
    fn option(&self, error: &anyhow::Error) -> String {
        match self.is_key_given || is_unknown(error) {
            true => format!(" --idempotency-key {}", self.key),
            false => String::new(),
        }
    }
}

/// Whether the server may have done what it was asked.
fn is_unknown(error: &anyhow::Error) -> bool {
    error.chain().filter_map(|cause| cause.downcast_ref::<Error>()).any(Error::is_unknown)
}

#[cfg(test)]
mod tests;
