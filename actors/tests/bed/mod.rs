// SPDX-License-Identifier: Apache-2.0
//! A node in a directory of its own, and the calls that tests make.

#![allow(dead_code, reason = "each test binary uses its own part of it")]

use std::time::Duration;

use jobbie_actors::ports::{Caller, Lane};
use jobbie_actors::supervise::{ChildSpec, Tree, task};
use jobbie_actors::{Node, Ports, Settings};
use jobbie_broker::command::{Ack, AckItem, Enqueue, Fetch, LeaseRef};
use jobbie_broker::job::JobSpec;
use jobbie_broker::reply::{LeasedJob, Settled};
use jobbie_broker::{JobId, JobRef, Json, Millis, Reply, Scope, StateKind};
use tempfile::TempDir;

/// Far longer than anything takes: only a hang reaches it.
pub const HANG: Duration = Duration::from_secs(30);

/// A running node.
pub struct Bed {
    pub ports: Ports,
    pub tree: Tree,
    pub clock: jobbie_actors::Clock,
    dir: TempDir,
}

impl Bed {
    /// Stops the node in an orderly way and gives its directory back.
    pub async fn stop(self) -> TempDir {
        let exit = self.tree.stop().await;
        assert_eq!(exit.code, 0, "{exit}");
        self.dir
    }
}

fn no_http() -> ChildSpec {
    task("http", |start| async move {
        start.ready();
        start.stopping().await;
        Ok::<(), String>(())
    })
}

pub async fn start() -> Bed {
    start_in(tempfile::tempdir().unwrap()).await
}

pub async fn start_in(dir: TempDir) -> Bed {
    start_with(dir, |_| {}).await
}

/// Starts a node whose settings differ from the defaults.
pub async fn start_with(dir: TempDir, change: impl FnOnce(&mut Settings)) -> Bed {
    let mut settings = Settings::new(jobbie_store::Options::new(dir.path()));
    change(&mut settings);
    let node = tokio::task::spawn_blocking(move || Node::open(&settings)).await.unwrap().unwrap();
    let (ports, clock) = (node.ports().clone(), node.clock().clone());
    let tree = node.start(&[], no_http()).unwrap();
    in_time("the start", tree.ready()).await.unwrap();
    in_time("the election", ports.leading()).await;
    Bed { ports, tree, clock, dir }
}

pub fn caller() -> Caller {
    Caller { by: "anonymous".into(), namespace: "default".into(), scope: Scope::ALL, lane: Lane::default() }
}

pub fn fetch(queue: &str, count: u32, lease: Millis) -> Fetch {
    Fetch {
        queues: vec![queue.into()],
        worker: "w1".into(),
        hostname: "".into(),
        count,
        max_bytes: u32::MAX,
        lease,
        stream_concurrency: None,
        request: None,
    }
}

pub async fn enqueue(ports: &Ports, queue: &str, payloads: &[&str]) -> Vec<JobId> {
    let jobs = payloads.iter().map(|payload| JobSpec::new(queue, Json::from(*payload))).collect();
    match ports.propose(&caller(), Enqueue { jobs, request: None }).await.unwrap().reply {
        Reply::Enqueued(jobs) => jobs.into_iter().map(|enqueued| enqueued.job).collect(),
        other => panic!("{other:?}"),
    }
}

pub async fn claim(ports: &Ports, queue: &str, wait: Duration) -> Vec<LeasedJob> {
    claim_for(ports, fetch(queue, 1, Millis::from_secs(60)), wait).await
}

pub async fn claim_for(ports: &Ports, fetch: Fetch, wait: Duration) -> Vec<LeasedJob> {
    match ports.fetch(&caller(), fetch, wait).await.unwrap().reply {
        Reply::Fetched(jobs) => jobs,
        other => panic!("{other:?}"),
    }
}

pub fn lease_of(leased: &LeasedJob) -> LeaseRef {
    let token = leased.job.state.lease().map(|lease| lease.token);
    LeaseRef { job: JobRef::from(&leased.job.id()), token, worker: None }
}

/// True if the job is completed by this.
pub async fn ack(ports: &Ports, leased: &LeasedJob) -> bool {
    let items = vec![AckItem { lease: lease_of(leased), result: None, checkpoint: None }];
    match ports.propose(&caller(), Ack { items }).await.unwrap().reply {
        Reply::Settled(settled) => settled == [Ok(Settled::Acked)],
        other => panic!("{other:?}"),
    }
}

pub async fn state_of(ports: &Ports, job: &JobId) -> StateKind {
    let job = JobRef::from(job);
    let row = ports.read(&caller(), move |view| view.job_row(&job)).await.unwrap();
    row.expect("the job is there").state.kind()
}

pub async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(HANG, future).await {
        Ok(done) => done,
        Err(_) => panic!("{what} hangs"),
    }
}
