// SPDX-License-Identifier: Apache-2.0
//! `jobbie bench`, run from outside: every scenario runs to its end and prints what it says it prints. The figures themselves
//! are not looked at: a test machine is not quiet.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

/// Runs a short benchmark in a directory that is gone afterwards, and checks that nothing is left in it.
fn bench(arguments: &[&str]) -> Output {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_jobbie"))
        .args(["bench", "--spawn", "--seconds", "300ms", "--jobs", "400", "--dir"])
        .arg(dir.path())
        .args(arguments)
        .output()
        .unwrap();
    assert_eq!(entries(dir.path()), 0, "it leaves nothing behind");
    output
}

fn entries(dir: &Path) -> usize {
    std::fs::read_dir(dir).unwrap().count()
}

/// The rows of a run that went well, after its conditions.
fn rows(arguments: &[&str]) -> Vec<Value> {
    let output = bench(&[arguments, &["--json"]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let mut lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let conditions = lines.remove(0)["conditions"].take();
    assert_eq!(conditions["durability"], "fsync");
    assert!(conditions["fdatasync"]["p50_us"].is_u64() && conditions["cores"].as_u64() > Some(0));
    for row in &lines {
        assert_eq!(row["errors"], 0, "{row}");
        assert!(row["figure"].as_f64().is_some_and(|figure| figure >= 0.0), "{row}");
    }
    lines
}

fn works(rows: &[Value]) -> Vec<&str> {
    rows.iter().map(|row| row["work"].as_str().unwrap()).collect()
}

fn yardsticks(rows: &[Value]) -> Vec<&str> {
    rows.iter().map(|row| row["yardstick"]["of"].as_str().unwrap_or("none")).collect()
}

#[test]
fn rates_are_compared_with_the_bare_server() {
    let names = ["enqueue", "enqueue-batch", "cycle", "cycle-batch", "stream", "mixed", "mixed-stream"];
    let rows = rows(&[&names[..], &["--connections", "4", "--workers", "2,4"]].concat());
    assert_eq!(
        works(&rows),
        [
            "enqueue",
            "enqueue, batches of 100",
            "fetch + ack",
            "fetch + ack",
            "fetch + ack, 4 workers",
            "fetch + ack, batches of 100",
            "stream, batched acks",
            "16 producers, 16 workers, single",
            "16 producers, 16 workers, single, unpaced",
            "16 producers, 16 streams, prefetch 100",
            "16 producers, 16 streams, prefetch 100, unpaced",
        ]
    );
    let bare = "bare";
    assert_eq!(yardsticks(&rows), [bare, bare, bare, bare, "2 workers", bare, bare, bare, bare, bare, bare]);
    for row in &rows {
        let ratio = row["figure"].as_f64().unwrap() / row["yardstick"]["figure"].as_f64().unwrap();
        assert!((row["ratio"].as_f64().unwrap() - ratio).abs() < 1e-9, "{row}");
    }
    assert!(rows[7]["backlog_left"].is_u64() && rows[8]["backlog_most"].is_u64());
    // One more than allowed for each producer that passed the check at the same moment.
    assert!(rows[7]["backlog_most"].as_u64() <= Some(64 + 16), "{}", rows[7]);
    assert_eq!(rows[1]["goals"][0]["goal"], "ratio ≥ 1.5");
}

#[test]
fn latencies_are_compared_with_one_durable_enqueue_and_that_with_the_disk() {
    let rows = rows(&["latency", "--no-bare"]);
    assert_eq!(
        works(&rows),
        [
            "enqueue, one at a time",
            "idle enqueue to stream, HTTP/1.1, 200/s",
            "idle enqueue to stream, h2c, 200/s",
            "idle enqueue to long poll, 200/s",
        ]
    );
    assert_eq!(yardsticks(&rows), ["fdatasync", "durable", "durable", "durable"]);
}

#[test]
fn a_deep_queue_survives_sigkill_with_every_job() {
    let rows = rows(&["depth", "--queued", "2000,3000", "--no-bare"]);
    let of_one_depth = |depth: &str| {
        let works = [
            "fill to",
            "memory,",
            "peak memory,",
            "cycle, single,",
            "cycle, batches,",
            "SIGKILL to listening,",
            "SIGKILL to first delivery,",
        ];
        works.map(|work| {
            if work == "fill to" { format!("{work} {depth}") } else { format!("{work} {depth} queued") }
        })
    };
    let short = ["cycle, single, 1 k queued", "cycle, batches, 1 k queued"].map(str::to_owned);
    let expected: Vec<String> =
        short.into_iter().chain(of_one_depth("2 k")).chain(of_one_depth("3 k")).collect();
    assert_eq!(works(&rows), expected);
    assert_eq!(rows[12]["yardstick"]["of"], "1 k queued");
}

#[test]
fn idle_streams_cost_cpu_and_memory() {
    let rows = rows(&["idle-streams", "--streams", "3", "--no-bare"]);
    assert_eq!(works(&rows), ["CPU, 3 queues with a stream each", "memory, 3 queues with a stream each"]);
}

#[test]
fn a_table_says_the_conditions_and_a_missed_goal_fails_a_check() {
    let output = bench(&["durable", "--no-bare"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success());
    for fact in ["durability fsync", "fdatasync p50", "cores shared by server and load", "repeat", "SCENARIO"]
    {
        assert!(text.contains(fact), "{fact} is missing in {text}");
    }
    // Whether the goal is met depends on the machine; that the exit code says so does not.
    let checked = bench(&["durable", "--no-bare", "--check", "--json"]);
    let text = String::from_utf8(checked.stdout).unwrap();
    let row: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    let is_met = row["goals"][0]["is_met"].as_bool().unwrap();
    assert_eq!(checked.status.code(), Some(if is_met { 0 } else { 1 }));
}
