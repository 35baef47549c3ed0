// SPDX-License-Identifier: Apache-2.0
//! `jobbie queues`: look at queues, hold them back, set their limits.

mod overview;

use anyhow::Result;

use super::Context;
use super::body::Body;
use super::exit::{Exit, usage};
use super::when::{self, Span};
use crate::client::{Call, segment};

pub use overview::{rows_of, table_of};

const EXAMPLES: &str = "Examples:
  jobbie queues
  jobbie queues pause mail
  jobbie queues concurrency resize 4          # at most 4 running; --none for no limit
  jobbie queues throttle api 100/1m           # at most 100 starts per minute
  jobbie queues clear mail --confirm          # forget what waits in it
  jobbie queues delete old --confirm";

/// Look at queues, pause, drain and limit them.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Command {
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// List queues.
    List,
    /// Show everything about a queue.
    Show(Name),
    /// Hand out no jobs.
    Pause(Name),
    /// Hand out jobs again; ends a drain too.
    Resume(Name),
    /// Take no new jobs; what is in it finishes.
    Drain(Name),
    /// Remove the jobs that wait in a queue.
    Clear(Confirmed),
    /// Remove a queue with its jobs.
    Delete(Confirmed),
    /// Limit how many jobs run at once.
    Concurrency {
        /// The queue.
        queue: String,
        /// At most this many.
        #[arg(required_unless_present = "none", conflicts_with = "none")]
        limit: Option<u32>,
        /// No limit.
        #[arg(long)]
        none: bool,
    },
    /// Limit how many jobs start per period.
    Throttle {
        /// The queue.
        queue: String,
        /// COUNT/PERIOD, such as 100/1m.
        #[arg(required_unless_present = "none", conflicts_with = "none", value_parser = rate)]
        rate: Option<(u64, Span)>,
        /// No limit.
        #[arg(long)]
        none: bool,
    },
}

#[derive(Debug, clap::Args)]
struct Name {
    /// The queue.
    queue: String,
}

#[derive(Debug, clap::Args)]
struct Confirmed {
    /// The queue.
    queue: String,
    /// Yes, really.
    #[arg(long)]
    confirm: bool,
}

fn rate(text: &str) -> Result<(u64, Span), String> {
    let wrong = || "expected COUNT/PERIOD, such as 100/1m or 5/s".to_owned();
    let (count, period) = text.split_once('/').ok_or_else(wrong)?;
    // `5/s` is how people say it.
    let period = if period.starts_with(|c: char| c.is_ascii_digit()) {
        period.to_owned()
    } else {
        format!("1{period}")
    };
    let count: u64 = count.parse().map_err(|_| wrong())?;
    if count == 0 {
        Err("a rate of 0 is a pause: jobbie queues pause".into())
    } else {
        Ok((count, period.parse()?))
    }
}

impl Command {
    pub async fn run(self, context: &Context) -> Result<Exit> {
        match self.what.unwrap_or(What::List) {
            What::List => overview::list(context).await,
            What::Show(name) => overview::show(context, &name.queue).await,
            What::Pause(name) => act(context, &name.queue, "pause", &Body::default(), "is paused").await,
            What::Resume(name) => act(context, &name.queue, "resume", &Body::default(), "is running").await,
            What::Drain(name) => act(context, &name.queue, "drain", &Body::default(), "is draining").await,
            What::Clear(which) => {
                which.check("clears")?;
                act(context, &which.queue, "clear", &Body::default(), "is cleared").await
            }
            What::Delete(which) => {
                which.check("deletes")?;
                let path = format!("/queues/{}?confirm=true", segment(&which.queue));
                send(context, Call::new("DELETE", path), &which.queue, "is deleted").await
            }
            What::Concurrency { queue, limit, .. } => {
                let mut body = Body::default();
                // `null` is "no limit".
                body.set("concurrency", &limit)?;
                let done = limit
                    .map_or("has no concurrency limit".to_owned(), |n| format!("runs at most {n} at once"));
                act(context, &queue, "concurrency", &body, &done).await
            }
            What::Throttle { queue, rate: None, .. } => {
                let path = format!("/queues/{}/throttle", segment(&queue));
                send(context, Call::new("DELETE", path), &queue, "is not throttled").await
            }
            What::Throttle { queue, rate: Some((count, period)), .. } => {
                let mut body = Body::default();
                body.set("count", &count)?.span("period", Some(period))?;
                act(
                    context,
                    &queue,
                    "throttle",
                    &body,
                    &format!("starts at most {count} per {}", when::short(period.duration())),
                )
                .await
            }
        }
    }
}

impl Confirmed {
    fn check(&self, verb: &str) -> Result<()> {
        if self.confirm {
            return Ok(());
        }
        Err(usage(format!("this {verb} the jobs in {}; add --confirm to do it", self.queue)))
    }
}

async fn act(context: &Context, queue: &str, verb: &str, body: &Body, done: &str) -> Result<Exit> {
    let path = format!("/queues/{}/{verb}", segment(queue));
    send(context, Call::post(path, body)?, queue, done).await
}

async fn send(context: &Context, call: Call, queue: &str, done: &str) -> Result<Exit> {
    let answer = context.client.send_repeatable(&call).await?;
    match context.out.is_json() {
        true if answer.body.is_empty() => {}
        true => context.out.line(&answer.body)?,
        false => context.out.line(format!("{queue} {done}"))?,
    }
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::out::{Format, Out};
    use super::super::{Cli, Command as Any};
    use super::*;
    use crate::client::testing::{Fake, Reply};

    #[tokio::test]
    async fn verbs_go_where_they_belong() {
        let fake = Fake::start(|_| Reply::Json(200, "{}".into())).await;
        let mut refused = 0;
        for line in [
            &["pause", "q"][..],
            &["clear", "q"],
            &["clear", "q", "--confirm"],
            &["delete", "q", "--confirm"],
            &["concurrency", "q", "4"],
            &["concurrency", "q", "--none"],
            &["throttle", "q", "5/s"],
            &["throttle", "q", "--none"],
        ] {
            let command = match Cli::try_parse_from(["jobbie", "queues"].iter().chain(line)).unwrap().command
            {
                Any::Queues(command) => command,
                other => panic!("{other:?}"),
            };
            let context = Context { client: fake.client(), out: Out::new(Format::Table) };
            refused += usize::from(command.run(&context).await.is_err());
        }
        assert_eq!(refused, 1);
        let asked: Vec<String> =
            fake.asked().iter().map(|a| format!("{} {} {}", a.method, &a.path[7..], a.body)).collect();
        assert_eq!(
            asked,
            [
                "POST /queues/q/pause {}",
                "POST /queues/q/clear {}",
                "DELETE /queues/q?confirm=true ",
                r#"POST /queues/q/concurrency {"concurrency":4}"#,
                r#"POST /queues/q/concurrency {"concurrency":null}"#,
                r#"POST /queues/q/throttle {"count":5,"period":"1000ms"}"#,
                "DELETE /queues/q/throttle ",
            ]
        );
    }

    #[test]
    fn rates_are_read() {
        assert_eq!(rate("100/1m").unwrap(), (100, "60s".parse().unwrap()));
        assert_eq!(rate("5/s").unwrap(), (5, "1s".parse().unwrap()));
        for text in ["5", "0/s", "x/s", "5/fortnight"] {
            assert!(rate(text).is_err(), "{text}");
        }
    }
}
