// SPDX-License-Identifier: Apache-2.0
//! One run: a server, clients, somebody who does harm to the server, and the reckoning at the end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::caller::Caller;
use crate::gate::Gate;
use crate::history::{Listed, Op, Outcome, What};
use crate::oracle;
use crate::producer::{self, LIMITED, QUEUES};
use crate::support::{Random, Server};
use crate::worker;

/// How long the end may take: leases of 3 s, retries of 20 ms, some thousand jobs.
const DRAIN: Duration = Duration::from_secs(60);

/// Clients at work.
pub struct Run {
    /// Where the server is.
    pub gate: Arc<Gate>,
    /// Printed with every failure; `SEED` sets it.
    pub seed: u64,
    /// Randomness of the one who does harm.
    pub random: Random,
    threads: Vec<JoinHandle<Caller>>,
}

/// What became of a run.
pub struct Report {
    /// Everything that clients saw.
    pub ops: Vec<Op>,
    /// Every job in the end.
    pub listed: Vec<Listed>,
    seed: u64,
}

impl Run {
    /// Starts two producers, three kinds of workers and one that interferes.
    pub fn start(name: &str, server: &Server) -> Self {
        Self::start_with(name, server, true)
    }

    /// The same, with clients that do not ask again when they got no answer.
    pub fn start_without_repeats(name: &str, server: &Server) -> Self {
        Self::start_with(name, server, false)
    }

    fn start_with(name: &str, server: &Server, repeats: bool) -> Self {
        let seed = Random::seed();
        println!("{name}: SEED={seed}");
        let (queue, limit) = LIMITED;
        server.post(&format!("/queues/{queue}/concurrency"), &json!({"concurrency": limit})).expect(200);
        let (gate, epoch) = (Arc::new(Gate::default()), Instant::now());
        let mut random = Random::new(seed);
        let mut threads = Vec::new();
        let mut spawn = |client: fn(Caller, u64) -> Caller, number: u64| {
            let mut caller = Caller::new(&gate, epoch, random.fork(number));
            caller.repeats = repeats;
            threads.push(std::thread::spawn(move || client(caller, number)));
        };
        spawn(producer::produce, 1);
        spawn(producer::produce, 2);
        spawn(|caller, n| worker::work_singly(caller, &format!("single-{n}")), 3);
        spawn(|caller, n| worker::work_singly(caller, &format!("single-{n}")), 4);
        spawn(|caller, n| worker::work_in_batches(caller, &format!("batch-{n}")), 5);
        spawn(|caller, n| worker::work_on_stream(caller, &format!("stream-{n}")), 6);
        spawn(|caller, n| worker::work_on_stream(caller, &format!("stream-{n}")), 7);
        spawn(|caller, _| producer::interfere(caller), 8);
        gate.open(server.addr());
        Self { gate, seed, random, threads }
    }

    /// Waits until clients have got `count` more answers.
    #[track_caller]
    pub fn more_calls(&self, count: u64, within: Duration) {
        self.gate.wait_calls(self.gate.calls() + count, within);
    }

    /// Lets the clients end; what they saw.
    pub fn stop(self) -> (Vec<Op>, u64) {
        self.gate.stop();
        let mut ops = Vec::new();
        for thread in self.threads {
            ops.extend(
                thread.join().unwrap_or_else(|_| panic!("a client failed, SEED={}", self.seed)).history.ops,
            );
        }
        ops.sort_by_key(|op| op.end);
        (ops, self.seed)
    }

    /// Ends the run: clients stop, everything left is worked off, every job is listed.
    pub fn finish(self, server: &Server) -> Report {
        let (mut ops, seed) = self.stop();
        let live = list(server);
        unique_among_live(&live, seed);
        ops.extend(drain(server, &ops));
        let listed = list(server);
        let unfinished: Vec<&Listed> = listed.iter().filter(|job| !job.is_terminal()).collect();
        assert!(unfinished.is_empty(), "P18: jobs that never end, SEED={seed}: {unfinished:?}");
        counts_agree(server, &listed, seed);
        Report { ops, listed, seed }
    }
}

/// Works off whatever is there, without mishaps.
fn drain(server: &Server, seen: &[Op]) -> Vec<Op> {
    for queue in QUEUES {
        server.post(&format!("/queues/{queue}/resume"), &json!({})).expect(200);
    }
    let gate = Arc::new(Gate::default());
    gate.open(server.addr());
    // Later than everything that was seen.
    let behind = Duration::from_micros(seen.iter().map(|op| op.end).max().unwrap_or(0) + 1);
    let epoch = Instant::now().checked_sub(behind).expect("a clock that has run that long");
    let mut caller = Caller::new(&gate, epoch, Random::new(0));
    assert!(caller.ready().is_some());
    let deadline = Instant::now() + DRAIN;
    loop {
        let waiting = producer::waiting(&server.get("/queues").expect(200));
        if waiting == 0 {
            return caller.history.ops;
        }
        assert!(Instant::now() < deadline, "P18: {waiting} jobs are left after {DRAIN:?}");
        worker::work_off(&mut caller);
    }
}

/// Every job that there is.
pub fn list(server: &Server) -> Vec<Listed> {
    let (mut jobs, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = server.get(&format!("/jobs?limit=1000{cursor}")).expect(200);
        jobs.extend(page["jobs"].as_array().expect("jobs").iter().map(Listed::read));
        match page["cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return jobs,
        }
    }
}

fn unique_among_live(listed: &[Listed], seed: u64) {
    let mut holders: BTreeMap<&str, Vec<&Listed>> = BTreeMap::new();
    for job in listed.iter().filter(|job| !job.is_terminal()) {
        if let Some(key) = &job.unique {
            holders.entry(key).or_default().push(job);
        }
    }
    for (key, jobs) in holders {
        assert!(jobs.len() == 1, "P5: {key} is held by {jobs:?}, SEED={seed}");
    }
}

/// The counts of the queues are those of the listing.
fn counts_agree(server: &Server, listed: &[Listed], seed: u64) {
    let queues = server.get("/queues").expect(200);
    for queue in queues["queues"].as_array().expect("queues") {
        for state in ["completed", "dead", "cancelled", "pending", "active", "retrying", "scheduled"] {
            let here = listed.iter().filter(|job| queue["name"] == *job.queue && job.state == state).count();
            assert_eq!(queue["counts"][state], here, "{state} of {}, SEED={seed}", queue["name"]);
        }
    }
}

impl Report {
    /// Fails with every violation of the history.
    pub fn check(&self) {
        let wrong = oracle::check(&self.ops, &self.listed);
        let shown: Vec<&String> = wrong.iter().take(20).collect();
        assert!(wrong.is_empty(), "{} violations, SEED={}: {shown:#?}", wrong.len(), self.seed);
    }

    /// How often each kind of thing happened.
    pub fn coverage(&self) -> BTreeMap<&'static str, usize> {
        let mut counts = BTreeMap::new();
        let mut add = |what: &'static str| *counts.entry(what).or_insert(0) += 1;
        for op in &self.ops {
            covered(&op.what, &mut add);
        }
        for _ in 0..oracle::peak(&self.ops) {
            add("active at once of the limited queue");
        }
        for job in &self.listed {
            add(match job.state.as_str() {
                "completed" => "listed completed",
                "dead" => "listed dead",
                _ => "listed cancelled",
            });
        }
        counts
    }

    /// Fails if a kind of thing happened less often than asked for: such a run proves nothing.
    pub fn covers(&self, least: &[(&'static str, usize)]) {
        let counts = self.coverage();
        println!("SEED={} {counts:#?}", self.seed);
        for (what, count) in least {
            let seen = counts.get(what).copied().unwrap_or(0);
            assert!(
                seen >= *count,
                "not a meaningful run, SEED={}: {what} {seen} < {count} in {counts:#?}",
                self.seed
            );
        }
    }
}

fn covered(what: &What, add: &mut impl FnMut(&'static str)) {
    fn known<T>(outcome: &Outcome<T>) -> &'static str {
        match outcome {
            Outcome::Ok(..) => "ok",
            Outcome::Refused(_) => "refused",
            Outcome::Unknown => "unknown",
        }
    }
    match what {
        What::Enqueue(item, outcome) => {
            match (known(outcome), item.place) {
                ("ok", 0) => add("enqueue ok"),
                ("ok", _) => add("batched enqueue ok"),
                ("unknown", _) => add("enqueue unknown"),
                _ => {}
            }
            if let Some((accepted, _)) = outcome.ok() {
                if accepted.existing {
                    add("unique key held");
                }
                if accepted.repeated {
                    add("enqueue repeated");
                }
            }
        }
        What::Grant(grant) => {
            add(match (grant.streamed, grant.adopted) {
                (true, true) => "grant adopted",
                (true, false) => "grant streamed",
                _ => "grant fetched",
            });
            if grant.attempt > 1 {
                add("grant of a retry");
            }
            if grant.repeated {
                add("grant repeated");
            }
        }
        What::Settle { verb, again, outcome, .. } => {
            use crate::history::Verb::{Ack, Beat, Fail, Release};
            match (known(outcome), verb) {
                ("ok", Ack) => add("ack ok"),
                ("ok", Fail) => add("fail ok"),
                ("ok", Release) => add("release ok"),
                ("ok", Beat) => add("heartbeat ok"),
                ("unknown", _) => add("settle unknown"),
                _ => add("settle refused"),
            }
            if *again && outcome.ok().is_some() {
                add("settle repeated");
            }
        }
        What::Cancel { outcome } if outcome.ok().is_some() => add("cancel ok"),
        What::Clone { outcome, .. } if outcome.ok().is_some() => add("clone ok"),
        What::Queue { outcome } if outcome.ok().is_some() => add("pause or resume ok"),
        What::Read { state } if state.ok().is_some() => add("read ok"),
        What::Cancel { .. } | What::Clone { .. } | What::Queue { .. } | What::Read { .. } => {}
    }
}
