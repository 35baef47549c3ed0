// SPDX-License-Identifier: Apache-2.0
//! SIGTERM under load: what was accepted is answered, the process ends in time, nothing is lost.

use std::time::{Duration, Instant};

use crate::history::{Outcome, What};
use crate::run::Run;
use crate::support::Launch;

/// Grace of 5 s for calls under way and a second for the rest, on a machine that is busy.
const BOUND: Duration = Duration::from_secs(12);
const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn a_stop_under_load_leaves_no_call_without_an_answer() {
    for durability in ["fsync", "relaxed"] {
        let launch = Launch::new().arg("--durability").arg(durability);
        let mut server = launch.start();
        let run = Run::start(&format!("a stop under load, {durability}"), &server);
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
        let unknown: Vec<&What> =
            report.ops.iter().map(|op| &op.what).filter(|what| is_unknown(what)).collect();
        assert!(unknown.is_empty(), "{durability}: {} calls without an answer: {unknown:#?}", unknown.len());
    }
}

fn is_unknown(what: &What) -> bool {
    match what {
        What::Enqueue(_, outcome) => *outcome == Outcome::Unknown,
        What::Settle { outcome, .. } | What::Queue { outcome } => *outcome == Outcome::Unknown,
        What::Cancel { outcome } | What::Clone { outcome, .. } => *outcome == Outcome::Unknown,
        What::Read { .. } | What::Grant(_) => false,
    }
}
