// SPDX-License-Identifier: Apache-2.0
//! `jobbie events`: follows the event stream, and goes on where it was after the server came back.

use std::time::SystemTime;

use anyhow::Result;
use serde_json::value::RawValue;

use super::Context;
use super::exit::Exit;
use super::out::{clean, note};
use super::when;
use crate::client::{Error, Event, EventStream, segment};

const EXAMPLES: &str = "Examples:
  jobbie events                                     # everything that happens
  jobbie events --topics queue:mail --types job.dead
  jobbie events --topics job:job_01K... --output json | jq -r .event
  jobbie events --count 1 --types job.completed     # wait for one

Reconnects by itself and asks for what it missed. `resync` says that something could not be replayed.";

/// Follow what happens, as it happens.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Command {
    /// stats, tail, job:ID, queue:NAME, bulk:ID.
    #[arg(long, value_delimiter = ',', default_value = "tail")]
    topics: Vec<String>,
    /// Only these types of event.
    #[arg(long, value_delimiter = ',')]
    types: Vec<String>,
    /// Only events of these queues.
    #[arg(long, value_delimiter = ',')]
    queues: Vec<String>,
    /// Go on after this event.
    #[arg(long, value_name = "ID")]
    last_event_id: Option<String>,
    /// End after this many events.
    #[arg(long, value_name = "N")]
    count: Option<u64>,
}

impl Command {
    pub async fn run(self, context: &Context) -> Result<Exit> {
        let path = self.path();
        let mut last_id = self.last_event_id.clone();
        let mut left = self.count.unwrap_or(u64::MAX);
        let mut backoff = super::work::Backoff::default();
        // A first connection that fails is an answer; later ones are tried until they succeed.
        let mut stream = Some(context.client.stream(&path, last_id.as_deref()).await?);
        while left > 0 {
            let why = match follow(context, &mut stream, &mut last_id, &mut left, &mut backoff).await? {
                Some(why) => why,
                None => break,
            };
            let pause = backoff.next();
            note(format!("jobbie: {why}; trying again in {}", when::short(pause)));
            tokio::time::sleep(pause).await;
            match context.client.stream(&path, last_id.as_deref()).await {
                Ok(again) => stream = Some(again),
                Err(e) if e.is_passing() => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(Exit::Done)
    }

    fn path(&self) -> String {
        let list = |items: &[String]| items.iter().map(|item| segment(item)).collect::<Vec<_>>().join(",");
        let mut path = format!("/events?topics={}", list(&self.topics));
        for (name, items) in [("types", &self.types), ("queues", &self.queues)] {
            if !items.is_empty() {
                path += &format!("&{name}={}", list(items));
            }
        }
        path
    }
}

/// Prints events until there are enough (`None`) or the stream ends (why).
async fn follow(
    context: &Context,
    stream: &mut Option<EventStream>,
    last_id: &mut Option<String>,
    left: &mut u64,
    backoff: &mut super::work::Backoff,
) -> Result<Option<String>> {
    let Some(mut open) = stream.take() else { return Ok(Some("no connection".into())) };
    while *left > 0 {
        let event = match open.next().await {
            Ok(Some(event)) => event,
            Ok(None) => return Ok(Some("the server ended the stream".into())),
            Err(e @ (Error::Broken { .. } | Error::TimedOut { .. })) => return Ok(Some(e.to_string())),
            Err(e) => return Err(e.into()),
        };
        *backoff = super::work::Backoff::default();
        if !event.id.is_empty() {
            *last_id = Some(event.id.clone());
        }
        if event.name == "ping" {
            continue;
        }
        if event.name == "resync" && !context.out.is_json() {
            note("jobbie: resync: some events are gone from the server's log and cannot be shown");
        }
        context.out.line(line(&event, context.out.is_json()))?;
        *left -= 1;
    }
    Ok(None)
}

fn line(event: &Event, is_json: bool) -> String {
    if !is_json {
        return format!(
            "{}  {:<18}  {}",
            when::clock(SystemTime::now()),
            clean(&event.name),
            clean(&event.data)
        );
    }
    // The data goes through as it came if it is JSON, which it is for every event of the contract.
    let raw: Option<&RawValue> = serde_json::from_str(&event.data).ok();
    let text = |text: &str| serde_json::Value::from(text).to_string();
    let data = raw.map_or_else(|| text(&event.data), |raw| raw.get().replace(['\n', '\r'], " "));
    format!(r#"{{"id":{},"event":{},"data":{data}}}"#, text(&event.id), text(&event.name))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::super::out::{Format, Out};
    use super::*;
    use crate::client::testing::{Fake, Reply};

    #[test]
    fn one_object_per_line() {
        let event = Event { name: "job.dead".into(), id: "7.1".into(), data: "{\"n\":\n1e400}".into() };
        assert_eq!(line(&event, true), r#"{"id":"7.1","event":"job.dead","data":{"n": 1e400}}"#);
        let text = Event { data: "not json".into(), ..event };
        assert!(line(&text, true).ends_with(r#""data":"not json"}"#));
        assert!(line(&text, false).contains("job.dead"));
    }

    #[tokio::test]
    async fn it_goes_on_where_it_was() {
        let count = AtomicUsize::new(0);
        let fake = Fake::start(move |_| {
            let n = count.fetch_add(1, Ordering::SeqCst);
            Reply::Raw(format!(
                "HTTP/1.1 200 OK\r\n\r\nid: {n}.0\nevent: x\ndata: {n}\n\nevent: ping\ndata: {{}}\n\n"
            ))
        })
        .await;
        let command = Command {
            topics: vec!["queue:a".into(), "stats".into()],
            types: vec![],
            queues: vec!["b".into()],
            last_event_id: None,
            count: Some(3),
        };
        let context = Context { client: fake.client(), out: Out::new(Format::Json) };
        assert_eq!(command.run(&context).await.unwrap(), Exit::Done);
        let asked = fake.asked();
        assert_eq!(asked[0].path, "/api/v1/events?topics=queue:a,stats&queues=b");
        let resumed: Vec<Option<&str>> =
            asked.iter().map(|a| a.headers.get("last-event-id").map(String::as_str)).collect();
        assert_eq!(resumed, [None, Some("0.0"), Some("1.0")]);
    }
}
