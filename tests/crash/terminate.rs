// SPDX-License-Identifier: Apache-2.0
//! SIGTERM under load: what was accepted is answered, the process ends in time, nothing is lost.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::history::{Key, Outcome, Verb, What};
use crate::run::{Report, Run};
use crate::support::Launch;

/// Grace of 5 s for calls under way and a second for the rest, on a machine that is busy.
const BOUND: Duration = Duration::from_secs(12);
const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn a_stop_under_load_does_nothing_without_saying_so() {
    for durability in ["fsync", "relaxed"] {
        let launch = Launch::new().arg("--durability").arg(durability);
        let mut server = launch.start();
        let run = Run::start_without_repeats(&format!("a stop under load, {durability}"), &server);
        for _ in 0..3 {
            run.more_calls(200, PATIENCE);
            let start = Instant::now();
            server.terminate();
            let status = server.wait_exit(BOUND);
            run.gate.shut();
            assert_eq!(status.code(), Some(0), "{durability}: {}", server.output().tail(40));
            println!("{durability}: stopped in {:?}", start.elapsed());
            server = launch.start();
            run.gate.open(server.addr());
        }
        run.more_calls(100, PATIENCE);
        let report = run.finish(&server);
        report.check();
        // A connection may be closed while a request is on its way to it. But what was done was answered.
        let unanswered = done_without_answer(&report);
        assert!(unanswered.is_empty(), "{durability}: done without an answer: {unanswered:#?}");
    }
}

fn done_without_answer(report: &Report) -> Vec<String> {
    let keys: BTreeSet<Key> = report.listed.iter().filter_map(|job| Key::of(job.payload.as_ref()?)).collect();
    let completed: BTreeSet<&str> =
        report.listed.iter().filter(|job| job.state == "completed").map(|job| job.id.as_str()).collect();
    let mut last_grant: BTreeMap<&str, &str> = BTreeMap::new();
    for op in &report.ops {
        if let What::Grant(grant) = &op.what {
            last_grant.insert(&grant.job, &grant.token);
        }
    }
    // A stream that comes back delivers its leases once more, and they are acked with the same token.
    let acked: BTreeSet<&str> = report
        .ops
        .iter()
        .filter_map(|op| match &op.what {
            What::Settle { verb: Verb::Ack, job, outcome: Outcome::Ok(..), .. } => Some(job.as_str()),
            _ => None,
        })
        .collect();
    let done = report.ops.iter().filter_map(|op| match &op.what {
        What::Enqueue(item, Outcome::Unknown) => {
            keys.contains(&item.key).then(|| format!("enqueue {:?}", item.key))
        }
        // An ack that did nothing is followed by another delivery, because the run ends when all is done.
        What::Settle { verb: Verb::Ack, job, token, outcome: Outcome::Unknown, .. } => {
            let last = !acked.contains(job.as_str()) && last_grant.get(job.as_str()) == Some(&token.as_str());
            (last && completed.contains(job.as_str())).then(|| format!("ack {job}"))
        }
        _ => None,
    });
    done.collect()
}
