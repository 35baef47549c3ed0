// SPDX-License-Identifier: Apache-2.0
//! An event as `GET /events` and `GET /jobs/{id}/stream` write it, and what can be asked of `/events`.

use jobbie_broker::event::QueueNews;
use jobbie_broker::{Change, Event, JobEvent, JobRef, Name, QueueEvent};
use serde::Serialize;
use utoipa::ToSchema;

use super::query::Query;
use super::{Place, Stamp, name, schema};
use crate::error::{Detail, Problem};

/// The parameters of `/events`.
pub const PARAMETERS: &[&str] = &["topics", "types", "queues", "last_event_id"];
/// Topics that one stream may ask for.
const MAX_TOPICS: usize = 256;

/// Something that happened.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Event)]
pub struct EventView<'a> {
    /// What: `job.started`, `queue.paused` …
    #[serde(rename = "type")]
    #[schema(value_type = String, example = "job.started")]
    pub kind: &'static str,
    /// When.
    #[schema(value_type = schema::Time)]
    pub at: Stamp,
    /// The namespace.
    pub namespace: &'a str,
    /// The queue, after the change.
    pub queue: &'a str,
    /// The job; absent for news of a queue, as is all that follows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job_id: Option<String>,
    /// Its state before; absent for a new job.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<&'static str>,
    /// Its state after.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<&'static str>,
    /// The number of the attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// The worker that holds or held the lease in question.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker_id: Option<&'a str>,
    /// When it is due.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::Time>)]
    pub due_at: Option<Stamp>,
    /// Why it is dead or cancelled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// How long it had been waiting (started) or running (end of an attempt).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub took_ms: Option<u64>,
}

impl<'a> From<&'a Event> for EventView<'a> {
    fn from(event: &'a Event) -> Self {
        match event {
            Event::Job(event) => event.into(),
            Event::Queue(event) => event.into(),
        }
    }
}

impl<'a> From<&'a JobEvent> for EventView<'a> {
    // The token stays inside: whoever may watch a job may not settle it.
    fn from(event: &'a JobEvent) -> Self {
        Self {
            kind: event.change.name(),
            at: Stamp(event.at),
            namespace: &event.namespace,
            queue: &event.queue,
            job_id: Some(event.job.to_string()),
            from: event.from.map(jobbie_broker::StateKind::name),
            state: Some(event.state.name()),
            attempt: Some(event.attempt),
            worker_id: event.worker.as_deref(),
            due_at: event.due_at.map(Stamp),
            reason: event.reason.map(jobbie_broker::state::Reason::name),
            took_ms: event.took_ms,
        }
    }
}

impl<'a> From<&'a QueueEvent> for EventView<'a> {
    fn from(event: &'a QueueEvent) -> Self {
        Self {
            kind: event.news.name(),
            at: Stamp(event.at),
            namespace: &event.namespace,
            queue: &event.queue,
            job_id: None,
            from: None,
            state: None,
            attempt: None,
            worker_id: None,
            due_at: None,
            reason: None,
            took_ms: None,
        }
    }
}

/// A topic that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Topic {
    /// Counts and rates of all queues, once a second if they changed.
    Stats,
    /// Everything that happens.
    Tail,
    /// One job.
    Job(JobRef),
    /// One queue and its jobs.
    Queue(Name),
}

/// What a reader of `/events` wants.
#[derive(Debug, Default)]
pub struct Wanted {
    /// The topics; `tail` if none is named.
    pub topics: Vec<Topic>,
    /// Only these types.
    pub types: Vec<&'static str>,
    /// Only these queues.
    pub queues: Vec<Name>,
}

impl Wanted {
    /// Reads the parameters.
    ///
    /// # Errors
    /// `VALIDATION` naming the parameter; `NOT_FOUND` for an id that no job can have.
    pub fn check(query: &Query<'_>) -> Result<Self, Problem> {
        let mut topics = query.list("topics").map(topic).collect::<Result<Vec<_>, _>>()?;
        if topics.len() > MAX_TOPICS {
            return Err(Problem::field("topics", format!("must have at most {MAX_TOPICS} topics")));
        }
        if topics.is_empty() {
            topics.push(Topic::Tail);
        }
        let queues = Place::ROOT.key("queues");
        Ok(Self {
            topics,
            types: query.list("types").map(event_type).collect::<Result<_, _>>()?,
            queues: query.list("queues").map(|text| name::queue(&queues, text)).collect::<Result<_, _>>()?,
        })
    }

    /// The queues that are named.
    pub fn queues(&self) -> impl Iterator<Item = &Name> {
        let topics = self.topics.iter().filter_map(|topic| match topic {
            Topic::Queue(queue) => Some(queue),
            _ => None,
        });
        topics.chain(&self.queues)
    }

    /// True if the reader wants that event.
    #[must_use]
    pub fn wants(&self, event: &Event) -> bool {
        (self.types.is_empty() || self.types.contains(&event.name()))
            && (self.queues.is_empty() || self.queues.contains(event.queue()))
    }
}

fn topic(text: &str) -> Result<Topic, Problem> {
    match text.split_once(':') {
        None if text == "stats" => Ok(Topic::Stats),
        None if text == "tail" => Ok(Topic::Tail),
        Some(("job", id)) => Ok(Topic::Job(name::job(id)?)),
        Some(("queue", queue)) => Ok(Topic::Queue(name::queue(&Place::ROOT.key("topics"), queue)?)),
        _ => {
            let allowed = ["stats", "tail", "job:ID", "queue:NAME"];
            Err(Problem::field("topics", format!("may have {}", allowed.join(", ")))
                .with("allowed", Detail::List(allowed.map(ToOwned::to_owned).to_vec())))
        }
    }
}

const QUEUE_NEWS: [QueueNews; 8] = [
    QueueNews::Created,
    QueueNews::Paused,
    QueueNews::Resumed,
    QueueNews::Draining,
    QueueNews::Limited,
    QueueNews::Cleared,
    QueueNews::Deleting,
    QueueNews::Deleted,
];

fn event_type(text: &str) -> Result<&'static str, Problem> {
    let mut names =
        Change::ALL.into_iter().map(Change::name).chain(QUEUE_NEWS.into_iter().map(QueueNews::name));
    names.clone().find(|name| *name == text).ok_or_else(|| {
        let all: Vec<String> = names.by_ref().map(ToOwned::to_owned).collect();
        Problem::field("types", format!("may have {}", all.join(", "))).with("allowed", Detail::List(all))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use jobbie_broker::{JobId, JobNo, LeaseToken, StateKind, Timestamp};

    fn wanted(text: &str) -> Result<Wanted, Problem> {
        Wanted::check(&Query::parse(text, PARAMETERS)?)
    }

    #[test]
    fn topics_are_read() {
        let all = wanted("topics=stats,tail,job:j-1,queue:a.b").unwrap();
        let expected =
            [Topic::Stats, Topic::Tail, Topic::Job(JobRef::Chosen("j-1".into())), Topic::Queue("a.b".into())];
        assert_eq!(all.topics, expected);
        assert_eq!(wanted("").unwrap().topics, [Topic::Tail]);
        for bad in [
            "topics=x",
            "topics=job",
            "topics=queue:a%20b",
            "types=job.foo",
            "queues=a%20b",
            "topic=stats",
            "topics=bulk:1",
        ] {
            assert!(wanted(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_event_is_filtered_and_written_without_the_token() {
        let event = Event::Job(JobEvent {
            change: Change::Started,
            job: JobId { no: JobNo(1), created_at: Timestamp(0), chosen: Some("j-1".into()) },
            at: Timestamp(0),
            namespace: "default".into(),
            queue: "a".into(),
            from: Some(StateKind::Pending),
            state: StateKind::Active,
            attempt: 1,
            worker: Some("w".into()),
            token: Some(LeaseToken { delivery: 1, salt: 0xfeed }),
            due_at: None,
            reason: None,
            took_ms: Some(3),
        });
        assert_eq!(
            serde_json::to_string(&EventView::from(&event)).unwrap(),
            r#"{"type":"job.started","at":"1970-01-01T00:00:00.000Z","namespace":"default","queue":"a","job_id":"j-1","from":"pending","state":"active","attempt":1,"worker_id":"w","took_ms":3}"#
        );
        assert!(wanted("types=job.started,job.dead&queues=a").unwrap().wants(&event));
        assert!(!wanted("types=job.dead").unwrap().wants(&event));
        assert!(!wanted("queues=b").unwrap().wants(&event));
    }
}
