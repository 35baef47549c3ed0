// SPDX-License-Identifier: Apache-2.0
//! What the rules cost, in tables in memory: under 10 µs of CPU per enqueue, fetch and ack.
//! `cargo run --release -p jobbie-broker --example speed`

#![allow(clippy::unwrap_used)]

use jobbie_broker::apply::apply_proposal;
use jobbie_broker::command::*;
use jobbie_broker::id::{JobRef, Name};
use jobbie_broker::job::JobSpec;
use jobbie_broker::tables::mem::MemTables;
use jobbie_broker::{Command, Json, Millis, Outcome, Reply, Timestamp};

struct Bench {
    tables: MemTables,
    index: u64,
}

impl Bench {
    fn propose(&mut self, commands: Vec<Command>) -> Vec<Outcome> {
        let (by, namespace): (Name, Name) = ("bench".into(), "default".into());
        let submission = |command| Submission {
            by: by.clone(),
            namespace: namespace.clone(),
            scope: jobbie_broker::Scope::ALL,
            command,
        };
        self.index += 1;
        let proposal = Proposal {
            at: Timestamp(1_800_000_000_000 + self.index),
            seed: self.index,
            rules: RULES_VERSION,
            submissions: commands.into_iter().map(submission).collect(),
        };
        apply_proposal(&mut self.tables, self.index, &proposal).unwrap()
    }
}

#[allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "a bench measures time")]
fn measure<R>(what: &str, jobs: usize, run: impl FnOnce() -> R) -> R {
    let start = std::time::Instant::now();
    let result = run();
    let nanos = start.elapsed().as_nanos() / jobs as u128;
    println!("{what:40} {:>6}.{:02} µs per job", nanos / 1000, nanos % 1000 / 10);
    result
}

fn enqueue(n: usize) -> Command {
    let spec = JobSpec::new("mail", Json::from("{\"to\":\"somebody@example.com\",\"template\":\"welcome\"}"));
    Enqueue { jobs: vec![spec; n], request: None }.into()
}

fn fetch(count: u32) -> Command {
    Fetch {
        queues: vec!["mail".into()],
        worker: "worker-1".into(),
        hostname: "host".into(),
        count,
        max_bytes: 1 << 24,
        lease: Millis::from_secs(60),
        stream_concurrency: None,
        request: None,
    }
    .into()
}

fn acks(outcomes: &[Outcome], per_command: usize) -> Vec<Command> {
    let items: Vec<AckItem> = outcomes
        .iter()
        .flat_map(|outcome| match &outcome.reply {
            Reply::Fetched(jobs) => jobs.as_slice(),
            _ => &[],
        })
        .map(|leased| {
            let token = leased.job.state.lease().map(|lease| lease.token);
            let lease = LeaseRef { job: JobRef::from(&leased.job.id()), token, worker: None };
            AckItem { lease, result: None, checkpoint: None }
        })
        .collect();
    items.chunks(per_command).map(|items| Ack { items: items.to_vec() }.into()).collect()
}

fn main() {
    let n = 100_000;
    let mut bench = Bench { tables: MemTables::new(), index: 0 };
    for (what, commands, per_command) in
        [("alone", 1, 1), ("100 commands an entry", 100, 1), ("batches of 100", 1, 100)]
    {
        let per_entry = commands * per_command;
        let rounds = n / per_entry;
        measure(&format!("enqueue, {what}"), n, || {
            for _ in 0..rounds {
                bench.propose(vec![enqueue(per_command); commands]);
            }
        });
        let fetched = measure(&format!("fetch, {what}"), n, || {
            let mut all = Vec::new();
            for _ in 0..rounds {
                all.extend(bench.propose(vec![fetch(u32::try_from(per_command).unwrap()); commands]));
            }
            all
        });
        let acks = acks(&fetched, per_command);
        assert_eq!(acks.len() * per_command, n);
        measure(&format!("ack, {what}"), n, || {
            for group in acks.chunks(commands) {
                bench.propose(group.to_vec());
            }
        });
    }
}
