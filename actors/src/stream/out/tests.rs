// SPDX-License-Identifier: Apache-2.0
//! What events mean for the jobs that are out.

use jobbie_broker::command::{Enqueue, Fetch};
use jobbie_broker::event::JobEvent;
use jobbie_broker::job::JobSpec;
use jobbie_broker::reply::LeasedJob;
use jobbie_broker::state::Reason;
use jobbie_broker::tables::mem::MemTables;
use jobbie_broker::{
    Change, Command, Job, Json, Millis, Proposal, Reply, Scope, StateKind, Submission, Timestamp,
};

use super::{Out, StreamNews};

/// Leases from the rules themselves.
fn leased(count: u32) -> Vec<LeasedJob> {
    let jobs = (0..count).map(|_| JobSpec::new("mail", Json::null())).collect();
    let fetch = Fetch {
        queues: vec!["mail".into()],
        worker: "w1".into(),
        hostname: "".into(),
        count,
        max_bytes: u32::MAX,
        lease: Millis::from_secs(60),
        stream_concurrency: Some(1),
        request: None,
    };
    let submit = |command: Command| Submission {
        by: "anonymous".into(),
        namespace: "default".into(),
        scope: Scope::ALL,
        command,
    };
    let proposal = Proposal {
        at: Timestamp(1000),
        seed: 7,
        rules: 1,
        submissions: vec![submit(Enqueue { jobs, request: None }.into()), submit(fetch.into())],
    };
    let outcomes = jobbie_broker::apply::apply_proposal(&mut MemTables::new(), 1, &proposal).unwrap();
    match outcomes.into_iter().next_back().map(|outcome| outcome.reply) {
        Some(Reply::Fetched(jobs)) => jobs,
        other => panic!("{other:?}"),
    }
}

fn event(of: &LeasedJob, change: Change, state: StateKind, reason: Option<Reason>) -> JobEvent {
    JobEvent {
        change,
        job: of.job.id(),
        at: Timestamp(2000),
        namespace: "default".into(),
        queue: "mail".into(),
        from: Some(StateKind::Active),
        state,
        attempt: 1,
        worker: Some("w1".into()),
        token: of.job.state.lease().map(|lease| lease.token),
        due_at: None,
        reason,
        took_ms: None,
    }
}

fn out(jobs: &[LeasedJob]) -> Out {
    let mut out = Out::default();
    for job in jobs {
        assert!(out.add(job, 1));
        assert!(!out.add(job, 1), "a lease goes out once");
    }
    out
}

#[test]
fn an_answered_job_gives_its_credit_back_without_a_word() {
    let jobs = leased(2);
    let mut out = out(&jobs);
    assert!(out.heed(&event(&jobs[0], Change::Completed, StateKind::Completed, None)).is_none());
    assert!(out.heed(&event(&jobs[1], Change::Died, StateKind::Dead, Some(Reason::Failed))).is_none());
    assert_eq!(out.len(), 0);
}

#[test]
fn a_lost_lease_is_told() {
    for (change, state, reason) in [
        (Change::Crashed, StateKind::Retrying, None),
        (Change::Released, StateKind::Pending, None),
        (Change::TimedOut, StateKind::Retrying, None),
        (Change::Died, StateKind::Dead, Some(Reason::Crashed)),
        (Change::Died, StateKind::Dead, Some(Reason::Timeout)),
    ] {
        let jobs = leased(1);
        let mut out = out(&jobs);
        let told = out.heed(&event(&jobs[0], change, state, reason));
        assert!(matches!(told, Some(StreamNews::LeaseLost(id)) if id == jobs[0].job.id()), "{change:?}");
        assert_eq!(out.len(), 0);
    }
}

#[test]
fn a_cancel_is_told_once_and_keeps_the_credit() {
    let jobs = leased(1);
    let mut out = out(&jobs);
    let cancel = event(&jobs[0], Change::CancelRequested, StateKind::Active, None);
    assert!(matches!(out.heed(&cancel), Some(StreamNews::Cancel(_))));
    assert!(out.heed(&cancel).is_none());
    assert_eq!(out.len(), 1);
}

#[test]
fn news_of_an_older_lease_of_the_same_job_means_nothing() {
    let jobs = leased(1);
    let mut out = out(&jobs);
    let mut old = event(&jobs[0], Change::Crashed, StateKind::Retrying, None);
    old.token = old.token.map(|token| jobbie_broker::LeaseToken { delivery: token.delivery + 1, ..token });
    assert!(out.heed(&old).is_none());
    assert_eq!(out.len(), 1);
}

#[test]
fn after_lost_events_the_leases_themselves_decide() {
    let jobs = leased(3);
    let mut out = out(&jobs);
    let mut rows: Vec<Option<Job>> = jobs.iter().map(|leased| Some(Job::clone(&leased.job))).collect();
    rows[0] = None;
    rows[1].as_mut().unwrap().cancel_requested_at = Some(Timestamp(1500));
    let news = out.compare(&rows);
    assert!(matches!(&news[..], [StreamNews::LeaseLost(lost), StreamNews::Cancel(cancelled)]
        if *lost == jobs[0].job.id() && *cancelled == jobs[1].job.id()));
    assert_eq!(out.len(), 2);
    assert_eq!(out.buffered(1).len(), 1, "the oldest one runs, the other waits in the worker's buffer");
}

/// Else it begins with what the stream's last sign of life has left of its lease.
#[test]
fn a_job_that_begins_gets_a_whole_lease() {
    let jobs = leased(3);
    let mut out = out(&jobs);
    assert!(out.begun(1).is_empty(), "the first one began with a fresh lease");
    out.heed(&event(&jobs[0], Change::Completed, StateKind::Completed, None));
    let begun = out.begun(1);
    assert_eq!(begun.len(), 1);
    assert_eq!(begun[0].lease.token, jobs[1].job.state.lease().map(|lease| lease.token));
    assert!(out.begun(1).is_empty(), "once");
}

/// Else each ack of a stream with a thousand jobs out costs a look at all of them.
#[test]
fn jobs_end_in_any_order_and_those_that_run_stay_the_oldest() {
    let jobs = leased(6);
    let mut out = Out::default();
    for job in &jobs {
        assert!(out.add(job, 2));
    }
    let token = |at: usize| jobs[at].job.state.lease().map(|lease| lease.token);
    let end = |out: &mut Out, at: usize| {
        let done = event(&jobs[at], Change::Completed, StateKind::Completed, None);
        assert!(out.knows(&done));
        out.heed(&done);
        assert!(!out.knows(&done));
    };
    end(&mut out, 4);
    assert!(out.begun(2).is_empty(), "it had not begun");
    end(&mut out, 1);
    let begun: Vec<_> = out.begun(2).into_iter().map(|item| item.lease.token).collect();
    assert_eq!(begun, [token(2)]);
    end(&mut out, 0);
    end(&mut out, 2);
    let begun: Vec<_> = out.begun(2).into_iter().map(|item| item.lease.token).collect();
    assert_eq!(begun, [token(3), token(5)]);
    assert_eq!(out.len(), 2);
    assert!(out.buffered(2).is_empty());
}
