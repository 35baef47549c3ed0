// SPDX-License-Identifier: Apache-2.0
//! What the property tests share: random operations that refer to what is there, and a bed that turns them
//! into proposals, applies them and keeps the log.

#![allow(clippy::unwrap_used, dead_code, missing_docs)]

use jobbie_broker::apply::apply_proposal;
use jobbie_broker::backoff::{Backoff, RetryPolicy};
use jobbie_broker::body::INLINE;
use jobbie_broker::command::*;
use jobbie_broker::document::Expect;
use jobbie_broker::id::{JobId, JobNo, JobRef, LeaseToken, Name, mix};
use jobbie_broker::job::{Due, JobSpec, Options, Progress};
use jobbie_broker::request::{RequestKey, Route};
use jobbie_broker::tables::mem::MemTables;
use jobbie_broker::throttle::Throttle;
use jobbie_broker::unique::Unique;
use jobbie_broker::{Command, Event, Json, Millis, Outcome, Reply, Scope, Timestamp};
use proptest::prelude::*;

pub const START: Timestamp = Timestamp(1_800_000_000_000);

/// Something to do. Numbers pick from what there is, so that most operations hit something.
#[derive(Clone, Debug)]
pub enum Op {
    Do(Command),
    Fetch { queues: Vec<u8>, worker: u8, count: u8, stream: Option<u8>, request: Option<u8> },
    Ack(Vec<Pick>),
    Fail(Vec<Pick>),
    Release(Vec<Pick>),
    Heartbeat(Vec<Pick>),
    Renew(Vec<u8>, u16),
    Reclaim(Vec<u8>),
    Retry(u8),
    Cancel(u8),
    Move(u8, u8),
    Delete(u8),
    Patch { job: u8, payload: bool, priority: Option<u8>, scheduled_in: Option<i16> },
    Clone(u8),
    Wait(u32),
}

/// A lease picked from all that were ever granted, and how a worker speaks for it.
#[derive(Clone, Copy, Debug)]
pub struct Pick {
    pub lease: u8,
    pub token: bool,
    pub flavour: u8,
}

fn text(size: usize) -> Json {
    Json::from(format!("\"{}\"", "x".repeat(size)).as_str())
}

fn body(flavour: u8) -> Option<Json> {
    match flavour % 4 {
        0 => Some(text(3)),
        1 if flavour > 200 => Some(text(INLINE)),
        _ => None,
    }
}

pub fn queue(number: u8) -> Name {
    format!("q{}", number % 3).into()
}

pub fn spec() -> impl Strategy<Value = JobSpec> {
    let due = prop_oneof![
        4 => Just(Due::Now),
        1 => (0u64..90_000).prop_map(|ms| Due::After(Millis(ms))),
        1 => (0u64..90_000).prop_map(|ms| Due::At(Timestamp(START.0 + ms))),
    ];
    let backoff = prop_oneof![
        Just(Backoff::None),
        Just(Backoff::Fixed),
        Just(Backoff::Linear),
        Just(Backoff::Exponential)
    ];
    let retry =
        (0u32..3, backoff, 0u64..20_000, 0u16..200).prop_map(|(max_retries, backoff, base, jitter)| {
            let base = Millis(base);
            RetryPolicy { max_retries, backoff, base, jitter_permille: jitter, ..RetryPolicy::default() }
        });
    let unique = prop::option::weighted(0.3, (0u8..3, 0u64..120_000)).prop_map(|unique| {
        unique.map(|(key, period)| Unique { key: format!("k{key}").into(), period: Millis(period) })
    });
    let options = (
        prop::sample::select(vec![0u8, 50, 100]),
        retry,
        prop::option::weighted(0.3, 1_000u64..60_000),
        unique,
        0u32..3,
        prop::option::weighted(0.3, 0u8..3),
    );
    let options = options.prop_map(|(priority, retry, timeout, unique, max_crashes, on_crash)| Options {
        priority,
        retry,
        timeout: timeout.map(Millis),
        unique,
        max_crashes,
        on_crash_queue: on_crash.map(queue),
        retention: timeout.filter(|ms| ms % 2 == 0).map(Millis),
        ..Options::default()
    });
    let expire = prop::option::weighted(0.2, 0u64..120_000);
    let id = prop::option::weighted(0.15, 0u8..4);
    (0u8..3, due, expire, id, options, prop::bool::weighted(0.1)).prop_map(
        |(number, due, expire, id, options, large)| JobSpec {
            queue: queue(number),
            payload: text(if large { INLINE } else { usize::from(number) }),
            id: id.map(|id| format!("chosen{id}").into()),
            due,
            expire_after: expire.map(Millis),
            options,
        },
    )
}

fn request(route: Route) -> impl Strategy<Value = Option<RequestKey>> {
    prop::option::weighted(0.1, 0u8..4)
        .prop_map(move |key| key.map(|key| RequestKey { route, key: format!("r{key}").into() }))
}

fn setting() -> impl Strategy<Value = QueueSetting> {
    prop_oneof![
        1 => Just(QueueSetting::Pause),
        4 => Just(QueueSetting::Resume),
        1 => Just(QueueSetting::Drain),
        2 => prop::option::of(0u32..4).prop_map(QueueSetting::Concurrency),
        1 => prop::option::of((1u32..5, 1u64..20_000)).prop_map(|throttle| {
            QueueSetting::Throttle(throttle.map(|(count, ms)| Throttle { count, period: Millis(ms) }))
        }),
    ]
}

fn picks() -> impl Strategy<Value = Vec<Pick>> {
    let pick = (any::<u8>(), prop::bool::weighted(0.8), any::<u8>());
    prop::collection::vec(pick.prop_map(|(lease, token, flavour)| Pick { lease, token, flavour }), 1..5)
}

fn docs() -> impl Strategy<Value = Op> {
    let expect = prop_oneof![
        2 => Just(Expect::Anything),
        1 => Just(Expect::Absent),
        1 => (1u64..40).prop_map(Expect::Version),
    ];
    let doc = (0u8..4, prop::option::weighted(0.7, 0usize..50), expect).prop_map(|(key, size, expect)| {
        PutDoc { space: "test".into(), key: format!("d{key}").into(), value: size.map(text), expect }
    });
    prop::collection::vec(doc, 1..4).prop_map(|docs| Op::Do(PutDocs { docs }.into()))
}

pub fn op() -> impl Strategy<Value = Op> {
    let jobs = (prop::collection::vec(spec(), 1..5), request(Route::Enqueue));
    let enqueue = jobs.prop_map(|(jobs, request)| Op::Do(Enqueue { jobs, request }.into()));
    let fetch = (
        prop::collection::vec(0u8..4, 1..4),
        0u8..3,
        0u8..6,
        prop::option::weighted(0.4, 0u8..3),
        prop::option::weighted(0.2, 0u8..3),
    );
    let fetch = fetch.prop_map(|(queues, worker, count, stream, request)| Op::Fetch {
        queues,
        worker,
        count,
        stream,
        request,
    });
    let purge = (0u8..3, any::<bool>(), 0u32..6).prop_map(|(number, all, limit)| {
        let finished_before = if all { Timestamp::MAX } else { Timestamp(START.0 + 60_000) };
        let keep = if limit % 2 == 0 { u64::MAX } else { u64::from(limit) / 2 };
        Op::Do(Purge { queue: queue(number), finished_before, limit, keep }.into())
    });
    let patch =
        (any::<u8>(), any::<bool>(), prop::option::of(any::<u8>()), prop::option::of(any::<i16>())).prop_map(
            |(job, payload, priority, scheduled_in)| Op::Patch { job, payload, priority, scheduled_in },
        );
    prop_oneof![
        12 => enqueue,
        14 => fetch,
        7 => picks().prop_map(Op::Ack),
        7 => picks().prop_map(Op::Fail),
        4 => picks().prop_map(Op::Release),
        4 => picks().prop_map(Op::Heartbeat),
        2 => (prop::collection::vec(any::<u8>(), 1..4), any::<u16>()).prop_map(|(leases, ms)| Op::Renew(leases, ms)),
        1 => Just(Op::Do(TermStarted {}.into())),
        8 => (0u32..6).prop_map(|limit| Op::Do(Promote { limit }.into())),
        6 => prop::collection::vec(any::<u8>(), 1..9).prop_map(Op::Reclaim),
        3 => purge,
        2 => (0u32..4).prop_map(|limit| Op::Do(ForgetRequests { limit }.into())),
        4 => any::<u8>().prop_map(Op::Retry),
        3 => any::<u8>().prop_map(Op::Cancel),
        3 => (any::<u8>(), any::<u8>()).prop_map(|(job, to)| Op::Move(job, to)),
        2 => any::<u8>().prop_map(Op::Delete),
        3 => patch,
        2 => any::<u8>().prop_map(Op::Clone),
        5 => (0u8..3, setting()).prop_map(|(number, setting)| {
            Op::Do(SetQueue { queue: queue(number), setting }.into())
        }),
        2 => (0u8..3).prop_map(|number| Op::Do(ClearQueue { queue: queue(number) }.into())),
        2 => (0u8..3).prop_map(|number| Op::Do(DeleteQueue { queue: queue(number) }.into())),
        2 => docs(),
        9 => prop_oneof![8 => 1u32..90_000, 1 => Just(86_400_000)].prop_map(Op::Wait),
    ]
}

pub fn ops(len: usize) -> impl Strategy<Value = Vec<Op>> {
    prop::collection::vec(op(), 1..len)
}

/// Tables, the log that made them, and what a client has seen of jobs and leases.
#[derive(Clone)]
pub struct Bed {
    pub tables: MemTables,
    pub now: Timestamp,
    pub log: Vec<Proposal>,
    pub jobs: Vec<JobId>,
    pub leases: Vec<(JobId, LeaseToken, Name)>,
}

impl Bed {
    pub fn new() -> Self {
        let (jobs, leases, log) = (Vec::new(), Vec::new(), Vec::new());
        Self { tables: MemTables::new(), now: START, log, jobs, leases }
    }

    /// Does one operation, if there is anything it can refer to.
    pub fn run(&mut self, op: &Op) -> Option<(Command, Outcome)> {
        if let Op::Wait(ms) = op {
            self.now = self.now.after(Millis(u64::from(*ms)));
            return None;
        }
        let command = self.command(op)?;
        let outcome = self.propose(vec![command.clone()]).remove(0);
        Some((command, outcome))
    }

    pub fn propose(&mut self, commands: Vec<Command>) -> Vec<Outcome> {
        let submissions = commands
            .into_iter()
            .map(|command| Submission {
                by: "tester".into(),
                namespace: "default".into(),
                scope: Scope::ALL,
                command,
            })
            .collect();
        let seed = mix(self.log.len() as u64);
        let proposal = Proposal { at: self.now, seed, rules: RULES_VERSION, submissions };
        // What is applied has been through the log.
        let proposal = Proposal::decode(&proposal.encode()).unwrap();
        let index = self.log.len() as u64 + 1;
        let outcomes = apply_proposal(&mut self.tables, index, &proposal).unwrap();
        self.log.push(proposal);
        outcomes.iter().for_each(|outcome| self.see(outcome));
        outcomes
    }

    fn see(&mut self, outcome: &Outcome) {
        for event in &outcome.events {
            if let Event::Job(event) = event
                && event.from.is_none()
            {
                self.jobs.push(event.job.clone());
            }
        }
        if let Reply::Fetched(jobs) = &outcome.reply {
            for leased in jobs {
                let lease = leased.job.state.lease().expect("a fetched job is leased");
                self.leases.push((leased.job.id(), lease.token, lease.worker.clone()));
            }
        }
    }

    fn job(&self, pick: u8) -> Option<JobRef> {
        // From the newest backwards: old jobs are mostly finished.
        let back = usize::from(pick) % self.jobs.len().clamp(1, 12);
        self.jobs.iter().rev().nth(back).map(JobRef::from)
    }

    fn lease(&self, pick: u8) -> Option<&(JobId, LeaseToken, Name)> {
        self.leases.iter().rev().nth(usize::from(pick) % self.leases.len().clamp(1, 12))
    }

    fn claims(&self, picks: &[Pick]) -> Vec<(LeaseRef, u8)> {
        let claim = |pick: &Pick| {
            let (job, token, worker) = self.lease(pick.lease)?;
            let token = pick.token.then_some(*token);
            let worker = (!pick.token && pick.flavour.is_multiple_of(2)).then(|| worker.clone());
            Some((LeaseRef { job: JobRef::from(job), token, worker }, pick.flavour))
        };
        picks.iter().filter_map(claim).collect()
    }

    fn named(&self, picks: &[u8]) -> Vec<(JobNo, LeaseToken)> {
        picks.iter().filter_map(|pick| self.lease(*pick)).map(|(job, token, _)| (job.no, *token)).collect()
    }

    pub fn command(&self, op: &Op) -> Option<Command> {
        Some(match op {
            Op::Wait(_) => return None,
            Op::Do(command) => command.clone(),
            Op::Fetch { queues, worker, count, stream, request } => Fetch {
                queues: queues.iter().map(|number| queue(*number)).collect(),
                worker: format!("w{worker}").into(),
                hostname: "host".into(),
                count: u32::from(*count),
                max_bytes: 10_000,
                lease: Millis(30_000),
                stream_concurrency: stream.map(u32::from),
                request: request.map(|key| RequestKey { route: Route::Fetch, key: format!("f{key}").into() }),
            }
            .into(),
            Op::Ack(picks) => ack(&self.claims(picks)).into(),
            Op::Fail(picks) => fail(&self.claims(picks)).into(),
            Op::Release(picks) => release(&self.claims(picks)).into(),
            Op::Heartbeat(picks) => heartbeat(&self.claims(picks)).into(),
            Op::Renew(picks, ms) => {
                let heard_at = Timestamp(self.now.0.saturating_sub(u64::from(*ms)));
                let renewal = |(job, token)| Renewal { job, token, heard_at, progress: None };
                Renew { items: self.named(picks).into_iter().map(renewal).collect() }.into()
            }
            Op::Reclaim(picks) => Reclaim { leases: self.named(picks) }.into(),
            Op::Retry(job) => Retry { job: self.job(*job)? }.into(),
            Op::Cancel(job) => Cancel { job: self.job(*job)? }.into(),
            Op::Move(job, to) => Move { job: self.job(*job)?, queue: queue(*to) }.into(),
            Op::Delete(job) => Delete { job: self.job(*job)? }.into(),
            Op::Patch { job, payload, priority, scheduled_in } => Patch {
                job: self.job(*job)?,
                payload: payload.then(|| text(1)),
                priority: *priority,
                tags: None,
                scheduled_at: scheduled_in
                    .map(|ms| Timestamp(self.now.0.saturating_add_signed(i64::from(ms)))),
            }
            .into(),
            Op::Clone(job) => CloneJob { job: self.job(*job)? }.into(),
        })
    }
}

pub fn ack(claims: &[(LeaseRef, u8)]) -> Ack {
    let item =
        |(lease, f): &(LeaseRef, u8)| AckItem { lease: lease.clone(), result: body(*f), checkpoint: None };
    Ack { items: claims.iter().map(item).collect() }
}

pub fn fail(claims: &[(LeaseRef, u8)]) -> Fail {
    let item = |(lease, f): &(LeaseRef, u8)| FailItem {
        lease: lease.clone(),
        error: format!("error {f}"),
        backtrace: None,
        retry: f % 8 != 7,
        retry_after: (f % 5 == 0).then_some(Millis(u64::from(*f) * 100)),
        rate_limited: f % 6 == 0,
        checkpoint: body(*f),
    };
    Fail { items: claims.iter().map(item).collect() }
}

pub fn release(claims: &[(LeaseRef, u8)]) -> Release {
    let item = |(lease, f): &(LeaseRef, u8)| ReleaseItem {
        lease: lease.clone(),
        delay: (f % 3 == 0).then_some(Millis(u64::from(*f) * 100)),
    };
    Release { items: claims.iter().map(item).collect() }
}

pub fn heartbeat(claims: &[(LeaseRef, u8)]) -> Heartbeat {
    let item = |(lease, f): &(LeaseRef, u8)| HeartbeatItem {
        lease: lease.clone(),
        progress: (f % 3 == 0).then(|| Progress { current: u64::from(*f), total: None, message: None }),
        checkpoint: body(*f),
    };
    Heartbeat { items: claims.iter().map(item).collect() }
}
