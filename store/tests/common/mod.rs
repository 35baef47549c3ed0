// SPDX-License-Identifier: Apache-2.0
//! Random life for the broker: steps that name jobs by what earlier replies told.
#![allow(dead_code, clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use jobbie_broker::apply::apply_proposal;
use jobbie_broker::backoff::RetryPolicy;
use jobbie_broker::command::*;
use jobbie_broker::document::Expect;
use jobbie_broker::job::{Due, JobSpec};
use jobbie_broker::request::{RequestKey, Route};
use jobbie_broker::tables::Space;
use jobbie_broker::tables::mem::MemTables;
use jobbie_broker::unique::Unique;
use jobbie_broker::{
    Command, Event, JobNo, JobRef, Json, LeaseToken, Millis, Name, Proposal, Reply, Scope, Submission,
    Timestamp,
};
use jobbie_store::keyspaces::{Keyspaces, Memory};
use jobbie_store::raft::{Entry, LogId};
use jobbie_store::tables::{FjallTables, View};
use jobbie_store::{
    AppliedEntry, ApplySink, Durability, OpenError, Opened, Options, Reader, Request, StateMachine,
};
use openraft::entry::{EntryPayload, RaftEntry};
use openraft::impls::leader_id_std::LeaderId;
use openraft::storage::RaftStateMachine;
use openraft::vote::RaftLeaderIdExt;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};

/// Little memory: memtables of 1 MiB.
pub const SMALL: Memory = Memory { write_buffer_bytes: 8 << 20, block_cache_bytes: 1 << 20 };

pub fn tables(dir: &Path, window: usize) -> (Keyspaces, FjallTables) {
    let keyspaces = Keyspaces::open(dir, SMALL).unwrap();
    (keyspaces.clone(), FjallTables::load(keyspaces, window).unwrap())
}

pub type Rows = Vec<(Space, Vec<u8>, Vec<u8>)>;

pub fn disk_rows(keyspaces: &Keyspaces) -> Rows {
    View::new(keyspaces.clone()).rows().map(Result::unwrap).collect()
}

pub fn memory_rows(tables: &MemTables) -> Rows {
    tables.rows().map(|(space, key, row)| (space, key.to_vec(), row.to_vec())).collect()
}

/// One thing that happens; the numbers choose among what there is.
#[derive(Clone, Debug)]
pub struct Step {
    pub what: u8,
    pub a: u8,
    pub b: u8,
    pub wait: u16,
}

pub fn step() -> impl Strategy<Value = Step> {
    let wait = prop_oneof![4 => Just(0u16), 3 => 1u16..500, 1 => 500u16..30_000];
    (0u8..35, any::<u8>(), any::<u8>(), wait).prop_map(|(what, a, b, wait)| Step { what, a, b, wait })
}

/// What is known of the broker from its replies.
#[derive(Default)]
pub struct World {
    pub now: u64,
    pub index: u64,
    jobs: Vec<JobRef>,
    leases: Vec<(JobRef, JobNo, LeaseToken)>,
}

impl World {
    pub fn new() -> Self {
        Self { now: 1_795_000_000_000, ..Self::default() }
    }

    /// The proposal that the steps make.
    pub fn proposal(&mut self, steps: &[Step]) -> Proposal {
        self.index += 1;
        let mut submissions = Vec::new();
        for step in steps {
            self.now += u64::from(step.wait);
            let by = Name::from(if step.b % 16 == 0 { "other" } else { "anonymous" });
            let namespace = Name::from(if step.b % 13 == 0 { "second" } else { "default" });
            submissions.push(Submission { by, namespace, scope: Scope::ALL, command: self.command(step) });
        }
        let seed = self.index.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Proposal { at: Timestamp(self.now), seed, rules: RULES_VERSION, submissions }
    }

    /// Learns jobs and leases from replies and events.
    pub fn learn(&mut self, replies: &[Reply], events: &[Event]) {
        for event in events {
            if let Event::Job(event) = event {
                self.jobs.push(JobRef::from(&event.job));
            }
        }
        for reply in replies {
            if let Reply::Fetched(jobs) = reply {
                for leased in jobs {
                    let token = leased.job.state.lease().unwrap().token;
                    self.leases.push((JobRef::from(&leased.job.id()), leased.job.no, token));
                }
            }
        }
        let surplus = self.jobs.len().saturating_sub(40);
        self.jobs.drain(..surplus);
        let surplus = self.leases.len().saturating_sub(20);
        self.leases.drain(..surplus);
    }

    fn queue(&self, n: u8) -> Name {
        ["a", "b", "a-b"][usize::from(n) % 3].into()
    }

    fn job(&self, n: u8) -> JobRef {
        self.jobs
            .get(usize::from(n) % self.jobs.len().max(1))
            .cloned()
            .unwrap_or(JobRef::Chosen("none".into()))
    }

    fn lease(&self, n: u8) -> LeaseRef {
        match self.leases.get(usize::from(n) % self.leases.len().max(1)) {
            Some((job, _, token)) => LeaseRef { job: job.clone(), token: Some(*token), worker: None },
            None => LeaseRef { job: self.job(n), token: None, worker: None },
        }
    }

    fn spec(&self, a: u8, b: u8) -> JobSpec {
        let size = if b.is_multiple_of(9) { 6000 } else { usize::from(b) };
        let mut spec = JobSpec::new(&self.queue(a), Json::from(format!("\"{}\"", "x".repeat(size)).as_str()));
        spec.options.priority = [50, 50, 50, 0, 100, 51][usize::from(a / 3) % 6];
        spec.due = match b % 5 {
            0 => Due::After(Millis(u64::from(a) * 40)),
            1 => Due::At(Timestamp(self.now + u64::from(a))),
            _ => Due::Now,
        };
        spec.id = (b % 11 == 3).then(|| format!("id-{}", a % 8).into());
        spec.expire_after = (b % 7 == 1).then_some(Millis(u64::from(a) * 50));
        spec.options.timeout = (b % 6 == 2).then_some(Millis(1000 + u64::from(a)));
        spec.options.unique =
            (b % 10 == 4).then(|| Unique { key: format!("key-{}", a % 5).into(), period: Millis(20_000) });
        spec.options.retention = (b % 12 == 6).then_some(Millis(u64::from(a) * 30));
        spec.options.max_crashes = 1 + u32::from(a % 2);
        spec.options.on_crash_queue = (a % 4 == 1).then(|| "b".into());
        spec.options.retry = RetryPolicy { max_retries: u32::from(b % 4), ..RetryPolicy::default() };
        spec
    }

    fn command(&self, step: &Step) -> Command {
        let (a, b) = (step.a, step.b);
        let request =
            |route: Route| (b % 8 == 5).then(|| RequestKey { route, key: format!("call-{}", a % 6).into() });
        match step.what {
            0..=8 => {
                let jobs = (0..=b % 4)
                    .map(|i| self.spec(a.wrapping_add(i.wrapping_mul(7)), b.wrapping_add(i)))
                    .collect();
                Enqueue { jobs, request: request(Route::Enqueue) }.into()
            }
            9..=15 => Fetch {
                queues: vec![self.queue(a), self.queue(a + (a < 255) as u8)],
                worker: ["w1", "w2", ""][usize::from(b) % 3].into(),
                hostname: "host".into(),
                count: 1 + u32::from(b % 6),
                max_bytes: if a % 5 == 0 { 5000 } else { 1 << 20 },
                lease: Millis(1000 + u64::from(a) * 20),
                stream_concurrency: (b % 4 == 0).then_some(1),
                request: request(Route::Fetch),
            }
            .into(),
            16..=18 => Ack {
                items: vec![AckItem {
                    lease: self.lease(a),
                    result: (b % 3 == 0).then(|| Json::from("{\"ok\":true}")),
                    checkpoint: None,
                }],
            }
            .into(),
            19 | 20 => Fail {
                items: vec![FailItem {
                    lease: self.lease(a),
                    error: "broken".into(),
                    backtrace: None,
                    retry: b % 5 != 0,
                    retry_after: (b % 3 == 0).then_some(Millis(u64::from(b) * 10)),
                    rate_limited: b % 7 == 0,
                    checkpoint: (b % 2 == 0).then(|| Json::from("[1]")),
                }],
            }
            .into(),
            21 => Release {
                items: vec![ReleaseItem { lease: self.lease(a), delay: (b % 2 == 0).then_some(Millis(300)) }],
            }
            .into(),
            22 => Heartbeat {
                items: vec![HeartbeatItem {
                    lease: self.lease(a),
                    progress: None,
                    checkpoint: Some(Json::from("7")),
                }],
            }
            .into(),
            23 => match self.leases.get(usize::from(a) % self.leases.len().max(1)) {
                Some((_, job, token)) => Renew {
                    items: vec![Renewal {
                        job: *job,
                        token: *token,
                        heard_at: Timestamp(self.now),
                        progress: None,
                    }],
                }
                .into(),
                None => TermStarted {}.into(),
            },
            24 | 25 => Promote { limit: 1 + u32::from(a % 8) }.into(),
            26 => {
                Reclaim { leases: self.leases.iter().map(|(_, job, token)| (*job, *token)).take(4).collect() }
                    .into()
            }
            27 => Purge {
                queue: self.queue(a),
                finished_before: Timestamp(self.now - 500),
                limit: 1 + u32::from(b % 6),
                keep: if b % 4 == 0 { u64::from(a % 3) } else { u64::MAX },
            }
            .into(),
            28 => ForgetRequests { limit: 3 }.into(),
            29 => match b % 3 {
                0 => Retry { job: self.job(a) }.into(),
                1 => CloneJob { job: self.job(a) }.into(),
                _ => Move { job: self.job(a), queue: self.queue(b) }.into(),
            },
            30 => {
                if b % 2 == 0 {
                    Cancel { job: self.job(a) }.into()
                } else {
                    Delete { job: self.job(a) }.into()
                }
            }
            31 => Patch {
                job: self.job(a),
                payload: (b % 4 == 0).then(|| Json::from("{}")),
                priority: Some(b % 101),
                tags: None,
                scheduled_at: (b % 3 == 0).then_some(Timestamp(self.now + 400)),
            }
            .into(),
            32 => {
                let setting = match b % 6 {
                    0 => QueueSetting::Pause,
                    1 => QueueSetting::Drain,
                    2 => QueueSetting::Concurrency(Some(2)),
                    _ => QueueSetting::Resume,
                };
                SetQueue { queue: self.queue(a), setting }.into()
            }
            33 => PutDocs {
                docs: vec![PutDoc {
                    space: "test".into(),
                    key: format!("doc-{}", a % 5).into(),
                    value: (b % 3 != 0).then(|| Json::from("{\"a\":1}")),
                    expect: if b % 4 == 0 { Expect::Absent } else { Expect::Anything },
                }],
            }
            .into(),
            _ => match b % 3 {
                0 => ClearQueue { queue: self.queue(a) }.into(),
                1 => DeleteQueue { queue: self.queue(a) }.into(),
                _ => SetQueue { queue: self.queue(a), setting: QueueSetting::Concurrency(None) }.into(),
            },
        }
    }
}

/// A sink that keeps everything it is told.
#[derive(Default)]
pub struct Told(pub Mutex<Vec<AppliedEntry>>);

impl ApplySink for Told {
    fn applied(&self, entries: Vec<AppliedEntry>) {
        self.0.lock().unwrap().extend(entries);
    }
}

/// Opens a data directory with little memory and small segments.
pub fn open(dir: &Path) -> Result<(Opened, Arc<Told>), OpenError> {
    let told = Arc::new(Told::default());
    let options = Options {
        segment_bytes: 64 << 10,
        log_cache_bytes: 1 << 20,
        write_buffer_bytes: SMALL.write_buffer_bytes,
        block_cache_bytes: SMALL.block_cache_bytes,
        durability: Durability::Relaxed,
        ..Options::new(dir)
    };
    Ok((jobbie_store::open(&options, told.clone(), None)?, told))
}

/// Saves a vote, as Raft does before anything else.
pub async fn voted(opened: &mut Opened) {
    use openraft::storage::RaftLogStorage;
    opened.log.save_vote(&openraft::impls::Vote::new(1, opened.node_id)).await.unwrap();
}

pub fn log_id(term: u64, index: u64) -> LogId {
    LogId::new(LeaderId::new_committed(term, 0), index)
}

/// The entry of a proposal.
pub fn entry(index: u64, proposal: Proposal) -> Entry {
    let mut entry = Entry::new_blank(log_id(1, index));
    entry.payload = EntryPayload::Normal(Request::new(proposal));
    entry
}

/// Has a state machine apply entries, as openraft would.
pub async fn apply(machine: &mut StateMachine, entries: Vec<Entry>) -> std::io::Result<()> {
    machine.apply(futures_util::stream::iter(entries.into_iter().map(|entry| Ok((entry, None))))).await
}

/// A log of random life, and the tables it leads to: in memory.
pub fn life(entries: u64, seed: u64) -> (Vec<Entry>, MemTables) {
    let mut runner = TestRunner::new_with_rng(
        ProptestConfig::default(),
        TestRng::from_seed(
            RngAlgorithm::ChaCha,
            &std::array::from_fn::<u8, 32, _>(|i| seed.to_le_bytes()[i % 8]),
        ),
    );
    let steps = prop::collection::vec(step(), 1..6);
    let (mut world, mut memory, mut log) = (World::new(), MemTables::new(), Vec::new());
    for _ in 0..entries {
        let proposal = world.proposal(&steps.new_tree(&mut runner).unwrap().current());
        for outcome in apply_proposal(&mut memory, world.index, &proposal).unwrap() {
            world.learn(&[outcome.reply], &outcome.events);
        }
        log.push(entry(world.index, proposal));
    }
    (log, memory)
}

/// The rows that a reader sees.
pub fn rows(reader: &Reader) -> Rows {
    reader.rows().unwrap()
}

/// Every file below a directory with its length.
pub fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}
