// SPDX-License-Identifier: Apache-2.0
//! Who waits for a job gets it in the entry that enqueues it, and every way in which the two can miss each other.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod bed;

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bed::{Bed, HANG, ack, caller, claim, claim_for, enqueue, fetch, in_time, start, state_of};
use jobbie_actors::Ports;
use jobbie_actors::ports::{Decided, PortError, StreamNews, StreamRequest};
use jobbie_broker::command::{Enqueue, Fetch, QueueSetting, SetQueue};
use jobbie_broker::job::JobSpec;
use jobbie_broker::throttle::Throttle;
use jobbie_broker::{JobNo, Json, Millis, Name, Reply, StateKind};

/// A fetch that can be polled by hand.
type Waiting<'p> = Pin<Box<dyn Future<Output = Result<Decided, PortError>> + 'p>>;

/// A node where the line of `queues` is open, so that the first poll of a fetch puts it there.
async fn with_lines(queues: &[&str]) -> Bed {
    let bed = start().await;
    for queue in queues {
        assert!(claim(&bed.ports, queue, Duration::from_millis(1)).await.is_empty());
    }
    bed
}

/// A fetch that waits in the lines of its queues.
fn parked(ports: &Ports, fetch: Fetch) -> Waiting<'_> {
    let mut waiting: Waiting<'_> = Box::pin(async move { ports.fetch(&caller(), fetch, HANG).await });
    assert!(futures_util::FutureExt::now_or_never(&mut waiting).is_none(), "there is nothing to fetch yet");
    waiting
}

fn one(queue: &str) -> Fetch {
    fetch(queue, 1, Millis::from_secs(60))
}

/// The log index and the numbers of the jobs.
async fn served(waiting: Waiting<'_>) -> (u64, Vec<JobNo>) {
    let decided = in_time("the fetch", waiting).await.unwrap();
    match decided.reply {
        Reply::Fetched(jobs) => (decided.index, jobs.iter().map(|leased| leased.job.no).collect()),
        other => panic!("{other:?}"),
    }
}

/// The log index and the numbers of the jobs.
async fn enqueue_in(ports: &Ports, queues: &[&str]) -> (u64, Vec<JobNo>) {
    let jobs = queues.iter().map(|queue| JobSpec::new(queue, Json::null())).collect();
    let decided = ports.propose(&caller(), Enqueue { jobs, request: None }).await.unwrap();
    match decided.reply {
        Reply::Enqueued(jobs) => (decided.index, jobs.iter().map(|enqueued| enqueued.job.no).collect()),
        other => panic!("{other:?}"),
    }
}

async fn set(ports: &Ports, queue: &str, setting: QueueSetting) {
    ports.propose(&caller(), SetQueue { queue: queue.into(), setting }).await.unwrap();
}

fn fetched(bed: &Bed, queue: &str) -> u64 {
    bed.ports.queue(&caller(), &queue.into()).unwrap().map_or(0, |row| row.totals.fetched)
}

#[actix::test]
async fn a_job_is_enqueued_and_leased_in_one_entry() {
    let bed = with_lines(&["mail"]).await;
    let waiting = parked(&bed.ports, one("mail"));
    let enqueued = enqueue_in(&bed.ports, &["mail"]).await;
    assert_eq!(served(waiting).await, enqueued);
    bed.stop().await;
}

#[actix::test]
async fn those_who_wait_are_served_in_the_order_they_came_and_only_as_many_as_jobs_come() {
    let bed = with_lines(&["mail"]).await;
    let [first, second, mut last] = [(); 3].map(|()| parked(&bed.ports, one("mail")));
    let (index, jobs) = enqueue_in(&bed.ports, &["mail", "mail"]).await;
    assert_eq!(served(first).await, (index, vec![jobs[0]]));
    assert_eq!(served(second).await, (index, vec![jobs[1]]));
    assert!(futures_util::poll!(&mut last).is_pending());
    assert_eq!(bed.ports.applied_index(), index, "and it has written nothing");
    assert_eq!(served_after(&bed, last).await, 1);
    bed.stop().await;
}

/// Serves somebody who still waits; the number of their jobs.
async fn served_after(bed: &Bed, waiting: Waiting<'_>) -> usize {
    enqueue_in(&bed.ports, &["mail"]).await;
    served(waiting).await.1.len()
}

#[actix::test]
async fn one_who_takes_many_gets_what_comes_in_one_claim() {
    let bed = with_lines(&["mail"]).await;
    let many = parked(&bed.ports, fetch("mail", 10, Millis::from_secs(60)));
    let next = parked(&bed.ports, one("mail"));
    let (index, jobs) = enqueue_in(&bed.ports, &["mail"; 11]).await;
    assert_eq!(served(many).await, (index, jobs[..10].to_vec()));
    assert_eq!(served(next).await, (index, jobs[10..].to_vec()));
    bed.stop().await;
}

#[actix::test]
async fn one_who_waits_at_two_queues_is_served_once() {
    let bed = with_lines(&["mail", "post"]).await;
    let both = Fetch { queues: vec!["mail".into(), "post".into()], ..one("mail") };
    let waiting = parked(&bed.ports, both);
    let (index, jobs) = enqueue_in(&bed.ports, &["post", "mail"]).await;
    assert_eq!(served(waiting).await, (index, vec![jobs[1]]), "in the order of its queues");
    assert_eq!(claim(&bed.ports, "post", Duration::ZERO).await[0].job.no, jobs[0]);
    bed.stop().await;
}

#[actix::test]
async fn a_paused_queue_hands_nothing_off_and_serves_when_it_is_resumed() {
    let bed = with_lines(&["mail"]).await;
    let mut waiting = parked(&bed.ports, one("mail"));
    set(&bed.ports, "mail", QueueSetting::Pause).await;
    let (index, jobs) = enqueue_in(&bed.ports, &["mail"]).await;
    assert!(futures_util::poll!(&mut waiting).is_pending());
    assert_eq!(bed.ports.applied_index(), index, "no claim is tried");
    set(&bed.ports, "mail", QueueSetting::Resume).await;
    assert_eq!(served(waiting).await.1, jobs);
    bed.stop().await;
}

/// The claim that rides along finds nothing; the fetch waits on.
#[actix::test]
async fn a_refused_enqueue_does_not_end_a_wait() {
    let bed = with_lines(&["mail"]).await;
    set(&bed.ports, "mail", QueueSetting::Drain).await;
    let mut waiting = parked(&bed.ports, one("mail"));
    let jobs = vec![JobSpec::new("mail", Json::null())];
    let refused = bed.ports.propose(&caller(), Enqueue { jobs, request: None }).await.unwrap();
    assert!(matches!(refused.reply, Reply::Rejected(_)));
    set(&bed.ports, "mail", QueueSetting::Resume).await;
    assert!(futures_util::poll!(&mut waiting).is_pending());
    enqueue_in(&bed.ports, &["mail"]).await;
    assert_eq!(served(waiting).await.1.len(), 1);
    bed.stop().await;
}

#[actix::test]
async fn a_job_is_not_leased_to_somebody_who_has_gone_away() {
    let bed = with_lines(&["mail"]).await;
    let gone = parked(&bed.ports, one("mail"));
    let next = parked(&bed.ports, one("mail"));
    drop(gone);
    let enqueued = enqueue_in(&bed.ports, &["mail"]).await;
    assert_eq!(served(next).await, enqueued);
    assert_eq!(fetched(&bed, "mail"), 1);
    bed.stop().await;
}

#[actix::test]
async fn a_job_that_was_handed_off_to_somebody_who_goes_before_taking_it_is_given_back() {
    let bed = with_lines(&["mail"]).await;
    let waiting = parked(&bed.ports, one("mail"));
    let (_, jobs) = enqueue_in(&bed.ports, &["mail"]).await;
    assert_eq!(fetched(&bed, "mail"), 1);
    drop(waiting);
    let again = in_time("the job", claim(&bed.ports, "mail", HANG)).await;
    assert_eq!((again[0].job.no, again[0].job.deliveries, again[0].job.crashes), (jobs[0], 2, 0));
    bed.stop().await;
}

/// A place that becomes free, a throttle that opens: those claims come from the queue's actor.
#[actix::test]
async fn a_queue_with_limits_serves_those_who_wait_as_far_as_they_allow() {
    let bed = with_lines(&["mail", "post"]).await;
    set(&bed.ports, "mail", QueueSetting::Concurrency(Some(1))).await;
    let first = parked(&bed.ports, one("mail"));
    let mut second = parked(&bed.ports, one("mail"));
    let ports = bed.ports.clone();
    enqueue_in(&ports, &["mail", "mail"]).await;
    let decided = in_time("the first", first).await.unwrap();
    let Reply::Fetched(jobs) = decided.reply else { panic!("{decided:?}") };
    assert!(futures_util::poll!(&mut second).is_pending());
    assert!(ack(&ports, &jobs[0]).await);
    assert_eq!(served(second).await.1.len(), 1);

    let throttle = Throttle { count: 1, period: Millis(200) };
    set(&ports, "post", QueueSetting::Throttle(Some(throttle))).await;
    let waiting = [(); 3].map(|()| parked(&ports, one("post")));
    enqueue_in(&ports, &["post"; 3]).await;
    for waiting in waiting {
        assert_eq!(served(waiting).await.1.len(), 1);
    }
    // One comes when the throttle is shut already.
    enqueue_in(&ports, &["post"]).await;
    assert_eq!(in_time("the throttle", claim(&ports, "post", HANG)).await.len(), 1);
    bed.stop().await;
}

#[actix::test]
async fn a_stream_gets_its_job_in_the_entry_that_enqueues_it() {
    let bed = with_lines(&["mail"]).await;
    let request = StreamRequest {
        queues: vec!["mail".into()],
        worker: Name::from("w1"),
        hostname: "".into(),
        prefetch: 5,
        concurrency: 5,
        lease: Millis::from_secs(60),
    };
    let mut stream = bed.ports.open_stream(caller(), request).await.unwrap();
    let nothing = tokio::time::timeout(Duration::from_millis(1), stream.next()).await;
    assert!(nothing.is_err(), "it waits in the line now");
    let (enqueued, jobs) = enqueue_in(&bed.ports, &["mail"]).await;
    match in_time("the stream", stream.next()).await {
        Some(StreamNews::Job { index, leased, .. }) => {
            assert_eq!((index, leased.job.no), (enqueued, jobs[0]));
        }
        other => panic!("{other:?}"),
    }
    bed.stop().await;
}

/// Whoever comes while an enqueue is on its way is not in the line when that goes into the log.
#[actix::test]
async fn no_wake_up_is_lost_however_fetch_and_enqueue_cross() {
    let bed = with_lines(&["mail"]).await;
    for round in 0..300 {
        let fetching = async {
            for _ in 0..round % 7 {
                tokio::task::yield_now().await;
            }
            claim(&bed.ports, "mail", HANG).await
        };
        let enqueueing = async {
            for _ in 0..round % 5 {
                tokio::task::yield_now().await;
            }
            enqueue(&bed.ports, "mail", &["1"]).await
        };
        let (leased, jobs) = in_time("the round", async { tokio::join!(fetching, enqueueing) }).await;
        assert_eq!(leased[0].job.no, jobs[0].no);
    }
    bed.stop().await;
}

/// The line outlives its actor, and the next actor looks as soon as it starts.
#[actix::test]
async fn who_waits_is_served_after_the_queues_actor_was_killed() {
    let bed = with_lines(&["mail"]).await;
    let jobs = enqueue(&bed.ports, "mail", &["1"]).await;
    let leased = claim(&bed.ports, "mail", Duration::ZERO).await;
    set(&bed.ports, "mail", QueueSetting::Concurrency(Some(1))).await;
    let waiting = parked(&bed.ports, one("mail"));
    enqueue(&bed.ports, "mail", &["2"]).await;
    bed.ports.crash_child("jobs/queues/default/mail").unwrap();
    assert!(ack(&bed.ports, &leased[0]).await);
    assert_eq!(served(waiting).await.1.len(), 1);
    assert_eq!(state_of(&bed.ports, &jobs[0]).await, StateKind::Completed);
    bed.stop().await;
}

#[actix::test]
async fn a_lease_that_runs_out_is_handed_to_who_waits() {
    let bed = with_lines(&["mail"]).await;
    enqueue(&bed.ports, "mail", &["1"]).await;
    let leased = claim_for(&bed.ports, fetch("mail", 1, Millis(1000)), Duration::ZERO).await;
    let waiting = parked(&bed.ports, one("mail"));
    assert_eq!(served(waiting).await.1, [leased[0].job.no]);
    bed.stop().await;
}
