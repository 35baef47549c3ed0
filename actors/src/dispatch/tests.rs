// SPDX-License-Identifier: Apache-2.0
//! The ring, topics, and subscriptions that survive what happens to dispatch.

use std::sync::{Arc, Mutex};

use jobbie_broker::event::{JobEvent, QueueEvent, QueueNews};
use jobbie_broker::{Change, Event, JobId, JobNo, QueueKey, StateKind, Timestamp};
use jobbie_store::{AppliedEntry, ApplySink};
use tokio::sync::mpsc;

use super::Topic;
use super::messages::Subscribed;
use super::ring::{EventId, EventRing};
use super::subscription::{News, Subscription};
use crate::supervise::Port;

pub(crate) fn event(job: u64, worker: Option<&str>) -> Event {
    Event::Job(JobEvent {
        change: Change::Enqueued,
        job: JobId { no: JobNo(job), created_at: Timestamp(1), chosen: None },
        at: Timestamp(1),
        namespace: "default".into(),
        queue: "mail".into(),
        from: None,
        state: StateKind::Pending,
        attempt: 1,
        worker: worker.map(Into::into),
        token: None,
        due_at: None,
        reason: None,
        took_ms: None,
    })
}

fn filled(capacity: usize, entries: impl IntoIterator<Item = u64>) -> EventRing {
    let ring = EventRing::new(capacity);
    ring.start_after(4);
    let entries = entries.into_iter().map(|index| AppliedEntry {
        index,
        at: Timestamp(1),
        events: vec![event(index, None), event(index, None)],
    });
    ring.applied(entries.collect());
    ring
}

fn id(index: u64, position: u32) -> EventId {
    EventId { index, position }
}

#[test]
fn a_reader_resumes_behind_the_event_it_saw() {
    let ring = filled(100, [5, 7, 8]);
    let slice = ring.after(id(5, 0), 3);
    assert!(!slice.lost);
    let ids: Vec<EventId> = slice.events.iter().map(|event| event.id).collect();
    assert_eq!(ids, [id(5, 1), id(7, 0), id(7, 1)]);
    assert_eq!(ring.last(), id(8, 1));
    assert!(ring.after(ring.last(), 9).events.is_empty());
}

#[test]
fn a_reader_behind_the_ring_or_before_this_process_is_told() {
    let ring = filled(4, [5, 6, 7]);
    assert!(ring.after(id(5, 0), 9).lost, "5.1 has left the ring");
    assert!(!ring.after(id(5, 1), 9).lost, "nothing after 5.1 has");
    assert!(filled(100, [5]).after(id(3, 0), 9).lost, "who knows what was at 4");
    assert!(!filled(100, [5]).after(id(4, u32::MAX), 9).lost);
}

/// Else a reader that comes with an id of another history would be silent for ever.
#[test]
fn an_id_from_the_future_counts_as_lost() {
    let ring = filled(100, [5, 6]);
    assert!(ring.between(id(999, 0), ring.last(), 9, |_| true).lost);
    assert!(!ring.between(ring.last(), ring.last(), 9, |_| true).lost);
    assert_eq!(ring.between(id(5, 0), id(6, 0), 9, |_| true).events.len(), 2, "not beyond the end asked for");
}

#[test]
fn a_replaced_dispatcher_takes_nothing_back() {
    let ring = filled(100, [5, 6]);
    ring.set_dispatched(id(6, 1));
    ring.set_dispatched(id(5, 0));
    assert_eq!(ring.dispatched(), id(6, 1));
}

#[test]
fn event_ids_read_back() {
    assert_eq!(EventId::parse("12.3"), Some(id(12, 3)));
    assert_eq!(id(12, 3).to_string(), "12.3");
    for bad in ["", "12", ".", "a.b", "1.2.3", "-1.0"] {
        assert_eq!(EventId::parse(bad), None, "{bad}");
    }
}

#[test]
fn topics_cover_what_they_name_and_nothing_else() {
    let mine = event(5, Some("w1"));
    let queue = QueueKey::new(&"default".into(), &"mail".into());
    let worker = |name: &str| Topic::Worker { namespace: "default".into(), worker: name.into() };
    for topic in
        [Topic::All("default".into()), Topic::Queue(queue.clone()), Topic::Job(JobNo(5)), worker("w1")]
    {
        assert!(topic.covers(&mine), "{topic:?}");
    }
    let other = QueueKey::new(&"other".into(), &"mail".into());
    for topic in [Topic::All("other".into()), Topic::Queue(other), Topic::Job(JobNo(6)), worker("w2")] {
        assert!(!topic.covers(&mine), "{topic:?}");
    }
    let news = QueueEvent {
        news: QueueNews::Paused,
        at: Timestamp(1),
        namespace: "default".into(),
        queue: "mail".into(),
    };
    assert!(Topic::Queue(queue).covers(&Event::Queue(news)));
}

/// A dispatcher that gives one event per subscription and then closes: as if it restarted all the time.
#[tokio::test]
async fn a_subscription_outlives_dispatchers_without_losing_or_repeating_an_event() {
    let ring = Arc::new(filled(100, [5, 6, 7]));
    let behind = ring.clone();
    let port = Port::answering(move |subscribe: super::messages::Subscribe| {
        let (sender, events) = mpsc::channel(1);
        for event in behind.after(subscribe.after, 1).events {
            sender.try_send(event).unwrap();
        }
        Subscribed { events, lost_up_to: None }
    });
    let topics = vec![Topic::All("default".into())];
    let mut subscription = Subscription::new(port, ring, topics, Some(id(4, u32::MAX)));
    let mut seen = Vec::new();
    for _ in 0..6 {
        match subscription.next().await {
            News::Event(event) => seen.push(event.id),
            News::Resync => panic!("nothing was lost"),
        }
    }
    assert_eq!(seen, [id(5, 0), id(5, 1), id(6, 0), id(6, 1), id(7, 0), id(7, 1)]);
}

#[tokio::test]
async fn what_was_lost_is_told_once_and_reading_goes_on_behind_it() {
    let ring = Arc::new(filled(2, [5, 6, 7]));
    let asked = Arc::new(Mutex::new(Vec::new()));
    let (behind, noted) = (ring.clone(), asked.clone());
    let port = Port::answering(move |subscribe: super::messages::Subscribe| {
        noted.lock().unwrap().push(subscribe.after);
        let (sender, events) = mpsc::channel(8);
        let slice = behind.after(subscribe.after, 8);
        let lost_up_to = slice.lost.then_some(id(7, 0));
        for event in slice.events.into_iter().filter(|event| Some(event.id) > lost_up_to) {
            sender.try_send(event).unwrap();
        }
        Subscribed { events, lost_up_to }
    });
    let mut subscription = Subscription::new(port, ring, vec![Topic::Job(JobNo(7))], Some(id(5, 0)));
    assert!(matches!(subscription.next().await, News::Resync));
    assert_eq!(subscription.last(), id(7, 0));
    assert!(matches!(subscription.next().await, News::Event(event) if event.id == id(7, 1)));
    assert_eq!(*asked.lock().unwrap(), [id(5, 0)]);
}
