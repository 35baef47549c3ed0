// SPDX-License-Identifier: Apache-2.0
//! `GET /events`: what happens, as server-sent events that can be resumed.

use std::sync::Arc;

use futures_util::stream;
use jobbie_actors::ports::{Caller, EventId, News, Subscription, Topic};
use jobbie_broker::{JobNo, JobRef, QueueKey};
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::{Failures, NotFound, TooMany, stats};
use crate::call::{Answer, Call, Web};
use crate::error::Problem;
use crate::sse::{self, Frame};
pub use crate::wire::events::PARAMETERS;
use crate::wire::events::{self, EventView, Wanted};

/// Streams what happens: server-sent events.
#[utoipa::path(
    get, path = "/api/v1/events", operation_id = "streamEvents", tag = "operations",
    params(
        ("topics" = Option<String>, Query, description = "with commas between them: `stats`, `tail`, `job:ID`, `queue:NAME`; `tail` if absent", example = "stats,queue:emails"),
        ("types" = Option<String>, Query, description = "only these types of events, with commas between them", example = "job.completed,job.dead"),
        ("queues" = Option<String>, Query, description = "only events of these queues, with commas between them"),
        ("last_event_id" = Option<String>, Query, description = "go on after this event; as the header `Last-Event-ID`"),
        ("Last-Event-ID" = Option<String>, Header, description = "go on after this event"),
    ),
    responses(
        (status = 200, description = "Events `job.*` and `queue.*` with an id, `stats`, `resync` (events were lost: read the state afresh), `ping`, `drain`", body = String, content_type = "text/event-stream"),
        Failures, NotFound, TooMany,
    ),
)]
pub async fn follow(call: Call) -> Answer {
    let query = call.query()?;
    let wanted = Wanted::check(&query)?;
    let after = last_event(query.get("last_event_id"), call.header("last-event-id")?)?;
    let permit = call.stream_permit()?;
    let topics = topics(&call, &wanted).await?;
    let feed = Feed {
        subscription: (!topics.is_empty()).then(|| call.ports().subscribe(&call.caller, topics, after)),
        stats: wanted.topics.contains(&events::Topic::Stats).then(ticks),
        shown: Arc::default(),
        wanted,
        caller: call.caller.clone(),
        web: call.web.clone(),
    };
    let frames = stream::unfold(feed, |mut feed| async {
        let frame = feed.next().await;
        Some((frame, feed))
    });
    Ok(sse::respond(permit, Some(call.ports().stopping()), frames))
}

fn last_event(query: Option<&str>, header: Option<&str>) -> Result<Option<EventId>, Problem> {
    // A reconnecting browser repeats the address it was given; the header is newer.
    let Some(text) = header.or(query).filter(|text| !text.is_empty()) else { return Ok(None) };
    EventId::parse(text)
        .map(Some)
        .ok_or_else(|| Problem::field("Last-Event-ID", "must be an event's id such as 1042.0"))
}

fn ticks() -> Interval {
    let mut ticks = interval(stats::EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// The topics of the subscription; `stats` is none of them.
async fn topics(call: &Call, wanted: &Wanted) -> Result<Vec<Topic>, Problem> {
    let namespace = &call.caller.namespace;
    wanted.queues().try_for_each(|queue| call.caller.may_touch(queue))?;
    let mut topics = Vec::with_capacity(wanted.topics.len());
    for topic in &wanted.topics {
        match topic {
            events::Topic::Stats => {}
            events::Topic::Tail => topics.push(Topic::All(namespace.clone())),
            events::Topic::Queue(queue) => topics.push(Topic::Queue(QueueKey::new(namespace, queue))),
            events::Topic::Job(job) => topics.push(Topic::Job(number(call, job.clone()).await?)),
        }
    }
    Ok(topics)
}

async fn number(call: &Call, job: JobRef) -> Result<JobNo, Problem> {
    let missing = Problem::not_found("job", &job.to_string());
    let row = call.ports().read(&call.caller, move |view| view.job_row(&job)).await?;
    row.map(|row| row.no).ok_or(missing)
}

struct Feed {
    subscription: Option<Subscription>,
    stats: Option<Interval>,
    /// The stats that the reader has.
    shown: Arc<[u8]>,
    wanted: Wanted,
    caller: Caller,
    web: Arc<Web>,
}

async fn news(subscription: &mut Option<Subscription>) -> News {
    match subscription {
        Some(subscription) => subscription.next().await,
        None => std::future::pending().await,
    }
}

async fn tick(stats: &mut Option<Interval>) {
    match stats {
        Some(stats) => {
            stats.tick().await;
        }
        None => std::future::pending().await,
    }
}

impl Feed {
    async fn next(&mut self) -> Frame {
        loop {
            tokio::select! {
                news = news(&mut self.subscription) => match news {
                    News::Resync => return Frame::bare("resync"),
                    News::Event(numbered) if self.wanted.wants(&numbered.event) => {
                        let event = &numbered.event;
                        return Frame::json(event.name(), Some(&numbered.id), &EventView::from(event));
                    }
                    News::Event(_) => {}
                },
                () = tick(&mut self.stats) => {
                    if let Ok(stats) = self.web.stats.latest(&self.web.ports, &self.caller).await
                        && stats != self.shown
                    {
                        self.shown = stats;
                        return Frame::raw("stats", None, &self.shown);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_wins_over_the_address() {
        let id = |index| Some(EventId { index, position: 0 });
        assert_eq!(last_event(None, None).unwrap(), None);
        assert_eq!(last_event(Some(""), None).unwrap(), None);
        assert_eq!(last_event(Some("7.0"), None).unwrap(), id(7));
        assert_eq!(last_event(Some("7.0"), Some("9.0")).unwrap(), id(9));
        assert!(last_event(None, Some("x")).is_err());
    }
}
