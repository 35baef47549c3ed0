// SPDX-License-Identifier: Apache-2.0
//! SIGKILL at random moments under load, again and again on the same directory.

use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use crate::log_tail::{end_of_data, open, segments};
use crate::oracle;
use crate::run::Run;
use crate::support::Launch;

/// Kills at least; more with `ROUNDS=`.
const ROUNDS: usize = 30;
/// How long clients may take to get some hundred answers on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn nothing_is_lost_or_doubled_by_kills() {
    let rounds = std::env::var("ROUNDS").map_or(ROUNDS, |text| text.parse().expect("ROUNDS is a number"));
    let launch = Launch::new();
    let mut server = launch.start();
    let mut run = Run::start("nothing_is_lost_or_doubled_by_kills", &server);
    let mut slowest = Duration::ZERO;
    for _ in 0..rounds {
        let calls = run.random.between(20, 500);
        run.more_calls(calls, PATIENCE);
        server.kill();
        run.gate.shut();
        // Also a server that has only just come up, or not even that, may be killed.
        if run.random.chance(25) {
            let after = Duration::from_millis(run.random.below(250));
            launch.start_and_kill(after);
        }
        let start = Instant::now();
        server = launch.start();
        slowest = slowest.max(start.elapsed());
        run.gate.open(server.addr());
    }
    run.more_calls(100, PATIENCE);
    let report = run.finish(&server);
    println!("{rounds} kills, slowest restart {slowest:?}");
    report.check();
    report.covers(&[
        ("enqueue ok", 300),
        ("batched enqueue ok", 300),
        ("enqueue unknown", 3),
        ("enqueue repeated", 3),
        ("unique key held", 5),
        ("grant fetched", 300),
        ("grant streamed", 100),
        ("grant adopted", 1),
        ("grant of a retry", 20),
        ("ack ok", 300),
        ("fail ok", 30),
        ("release ok", 10),
        ("heartbeat ok", 10),
        ("settle unknown", 3),
        ("settle repeated", 3),
        ("active at once of the limited queue", 10),
        ("cancel ok", 5),
        ("clone ok", 5),
        ("pause or resume ok", 5),
        ("read ok", 5),
    ]);
}

/// The whole chain put to the test: a disk that forgets the end of the log must not go unnoticed.
#[test]
fn a_log_that_lost_its_end_is_noticed() {
    let launch = Launch::new();
    let mut server = launch.start();
    let run = Run::start("a_log_that_lost_its_end_is_noticed", &server);
    run.more_calls(500, PATIENCE);
    server.kill();
    run.gate.shut();
    let path = segments(&launch).pop().unwrap();
    let file = open(&path);
    let lost = 24 * 1024;
    file.write_all_at(&vec![0; lost], end_of_data(&file) - lost as u64).unwrap();
    std::fs::remove_dir_all(launch.data().join("state")).unwrap();
    server = launch.start();
    run.gate.open(server.addr());
    run.more_calls(100, PATIENCE);
    let report = run.finish(&server);
    let wrong = oracle::check(&report.ops, &report.listed);
    assert!(
        wrong.iter().any(|text| text.starts_with("P1")),
        "what was acknowledged is gone, and nobody saw: {wrong:#?}"
    );
}
