// SPDX-License-Identifier: Apache-2.0
//! A whole node on a real disk, without HTTP: claims, waiting, streams, and children that are killed.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod bed;

use std::time::Duration;

use bed::{
    Bed, HANG, ack, caller, claim, claim_for, enqueue, fetch, in_time, lease_of, start, start_in, start_with,
    state_of,
};
use jobbie_actors::Ports;
use jobbie_actors::ports::{Caller, JobStream, News, PortError, StreamNews, StreamRequest, Topic, query};
use jobbie_actors::supervise::{NodeView, State};
use jobbie_broker::command::{
    Ack, AckItem, Cancel, Enqueue, HeartbeatItem, LeaseRef, PutDoc, PutDocs, QueueSetting, SetQueue,
};
use jobbie_broker::document::Expect;
use jobbie_broker::job::{Due, JobSpec};
use jobbie_broker::reply::{LeasedJob, Settled};
use jobbie_broker::{Code, Event, JobRef, Json, Millis, Name, QueueKey, Reply, Scope, StateKind};

#[actix::test]
async fn what_was_acknowledged_is_there_after_a_restart() {
    let bed = start().await;
    let jobs = enqueue(&bed.ports, "mail", &["1", "2", "3"]).await;
    let leased = claim(&bed.ports, "mail", Duration::ZERO).await;
    assert!(ack(&bed.ports, &leased[0]).await);
    let bed = start_in(bed.stop().await).await;
    assert_eq!(state_of(&bed.ports, &jobs[0]).await, StateKind::Completed);
    let next = claim(&bed.ports, "mail", Duration::ZERO).await;
    assert_eq!((next[0].job.no, &next[0].payload), (jobs[1].no, &Json::from("2")));
    bed.stop().await;
}

/// Tells when a queue has come to what is wanted: its row changes in memory, without an event of its own.
async fn until_queue(bed: &Bed, queue: &str, wanted: impl Fn(&jobbie_broker::Queue) -> bool) {
    let reached = async {
        while !bed.ports.queue(&caller(), &queue.into()).unwrap().is_some_and(|row| wanted(&row)) {
            tokio::task::yield_now().await;
        }
    };
    in_time("the queue", reached).await;
}

#[actix::test]
async fn finished_jobs_go_when_their_time_is_over_and_waiting_ones_stay() {
    let bed = start().await;
    enqueue(&bed.ports, "mail", &["1", "2"]).await;
    let leased = claim(&bed.ports, "mail", Duration::ZERO).await;
    assert!(ack(&bed.ports, &leased[0]).await);
    let bed = start_with(bed.stop().await, |settings| settings.retention = Some(Millis(1))).await;
    until_queue(&bed, "mail", |queue| queue.count(StateKind::Completed) == 0).await;
    assert_eq!(
        bed.ports.queue(&caller(), &"mail".into()).unwrap().map(|queue| queue.count(StateKind::Pending)),
        Some(1)
    );
    let violations = bed.ports.read_everything(|reader| reader.check()).await.unwrap();
    assert!(violations.is_empty(), "{violations:?}");
    bed.stop().await;
}

#[actix::test]
async fn of_finished_jobs_only_the_newest_stay() {
    let keep = |settings: &mut jobbie_actors::Settings| settings.retention_count = Some(2);
    let bed = start_with(tempfile::tempdir().unwrap(), keep).await;
    let jobs = enqueue(&bed.ports, "mail", &["1", "2", "3", "4", "5", "6"]).await;
    for _ in 0..5 {
        let leased = claim(&bed.ports, "mail", Duration::ZERO).await;
        assert!(ack(&bed.ports, &leased[0]).await);
    }
    let bed = start_with(bed.stop().await, keep).await;
    until_queue(&bed, "mail", |queue| queue.count(StateKind::Completed) == 2).await;
    assert_eq!(state_of(&bed.ports, &jobs[4]).await, StateKind::Completed, "the newest is one of them");
    assert_eq!(state_of(&bed.ports, &jobs[5]).await, StateKind::Pending, "what has not run stays");
    bed.stop().await;
}

/// fjall keeps a journal for as long as one keyspace has rows of it in memory only, so a keyspace that is hardly
/// written could keep them all (fjall #288), and finished jobs and the log could pile up as well.
#[actix::test]
async fn a_day_of_churn_keeps_the_disk_within_twice_what_is_there() {
    const MIB: u64 = 1 << 20;
    /// Journals (64 MiB of full ones and one that is being written), two segments of the log, memtables that are
    /// being merged, and what waits for the next snapshot.
    const CONSTANT: u64 = 192 * MIB;
    const KEPT: u64 = 3600;
    let small = |settings: &mut jobbie_actors::Settings| {
        settings.store.segment_bytes = 4 * MIB;
        settings.store.write_buffer_bytes = 8 * MIB;
        settings.snapshot_after = 16 * MIB;
        settings.retention = Some(Millis::from_secs(KEPT));
    };
    let bed = start_with(tempfile::tempdir().unwrap(), small).await;
    // Idle from here on, with rows in every keyspace: a body apart from its job, a unique key, a timer.
    let body = format!("\"{}\"", "x".repeat(16 * 1024));
    enqueue(&bed.ports, "idle", &[body.as_str(); 4]).await;
    let mut written = 0;
    let mut most = 0;
    for half_hour in 0..48u64 {
        let jobs = vec![body.as_str(); 100];
        for _ in 0..4 {
            written += jobs.len() as u64 * body.len() as u64;
            enqueue(&bed.ports, "churn", &jobs).await;
            let leased = claim_for(&bed.ports, fetch("churn", 100, Millis::from_secs(60)), HANG).await;
            let item =
                |leased: &LeasedJob| AckItem { lease: lease_of(leased), result: None, checkpoint: None };
            let items = leased.iter().map(item).collect();
            bed.ports.propose(&caller(), Ack { items }).await.unwrap();
        }
        bed.clock.advance(Millis::from_secs(1800));
        // Two half hours of jobs are within the retention.
        until_queue(&bed, "churn", |queue| queue.count(StateKind::Completed) <= 800).await;
        let live = (400 * half_hour.min(2) + 404) * body.len() as u64;
        // Snapshots, and what they and memtables leave behind, are the work of threads that share the cores with
        // this one: the churn of a simulated half hour takes a fraction of a second here, and waits for them.
        let mut disk = bed.ports.info().await.unwrap().disk;
        let used = |disk: &query::DiskUse| disk.log_bytes + disk.state_bytes + disk.journal_bytes;
        let begun = std::time::Instant::now();
        while used(&disk) > 2 * live + CONSTANT {
            assert!(begun.elapsed() < HANG, "after {half_hour} half hours: {disk:?}, {live} bytes live");
            tokio::task::yield_now().await;
            disk = bed.ports.info().await.unwrap().disk;
        }
        most = most.max(used(&disk).saturating_sub(2 * live));
    }
    assert!(written > 3 * CONSTANT / 2, "{written} bytes are too few to show anything");
    assert_eq!(bed.ports.queue(&caller(), &"idle".into()).unwrap().unwrap().count(StateKind::Pending), 4);
    println!("written {} MiB, most {} MiB above twice what was live", written / MIB, most / MIB);
    bed.stop().await;
}

/// The log of a node that lives long is cut behind its snapshots, and snapshot and log are all it needs.
#[actix::test]
async fn the_log_is_cut_behind_a_snapshot_and_both_together_bring_everything_back() {
    const JOBS: usize = 6_000;
    let small = |settings: &mut jobbie_actors::Settings| {
        settings.store.segment_bytes = 256 * 1024;
        settings.snapshot_after = 1024 * 1024;
    };
    let bed = start_with(tempfile::tempdir().unwrap(), small).await;
    let payload = format!("\"{}\"", "x".repeat(1000));
    for _ in 0..JOBS / 100 {
        enqueue(&bed.ports, "mail", &[payload.as_str(); 100]).await;
    }
    let cut = async {
        loop {
            let disk = bed.ports.info().await.unwrap().disk;
            if disk.snapshot_bytes > 0 && disk.log_bytes < 3 * 1024 * 1024 {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    in_time("the cut", cut).await;
    let leased = claim(&bed.ports, "mail", Duration::ZERO).await;
    assert!(ack(&bed.ports, &leased[0]).await);
    let dir = bed.stop().await;
    std::fs::remove_dir_all(dir.path().join("state")).unwrap();
    let bed = start_with(dir, small).await;
    let queue = bed.ports.queue(&caller(), &"mail".into()).unwrap().unwrap();
    assert_eq!(queue.count(StateKind::Pending), JOBS as u64 - 1);
    assert_eq!(queue.count(StateKind::Completed), 1);
    let violations = bed.ports.read_everything(|reader| reader.check()).await.unwrap();
    assert!(violations.is_empty(), "{violations:?}");
    bed.stop().await;
}

/// Waits until somebody waits at the queue.
async fn parked(bed: &Bed) {
    let view = bed.tree.until(|view| view.find("jobs/queues/default/mail").is_some());
    in_time("parking", view).await;
}

#[actix::test]
async fn a_waiting_fetch_gets_the_job_that_comes_and_an_empty_poll_writes_nothing() {
    let bed = start().await;
    let before = bed.ports.applied_index();
    assert!(claim(&bed.ports, "mail", Duration::ZERO).await.is_empty());
    assert_eq!(bed.ports.applied_index(), before);
    let ports = bed.ports.clone();
    let waiting = actix::spawn(async move { claim(&ports, "mail", HANG).await });
    parked(&bed).await;
    let jobs = enqueue(&bed.ports, "mail", &["1"]).await;
    let leased = in_time("the fetch", waiting).await.unwrap();
    assert_eq!(leased[0].job.no, jobs[0].no);
    bed.stop().await;
}

#[actix::test]
async fn many_waiters_share_what_comes_without_missing_or_doubling_a_job() {
    let bed = start().await;
    let waiters: Vec<_> = (0..20)
        .map(|_| {
            let ports = bed.ports.clone();
            actix::spawn(async move { claim(&ports, "mail", HANG).await })
        })
        .collect();
    for _ in 0..4 {
        enqueue(&bed.ports, "mail", &["1", "2", "3", "4", "5"]).await;
    }
    let mut seen = std::collections::BTreeSet::new();
    for waiter in waiters {
        for leased in in_time("a waiter", waiter).await.unwrap() {
            assert!(seen.insert(leased.job.no), "handed out twice");
        }
    }
    assert_eq!(seen.len(), 20);
    bed.stop().await;
}

#[actix::test]
async fn a_paused_queue_wakes_nobody_until_it_is_resumed() {
    let bed = start().await;
    let set = |setting| SetQueue { queue: "mail".into(), setting };
    bed.ports.propose(&caller(), set(QueueSetting::Pause)).await.unwrap();
    enqueue(&bed.ports, "mail", &["1"]).await;
    assert!(claim(&bed.ports, "mail", Duration::ZERO).await.is_empty());
    let ports = bed.ports.clone();
    let waiting = actix::spawn(async move { claim(&ports, "mail", HANG).await });
    parked(&bed).await;
    bed.ports.propose(&caller(), set(QueueSetting::Resume)).await.unwrap();
    assert_eq!(in_time("the fetch", waiting).await.unwrap().len(), 1);
    bed.stop().await;
}

/// The event of a crashed job on its way out names the queue it went to; the one it left has a free place.
#[actix::test]
async fn a_job_that_goes_to_its_crash_queue_frees_the_place_it_had() {
    let bed = start().await;
    let mut poison = JobSpec::new("mail", Json::from("1"));
    (poison.options.max_crashes, poison.options.on_crash_queue) = (1, Some("ward".into()));
    let jobs = vec![poison, JobSpec::new("mail", Json::from("2"))];
    bed.ports.propose(&caller(), Enqueue { jobs, request: None }).await.unwrap();
    let one = SetQueue { queue: "mail".into(), setting: QueueSetting::Concurrency(Some(1)) };
    bed.ports.propose(&caller(), one).await.unwrap();
    assert_eq!(claim_for(&bed.ports, fetch("mail", 1, Millis(1000)), Duration::ZERO).await.len(), 1);
    let next = claim(&bed.ports, "mail", HANG / 2).await;
    assert_eq!(next.first().map(|leased| &leased.payload), Some(&Json::from("2")));
    bed.stop().await;
}

#[actix::test]
async fn a_delayed_job_becomes_pending_and_a_silent_lease_is_reclaimed() {
    let bed = start().await;
    let spec = JobSpec { due: Due::After(Millis(200)), ..JobSpec::new("mail", Json::null()) };
    bed.ports.propose(&caller(), Enqueue { jobs: vec![spec], request: None }).await.unwrap();
    let leased = in_time("the promotion", claim_for(&bed.ports, fetch("mail", 1, Millis(1000)), HANG)).await;
    assert_eq!(leased.len(), 1);
    let again = in_time("the reclaim", claim(&bed.ports, "mail", HANG)).await;
    assert_eq!((again[0].job.no, again[0].job.crashes), (leased[0].job.no, 1));
    assert!(!ack(&bed.ports, &leased[0]).await, "the old token is worth nothing");
    assert!(ack(&bed.ports, &again[0]).await);
    bed.stop().await;
}

#[actix::test]
async fn a_bare_heartbeat_extends_a_lease_without_a_write_and_tells_of_a_cancel() {
    let bed = start().await;
    enqueue(&bed.ports, "mail", &["1"]).await;
    let leased = claim_for(&bed.ports, fetch("mail", 1, Millis(3_600_000)), Duration::ZERO).await;
    let beat = HeartbeatItem { lease: lease_of(&leased[0]), progress: None, checkpoint: None };
    let before = bed.ports.applied_index();
    let heard = bed.ports.heartbeat(&caller(), vec![beat.clone()]).await.unwrap();
    assert_eq!(bed.ports.applied_index(), before, "a bare one is not written");
    let granted = leased[0].job.state.lease().unwrap().deadline;
    assert!(matches!(&heard.reply[..], [Ok(Settled::Alive { lease_expires_at, cancel: false, .. })]
        if *lease_expires_at >= granted));
    bed.ports.propose(&caller(), Cancel { job: beat.lease.job.clone() }).await.unwrap();
    let heard = bed.ports.heartbeat(&caller(), vec![beat.clone()]).await.unwrap();
    assert!(matches!(&heard.reply[..], [Ok(Settled::Alive { cancel: true, .. })]));
    let mut foreign = beat;
    foreign.lease.token = foreign.lease.token.map(|t| jobbie_broker::LeaseToken { salt: !t.salt, ..t });
    let heard = bed.ports.heartbeat(&caller(), vec![foreign]).await.unwrap();
    assert!(matches!(&heard.reply[..], [Err(_)]));
    bed.stop().await;
}

async fn stream(ports: &Ports, worker: &str, prefetch: u32) -> JobStream {
    let request = StreamRequest {
        queues: vec!["mail".into()],
        worker: Name::from(worker),
        hostname: "".into(),
        prefetch,
        concurrency: 1,
        lease: Millis::from_secs(60),
    };
    ports.open_stream(caller(), request).await.unwrap()
}

async fn next_job(stream: &mut JobStream) -> (LeasedJob, bool) {
    match in_time("the stream", stream.next()).await {
        Some(StreamNews::Job { leased, adopted, .. }) => (*leased, adopted),
        other => panic!("{other:?}"),
    }
}

/// True if nothing comes while a job of another queue goes all the way round.
async fn is_quiet(stream: &mut JobStream, ports: &Ports) -> bool {
    let round_trip = async {
        enqueue(ports, "elsewhere", &["1"]).await;
        claim(ports, "elsewhere", HANG).await;
    };
    tokio::select! {
        biased;
        _ = stream.next() => false,
        () = round_trip => true,
    }
}

#[actix::test]
async fn a_stream_has_no_more_jobs_out_than_its_prefetch() {
    let bed = start().await;
    enqueue(&bed.ports, "mail", &["1", "2", "3"]).await;
    let mut stream = stream(&bed.ports, "w1", 2).await;
    let (first, _) = next_job(&mut stream).await;
    next_job(&mut stream).await;
    assert!(is_quiet(&mut stream, &bed.ports).await, "no credit is left");
    assert!(ack(&bed.ports, &first).await);
    let (third, _) = next_job(&mut stream).await;
    assert_eq!(third.payload, Json::from("3"));
    bed.stop().await;
}

#[actix::test]
async fn a_stream_that_comes_back_adopts_its_leases_and_the_older_one_ends() {
    let bed = start().await;
    enqueue(&bed.ports, "mail", &["1"]).await;
    let mut old = stream(&bed.ports, "w1", 1).await;
    let (leased, adopted) = next_job(&mut old).await;
    assert!(!adopted);
    let mut new = stream(&bed.ports, "w1", 1).await;
    let (same, adopted) = next_job(&mut new).await;
    assert!(adopted);
    assert_eq!(lease_of(&same).token, lease_of(&leased).token);
    assert!(matches!(in_time("the old stream", old.next()).await, Some(StreamNews::Drain)));
    assert!(in_time("the old stream", old.next()).await.is_none());
    bed.ports.propose(&caller(), Cancel { job: lease_of(&same).job }).await.unwrap();
    assert!(matches!(in_time("the cancel", new.next()).await, Some(StreamNews::Cancel(_))));
    bed.ports.begin_stopping();
    assert!(matches!(in_time("the drain", new.next()).await, Some(StreamNews::Drain)));
    bed.stop().await;
}

#[actix::test]
async fn what_a_closed_stream_had_not_delivered_is_given_back() {
    let bed = start().await;
    let jobs = enqueue(&bed.ports, "mail", &["1", "2", "3"]).await;
    let mut stream = stream(&bed.ports, "w1", 3).await;
    next_job(&mut stream).await;
    drop(stream);
    let mut back = Vec::new();
    while back.len() < 2 {
        let jobs = in_time("the jobs", claim(&bed.ports, "mail", HANG)).await;
        back.extend(jobs.into_iter().map(|leased| leased.job.no));
    }
    assert_eq!(back, [jobs[1].no, jobs[2].no], "in their old order, long before the lease ends");
    bed.stop().await;
}

/// Kills a child again and again while jobs go through, and counts the jobs afterwards.
async fn killed_under_load(child: &'static str, kills: u64) {
    let bed = start().await;
    let total = 60 * kills;
    let ports = bed.ports.clone();
    let producer = actix::spawn(async move {
        let mut ids = Vec::new();
        for n in 0..total {
            ids.extend(enqueue(&ports, "mail", &[&n.to_string()]).await);
        }
        ids
    });
    let workers: Vec<_> = (0..4).map(|_| actix::spawn(work(bed.ports.clone()))).collect();
    let through =
        || bed.ports.queue(&caller(), &"mail".into()).unwrap().map_or(0, |queue| queue.totals.completed);
    let until_through = async |count: u64| {
        while through() < count {
            tokio::task::yield_now().await;
        }
    };
    for n in 1..=kills {
        // Spread over the load: the next kill when so many jobs are through.
        in_time("the load", until_through(n * 40)).await;
        if bed.ports.crash_child(child).is_ok() {
            let runs_again = |view: &NodeView| {
                view.find(child).is_some_and(|c| c.restarts >= 1 && c.state == State::Running)
            };
            in_time("the restart", bed.tree.until(runs_again)).await;
        }
    }
    let ids = in_time("the producer", producer).await.unwrap();
    in_time("the last job", until_through(total)).await;
    bed.ports.begin_stopping();
    let mut done = Vec::new();
    for worker in workers {
        done.extend(in_time("a worker", worker).await.unwrap());
    }
    done.sort_unstable();
    assert_eq!(done, ids.iter().map(|id| id.no).collect::<Vec<_>>(), "each job once");
    let violations = bed.ports.read_everything(|reader| reader.check()).await.unwrap();
    assert!(violations.is_empty(), "{violations:?}");
    bed.stop().await;
}

async fn work(ports: Ports) -> Vec<jobbie_broker::JobNo> {
    let mut done = Vec::new();
    loop {
        let jobs = claim(&ports, "mail", HANG).await;
        if jobs.is_empty() {
            return done;
        }
        for leased in jobs {
            assert!(ack(&ports, &leased).await);
            done.push(leased.job.no);
        }
    }
}

#[actix::test]
async fn dispatch_killed_under_load_loses_and_doubles_nothing() {
    killed_under_load("jobs/dispatch", 3).await;
}

#[actix::test]
async fn a_queue_actor_killed_under_load_loses_and_doubles_nothing() {
    killed_under_load("jobs/queues/default/mail", 3).await;
}

#[actix::test]
async fn the_scheduler_killed_under_load_loses_and_doubles_nothing() {
    killed_under_load("jobs/scheduler", 3).await;
}

#[actix::test]
async fn all_queue_actors_killed_under_load_lose_and_double_nothing() {
    killed_under_load("jobs/queues", 2).await;
}

#[actix::test]
async fn raft_node_killed_ends_the_tree_with_a_reason() {
    let bed = start().await;
    bed.ports.crash_child("raft-node").unwrap();
    let exit = in_time("the tree", bed.tree.wait()).await;
    assert_eq!(exit.code, 70);
    assert!(!exit.reason.is_empty());
}

/// The tree is public: what `jobbie tree` prints changes only on purpose.
#[actix::test]
async fn the_tree_is_pinned() {
    let bed = start().await;
    let shape = bed.tree.view().to_string();
    assert_eq!(shape.trim(), include_str!("tree.txt").trim(), "the tree as it is:\n{shape}");
    bed.stop().await;
}

fn limited() -> Caller {
    Caller { by: "key_1".into(), scope: Scope::of(["ours".into()]), ..caller() }
}

/// Every port that takes a caller, with one who may touch `ours` only.
#[actix::test]
async fn what_is_outside_of_a_callers_queues_is_not_there() {
    let bed = start().await;
    let ports = &bed.ports;
    let mine = JobRef::from(&enqueue(ports, "ours", &["1"]).await[0]);
    let theirs = JobRef::from(&enqueue(ports, "theirs", &["1"]).await[0]);
    let who = limited();

    let names: Vec<Name> = ports.queues(&who).into_iter().map(|queue| queue.name).collect();
    assert_eq!(names, ["ours".into()]);
    let outside = |result: Result<(), PortError>| matches!(result, Err(PortError::Outside(_)));
    for queue in ["theirs", "none"] {
        let queue: Name = queue.into();
        assert!(outside(ports.queue(&who, &queue).map(drop)));
        let waiting = ports.fetch(&who, fetch(&queue, 1, Millis::from_secs(60)), HANG);
        assert!(
            outside(in_time("a refusal", waiting).await.map(drop)),
            "nobody waits where they may not fetch"
        );
        assert!(outside(ports.open_stream(who.clone(), request(&queue)).await.map(drop)));
    }
    let (asked, other) = (mine.clone(), theirs.clone());
    let read = ports.read(&who, move |view| {
        let jobs = view.jobs(None, None, None, 10)?.jobs.len();
        let oldest = [view.oldest_pending(&"ours".into())?, view.oldest_pending(&"theirs".into())?];
        let rows = [view.job_row(&asked)?.is_some(), view.job_row(&other)?.is_some()];
        Ok((jobs, oldest.map(|at| at.is_some()), rows, view.job(&other)?.is_some()))
    });
    assert_eq!(read.await.unwrap(), (1, [true, false], [true, false], false));
    let text = ports.metrics_text(&who).await.unwrap();
    assert!(text.contains("queue=\"ours\"") && !text.contains("theirs"));

    let beat = |job: &JobRef| HeartbeatItem {
        lease: LeaseRef { job: job.clone(), token: None, worker: None },
        progress: None,
        checkpoint: None,
    };
    let leased = claim(ports, "theirs", Duration::ZERO).await;
    let answers = ports.heartbeat(&who, vec![beat(&theirs)]).await.unwrap().reply;
    assert_eq!(answers[0].as_ref().unwrap_err().code, Code::NotFound, "a bare sign of life is no command");
    assert!(ack(ports, &leased[0]).await);
    bed.stop().await;
}

fn request(queue: &str) -> StreamRequest {
    StreamRequest {
        queues: vec![queue.into()],
        worker: "w1".into(),
        hostname: "".into(),
        prefetch: 1,
        concurrency: 1,
        lease: Millis::from_secs(60),
    }
}

#[actix::test]
async fn news_of_other_queues_is_not_heard() {
    let bed = start().await;
    let topics =
        vec![Topic::All("default".into()), Topic::Queue(QueueKey::new(&"default".into(), &"theirs".into()))];
    let mut subscription = bed.ports.subscribe(&limited(), topics, None);
    enqueue(&bed.ports, "theirs", &["1"]).await;
    let mine = enqueue(&bed.ports, "ours", &["1"]).await;
    let first = in_time("the news", subscription.next()).await;
    assert!(
        matches!(first, News::Event(event) if matches!(&event.event, Event::Queue(queue) if &*queue.queue == "ours"))
    );
    let second = in_time("the news", subscription.next()).await;
    assert!(
        matches!(second, News::Event(event) if matches!(&event.event, Event::Job(job) if job.job == mine[0]))
    );
    bed.stop().await;
}

#[actix::test]
async fn a_document_can_be_read_when_its_write_is_answered() {
    let bed = start().await;
    let changed = bed.ports.docs_changed();
    let put = PutDoc {
        space: "test".into(),
        key: "a".into(),
        value: Some(Json::from("1")),
        expect: Expect::Absent,
    };
    let decided = bed.ports.propose(&caller(), PutDocs { docs: vec![put] }).await.unwrap();
    let docs = bed.ports.docs(&"test".into());
    assert_eq!(decided.reply, Reply::Docs(vec![docs[0].1.version]));
    assert_eq!((&*docs[0].0, &docs[0].1.value), ("a", &Json::from("1")));
    assert!(changed.has_changed().unwrap());
    bed.stop().await;
}
