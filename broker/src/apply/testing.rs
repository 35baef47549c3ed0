// SPDX-License-Identifier: Apache-2.0
//! A test bed for the rules: tables in memory, a clock that only moves when told, and every invariant
//! checked after every command.

use std::sync::Arc;

use super::{Entry, apply};
use crate::body::Json;
use crate::codec;
use crate::command::*;
use crate::event::Event;
use crate::id::{JobRef, Name, QueueKey};
use crate::invariant;
use crate::job::{Job, JobSpec};
use crate::queue::Queue;
use crate::reject::{Code, Reject};
use crate::reply::{Enqueued, FailedAs, LeasedJob, Reply, Settled, Swept};
use crate::scope::Scope;
use crate::state::StateKind;
use crate::tables::Tables;
use crate::tables::mem::MemTables;
use crate::tables::schema::{Jobs, Queues};
use crate::time::{Millis, Timestamp};

pub struct Bed {
    pub tables: MemTables,
    pub now: Timestamp,
    pub seed: u64,
    pub by: Name,
    pub namespace: Name,
    pub scope: Scope,
    /// The events of the last command.
    pub events: Vec<Event>,
    index: u64,
}

/// 60 seconds, the lease that [`fetch`] asks for.
pub const LEASE: Millis = Millis::from_secs(60);

pub fn secs(secs: u64) -> Millis {
    Millis::from_secs(secs)
}

pub fn spec(queue: &str) -> JobSpec {
    let mut spec = JobSpec::new(queue, Json::from("{}"));
    spec.options.retry.jitter_permille = 0;
    spec
}

pub fn enqueue(jobs: impl Into<Vec<JobSpec>>) -> Enqueue {
    Enqueue { jobs: jobs.into(), request: None }
}

pub fn fetch(queue: &str, count: u32) -> Fetch {
    Fetch {
        queues: vec![queue.into()],
        worker: "w1".into(),
        hostname: "h1".into(),
        count,
        max_bytes: 1 << 20,
        lease: LEASE,
        stream_concurrency: None,
        request: None,
    }
}

/// The claim of whoever got this job.
pub fn claim(leased: &LeasedJob) -> LeaseRef {
    LeaseRef {
        job: JobRef::from(&leased.job.id()),
        token: leased.job.state.lease().map(|lease| lease.token),
        worker: None,
    }
}

pub fn ack(lease: LeaseRef) -> Ack {
    Ack { items: vec![AckItem { lease, result: None, checkpoint: None }] }
}

pub fn fail_item(lease: LeaseRef) -> FailItem {
    FailItem {
        lease,
        error: "boom".into(),
        backtrace: None,
        retry: true,
        retry_after: None,
        rate_limited: false,
        checkpoint: None,
    }
}

pub fn fail(lease: LeaseRef) -> Fail {
    Fail { items: vec![fail_item(lease)] }
}

pub fn release(lease: LeaseRef) -> Release {
    Release { items: vec![ReleaseItem { lease, delay: None }] }
}

pub fn job_ref(job: &Enqueued) -> JobRef {
    JobRef::from(&job.job)
}

impl Default for Bed {
    fn default() -> Self {
        Self::new()
    }
}

impl Bed {
    pub fn new() -> Self {
        Self {
            tables: MemTables::new(),
            now: Timestamp(1_800_000_000_000),
            seed: 7,
            by: "tester".into(),
            namespace: "default".into(),
            scope: Scope::ALL,
            events: Vec::new(),
            index: 0,
        }
    }

    pub fn run(&mut self, command: impl Into<Command>) -> Reply {
        let command = command.into();
        // What is applied has been through the log.
        let command: Command = codec::decode(&codec::encode(&command)).unwrap();
        self.index += 1;
        self.seed = crate::id::mix(self.seed);
        let entry = Entry {
            index: self.index,
            at: self.now,
            seed: self.seed,
            by: &self.by,
            namespace: &self.namespace,
            scope: &self.scope,
            command: &command,
        };
        let before = self.tables.clone();
        let outcome = apply(&mut self.tables, &entry).unwrap();
        assert_eq!(invariant::check(&mut self.tables).unwrap(), [], "after {command:?}");
        if matches!(outcome.reply, Reply::Rejected(_)) {
            assert!(outcome.events.is_empty(), "a refusal is no news: {:?}", outcome.events);
            assert_eq!(without_meta(&before), without_meta(&self.tables), "a refusal changes nothing");
        }
        self.events = outcome.events;
        outcome.reply
    }

    pub fn wait(&mut self, span: Millis) {
        self.now = self.now.after(span);
    }

    /// The types of the last command's events.
    pub fn news(&self) -> Vec<&'static str> {
        self.events.iter().map(Event::name).collect()
    }

    pub fn enqueue(&mut self, spec: JobSpec) -> Enqueued {
        match self.run(enqueue([spec])) {
            Reply::Enqueued(mut jobs) => jobs.remove(0),
            other => panic!("{other:?}"),
        }
    }

    pub fn enqueue_n(&mut self, queue: &str, n: usize) -> Vec<Enqueued> {
        match self.run(enqueue(vec![spec(queue); n])) {
            Reply::Enqueued(jobs) => jobs,
            other => panic!("{other:?}"),
        }
    }

    pub fn fetched(&mut self, command: Fetch) -> Vec<LeasedJob> {
        match self.run(command) {
            Reply::Fetched(jobs) => jobs,
            other => panic!("{other:?}"),
        }
    }

    pub fn fetch_one(&mut self, queue: &str) -> LeasedJob {
        let mut jobs = self.fetched(fetch(queue, 1));
        assert_eq!(jobs.len(), 1, "a job is ready in {queue}");
        jobs.remove(0)
    }

    pub fn settled(&mut self, command: impl Into<Command>) -> Vec<Result<Settled, Reject>> {
        match self.run(command) {
            Reply::Settled(items) => items,
            other => panic!("{other:?}"),
        }
    }

    pub fn settled_one(&mut self, command: impl Into<Command>) -> Result<Settled, Code> {
        self.settled(command).remove(0).map_err(|reject| reject.code)
    }

    pub fn failed(&mut self, command: Fail) -> FailedAs {
        match self.settled_one(command) {
            Ok(Settled::Failed(told)) => told,
            other => panic!("{other:?}"),
        }
    }

    pub fn swept(&mut self, command: impl Into<Command>) -> Swept {
        match self.run(command) {
            Reply::Swept(swept) => swept,
            other => panic!("{other:?}"),
        }
    }

    pub fn promote(&mut self) -> Swept {
        self.swept(Promote { limit: 1000 })
    }

    /// A person's call that is granted.
    pub fn granted(&mut self, command: impl Into<Command>) -> Option<Job> {
        match self.run(command) {
            Reply::Job(job) => job.map(Arc::unwrap_or_clone),
            Reply::Queue => None,
            other => panic!("{other:?}"),
        }
    }

    /// A call that is refused.
    pub fn refused(&mut self, command: impl Into<Command>) -> Code {
        match self.run(command) {
            Reply::Rejected(reject) => reject.code,
            other => panic!("{other:?}"),
        }
    }

    pub fn job(&mut self, job: &Enqueued) -> Job {
        Arc::unwrap_or_clone(self.tables.get::<Jobs>(&job.job.no).unwrap().expect("the job exists"))
    }

    pub fn exists(&mut self, job: &Enqueued) -> bool {
        self.tables.get::<Jobs>(&job.job.no).unwrap().is_some()
    }

    pub fn state(&mut self, job: &Enqueued) -> StateKind {
        self.job(job).state.kind()
    }

    pub fn queue(&mut self, queue: &str) -> Option<Queue> {
        self.tables.get::<Queues>(&QueueKey::new(&self.namespace, &queue.into())).unwrap()
    }

    pub fn set(&mut self, queue: &str, setting: QueueSetting) {
        assert_eq!(self.run(SetQueue { queue: queue.into(), setting }), Reply::Queue);
    }
}

/// All rows but the counters of the broker: even a refused command moves its time.
fn without_meta(tables: &MemTables) -> Vec<(crate::tables::Space, &[u8], &[u8])> {
    tables.rows().filter(|(space, ..)| *space != crate::tables::Space::Meta).collect()
}
