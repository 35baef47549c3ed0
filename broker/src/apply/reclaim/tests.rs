// SPDX-License-Identifier: Apache-2.0
use crate::apply::testing::*;
use crate::body::Json;
use crate::command::*;
use crate::id::{JobNo, LeaseToken};
use crate::reject::Code;
use crate::reply::{LeasedJob, Swept};
use crate::state::{Reason, State, StateKind};
use crate::time::Millis;

fn lost(jobs: &[LeasedJob]) -> Reclaim {
    let lease = |leased: &LeasedJob| (leased.job.no, leased.job.state.lease().unwrap().token);
    Reclaim { leases: jobs.iter().map(lease).collect() }
}

/// Jobs as they go out on a stream that runs `running` at once.
fn stream(running: u32, count: u32) -> Fetch {
    Fetch { stream_concurrency: Some(running), ..fetch("q", count) }
}

#[test]
fn a_lost_lease_counts_as_a_crash_and_keeps_the_checkpoint() {
    let mut bed = Bed::new();
    let job = bed.enqueue(spec("q"));
    let leased = bed.fetch_one("q");
    let beat = HeartbeatItem { lease: claim(&leased), progress: None, checkpoint: Some(Json::from("5")) };
    bed.run(Heartbeat { items: vec![beat] });
    bed.wait(Millis(LEASE.0 - 1));
    assert_eq!(bed.swept(lost(std::slice::from_ref(&leased))), Swept::default(), "not yet");
    bed.wait(Millis(1));
    assert_eq!(bed.swept(lost(std::slice::from_ref(&leased))).done, 1);
    assert_eq!(bed.news(), ["job.crashed"]);
    let row = bed.job(&job);
    assert_eq!((row.crashes, row.failures, row.attempt()), (1, 0, 1));
    assert_eq!(row.state, State::Retrying { at: bed.now.after(secs(5)) });
    assert_eq!(bed.settled_one(ack(claim(&leased))), Err(Code::LeaseLost));
    assert_eq!(bed.swept(lost(&[leased])), Swept::default(), "the same entry again");
    bed.wait(secs(5));
    bed.promote();
    assert_eq!(bed.fetch_one("q").checkpoint, Some(Json::from("5")));
}

#[test]
fn only_the_named_lease_is_reclaimed_and_only_if_it_is_over() {
    let mut bed = Bed::new();
    let job = bed.enqueue(spec("q"));
    let first = bed.fetch_one("q");
    bed.run(release(claim(&first)));
    let second = bed.fetch_one("q");
    bed.wait(LEASE);
    assert_eq!(bed.swept(lost(&[first])), Swept::default());
    let token = LeaseToken { delivery: 1, salt: 1 };
    assert_eq!(
        bed.swept(Reclaim { leases: vec![(JobNo(99), token), (job.job.no, token)] }),
        Swept::default()
    );
    let beat = HeartbeatItem { lease: claim(&second), progress: None, checkpoint: None };
    bed.run(Heartbeat { items: vec![beat] });
    assert_eq!(bed.swept(lost(&[second])), Swept::default(), "extended since");
}

#[test]
fn a_new_leader_gives_every_lease_its_full_length_again() {
    let mut bed = Bed::new();
    bed.enqueue(spec("q"));
    let leased = bed.fetch_one("q");
    bed.wait(secs(59));
    bed.run(TermStarted {});
    bed.wait(secs(59));
    assert_eq!(bed.swept(lost(std::slice::from_ref(&leased))), Swept::default());
    bed.wait(secs(1));
    assert_eq!(bed.swept(lost(&[leased])).done, 1);
}

#[test]
fn a_poison_pill_is_quarantined() {
    let mut bed = Bed::new();
    let job = bed.enqueue(spec("q"));
    for crash in 1..=3 {
        let leased = bed.fetch_one("q");
        bed.wait(LEASE);
        bed.run(lost(&[leased]));
        assert_eq!(bed.job(&job).crashes, crash);
        bed.wait(secs(20));
        bed.promote();
    }
    let row = bed.job(&job);
    assert_eq!((row.state.reason(), row.failures), (Some(Reason::Crashed), 0));
    assert_eq!(row.last_worker, Some(("w1".into(), "h1".into())));
    assert_eq!(row.errors.last().unwrap().error, "worker w1 lost its lease without a word (crash 3)");
    let totals = bed.queue("q").unwrap().totals;
    assert_eq!((totals.crashed, totals.dead, totals.failed), (3, 1, 0));
}

#[test]
fn on_crash_queue_is_taken_once() {
    let mut bed = Bed::new();
    let mut poison = spec("q");
    poison.options.max_crashes = 1;
    poison.options.on_crash_queue = Some("quarantine".into());
    let job = bed.enqueue(poison);
    let leased = bed.fetch_one("q");
    bed.wait(LEASE);
    bed.run(lost(&[leased]));
    assert_eq!(bed.news(), ["queue.created", "job.crashed"]);
    let row = bed.job(&job);
    assert_eq!((&*row.queue, row.state.kind(), row.crashes), ("quarantine", StateKind::Pending, 0));
    let leased = bed.fetch_one("quarantine");
    bed.wait(LEASE);
    bed.run(lost(&[leased]));
    assert_eq!(bed.job(&job).state.reason(), Some(Reason::Crashed));
}

#[test]
fn a_job_that_was_to_be_cancelled_is_cancelled() {
    let mut bed = Bed::new();
    let job = bed.enqueue(spec("q"));
    let leased = bed.fetch_one("q");
    bed.granted(Cancel { job: job_ref(&job) });
    bed.wait(LEASE);
    bed.run(lost(&[leased]));
    assert_eq!(bed.state(&job), StateKind::Cancelled);
}

#[test]
fn of_a_vanished_stream_only_the_running_jobs_crashed() {
    let mut bed = Bed::new();
    bed.enqueue_n("q", 5);
    let jobs = bed.fetched(stream(2, 5));
    bed.wait(LEASE);
    let twice = [jobs.clone(), jobs].concat();
    assert_eq!(bed.swept(lost(&twice)).done, 5);
    assert_eq!(bed.news(), ["job.crashed", "job.crashed", "job.released", "job.released", "job.released"]);
    let queue = bed.queue("q").unwrap();
    assert_eq!((queue.count(StateKind::Retrying), queue.count(StateKind::Pending)), (2, 3));
}

#[test]
fn it_does_not_matter_in_how_many_entries_a_stream_runs_out() {
    let mut bed = Bed::new();
    bed.enqueue_n("q", 4);
    let mut jobs = bed.fetched(stream(2, 1));
    for _ in 0..3 {
        bed.wait(secs(10));
        jobs.extend(bed.fetched(stream(2, 1)));
    }
    let mut news = Vec::new();
    bed.wait(secs(30));
    for leased in &jobs {
        assert_eq!(bed.swept(lost(&jobs)).done, 1, "job {} alone", leased.job.no.0);
        news.extend(bed.news());
        bed.wait(secs(10));
    }
    assert_eq!(news, ["job.crashed", "job.crashed", "job.released", "job.released"]);
}

#[test]
fn an_older_lease_that_lives_is_the_one_that_runs() {
    let mut bed = Bed::new();
    bed.enqueue_n("q", 2);
    let first = bed.fetched(stream(1, 1));
    let second = bed.fetched(stream(1, 1));
    bed.wait(secs(30));
    let beat = HeartbeatItem { lease: claim(&first[0]), progress: None, checkpoint: None };
    bed.run(Heartbeat { items: vec![beat] });
    bed.wait(secs(30));
    bed.run(lost(&second));
    assert_eq!(bed.news(), ["job.released"]);
}
