// SPDX-License-Identifier: Apache-2.0
//! What `enqueue` sends.

use clap::Parser;
use serde_json::json;

use super::super::out::{Format, Out};
use super::super::{Cli, Command as Any};
use super::*;
use crate::client::testing::{Fake, Reply};

fn parsed(line: &[&str]) -> Command {
    match Cli::try_parse_from(["jobbie", "enqueue"].iter().chain(line)).unwrap().command {
        Any::Enqueue(command) => *command,
        other => panic!("{other:?}"),
    }
}

async fn run(line: &[&str]) -> (Result<Exit>, Fake) {
    let fake = Fake::start(|asked| {
        let body: serde_json::Value = serde_json::from_str(&asked.body).unwrap();
        match body["jobs"].as_array() {
            Some(jobs) => Reply::Json(201, json!({ "job_ids": vec!["j"; jobs.len()] }).to_string()),
            None => {
                Reply::Json(201, r#"{"job_id":"job_1","state":"pending","unique_existing":false}"#.into())
            }
        }
    })
    .await;
    let context = Context { client: fake.client(), out: Out::new(Format::Json) };
    (parsed(line).run(&context).await, fake)
}

#[tokio::test]
async fn every_option_reaches_the_server() {
    let line = [
        "mail",
        r#"{"n":1}"#,
        "--priority",
        "high",
        "--delay",
        "10m",
        "--unique-key",
        "k",
        "--unique-period",
        "1h",
        "--tag",
        "a=b",
        "--tag",
        "c=d",
        "--max-retries",
        "0",
        "--retry-backoff",
        "fixed",
        "--retry-base-delay",
        "1s",
        "--retry-max-delay",
        "2s",
        "--retry-jitter",
        "0.5",
        "--timeout",
        "30",
        "--expire-after",
        "1d",
        "--with",
        r#"{"ordering_key":"o"}"#,
    ];
    let (done, fake) = run(&line).await;
    assert_eq!(done.unwrap(), Exit::Done);
    assert_eq!(
        fake.bodies("/enqueue")[0],
        json!({"queue": "mail", "payload": {"n": 1}, "priority": "high", "delay": "600000ms", "unique_key": "k",
            "unique_period": "3600000ms", "tags": {"a": "b", "c": "d"}, "max_retries": 0, "retry_backoff": "fixed",
            "retry_base_delay": "1000ms", "retry_max_delay": "2000ms", "retry_jitter": 0.5, "timeout": "30000ms",
            "expire_after": "86400000ms", "ordering_key": "o"})
    );
    assert!(fake.asked()[0].headers.contains_key("idempotency-key"));
}

#[tokio::test]
async fn an_own_id_replaces_the_key_and_no_payload_is_sent_if_none_is_given() {
    let (_, fake) = run(&["mail", "--id", "order-7", "--at", "2026-01-31T08:00:00Z"]).await;
    let expected = json!({"queue": "mail", "id": "order-7", "scheduled_at": "2026-01-31T08:00:00Z"});
    assert_eq!(fake.bodies("/enqueue"), [expected]);
    assert!(!fake.asked()[0].headers.contains_key("idempotency-key"));
}

#[tokio::test]
async fn payloads_that_are_not_json() {
    assert_eq!(super::super::exit::of(&run(&["q", "hello"]).await.0.unwrap_err()).0, Exit::Usage);
    let (_, fake) = run(&["q", "he said \"hi\"", "--text"]).await;
    assert_eq!(fake.bodies("/enqueue")[0]["payload"], "he said \"hi\"");
    let (_, fake) = run(&["q", "-5"]).await;
    assert_eq!(fake.bodies("/enqueue")[0]["payload"], -5);
}

#[tokio::test]
async fn lines_go_out_in_batches_and_a_bad_line_says_where_to_go_on() {
    let path = std::env::temp_dir().join(unique_token());
    let good: String = (1..=2_500).map(|n| format!("{{\"n\":{n}}}\n\n")).collect();
    std::fs::write(&path, &good).unwrap();
    let file = path.to_str().unwrap();
    let (done, fake) = run(&["q", "--lines", file]).await;
    assert_eq!(done.unwrap(), Exit::Done);
    let sizes: Vec<usize> =
        fake.bodies("batch").iter().map(|b| b["jobs"].as_array().unwrap().len()).collect();
    assert_eq!(sizes, [1_000, 1_000, 500]);
    assert_eq!(fake.bodies("batch")[2]["jobs"][499], json!({"queue": "q", "payload": {"n": 2_500}}));

    std::fs::write(&path, good.replace("{\"n\":1500}", "oops")).unwrap();
    let (done, fake) = run(&["q", "--lines", file]).await;
    let text = format!("{:#}", done.unwrap_err());
    assert!(text.contains("1000 jobs were enqueued; go on with --from-line 2001: line 2999"), "{text}");
    assert_eq!(fake.asked().len(), 1);

    let (_, fake) = run(&["q", "--lines", file, "--from-line", "4001", "--text"]).await;
    assert_eq!(fake.bodies("batch")[0]["jobs"][0]["payload"], "{\"n\":2001}");
    std::fs::remove_file(&path).unwrap();
}

/// A server that enqueues the second batch and does not say so.
async fn run_in_doubt(line: &[&str]) -> (String, Vec<String>, Vec<serde_json::Value>) {
    let count = std::sync::atomic::AtomicUsize::new(0);
    let fake = Fake::start(move |asked| {
        let body: serde_json::Value = serde_json::from_str(&asked.body).unwrap();
        match count.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
            1 => Reply::Json(504, "<html>gateway timeout".into()),
            _ => {
                let jobs = body["jobs"].as_array().map_or(0, Vec::len);
                Reply::Json(201, json!({ "job_id": "j", "job_ids": vec!["j"; jobs] }).to_string())
            }
        }
    })
    .await;
    let context = Context { client: fake.client(), out: Out::new(Format::Json) };
    let done = parsed(line).run(&context).await;
    let said = done.err().map(|e| {
        assert_eq!(super::super::exit::of(&e).0, Exit::Failed);
        format!("{e:#}")
    });
    let keys = fake.asked().iter().map(|a| a.headers["idempotency-key"].clone()).collect();
    (said.unwrap_or_default(), keys, fake.bodies("/enqueue"))
}

/// What follows an option in a message.
fn value_of<'a>(option: &str, said: &'a str) -> &'a str {
    said.split(option).nth(1).unwrap().split_whitespace().next().unwrap().trim_end_matches([';', ':'])
}

#[tokio::test]
async fn going_on_after_an_unknown_outcome_repeats_the_same_call() {
    let path = std::env::temp_dir().join(unique_token());
    std::fs::write(&path, (1..=2_500).map(|n| format!("{n}\n")).collect::<String>()).unwrap();
    let file = path.to_str().unwrap();
    let (said, keys, bodies) = run_in_doubt(&["q", "--lines", file]).await;
    let expected =
        "1000 jobs were enqueued, and it is unknown whether the batch from line 1001 on was; go on with";
    assert!(said.starts_with(expected), "{said}");
    let (line, key) = (value_of("--from-line", &said), value_of("--idempotency-key", &said));
    let (_, fake) = run(&["q", "--lines", file, "--from-line", line, "--idempotency-key", key]).await;
    assert_eq!(fake.asked()[0].headers["idempotency-key"], keys[1]);
    assert_eq!(fake.bodies("batch")[0], bodies[1]);
    // A run of its own is not a repeat: the same jobs may be meant twice.
    let (_, fake) = run(&["q", "--lines", file]).await;
    assert_ne!(fake.asked()[0].headers["idempotency-key"], keys[0]);
    std::fs::remove_file(&path).unwrap();
}

#[tokio::test]
async fn a_count_with_an_unknown_outcome_can_be_repeated() {
    let (said, keys, _) = run_in_doubt(&["q", "1", "--count", "2500"]).await;
    let expected =
        "1000 of 2500 jobs were enqueued, and of the next 1000 it is unknown; the same command with";
    assert!(said.starts_with(expected), "{said}");
    let key = value_of("--idempotency-key", &said);
    let (done, fake) = run(&["q", "1", "--count", "2500", "--idempotency-key", key]).await;
    assert_eq!(done.unwrap(), Exit::Done);
    let again: Vec<String> = fake.asked().iter().map(|a| a.headers["idempotency-key"].clone()).collect();
    assert_eq!((&again[..2], again.len()), (&keys[..], 3));
}

#[tokio::test]
async fn counts_are_split() {
    let (_, fake) = run(&["q", "1", "--count", "1001"]).await;
    let sizes: Vec<usize> =
        fake.bodies("batch").iter().map(|b| b["jobs"].as_array().unwrap().len()).collect();
    assert_eq!(sizes, [1_000, 1]);
    assert!(run(&["q", "1", "--count", "0"]).await.0.is_err());
}

#[test]
fn what_contradicts_is_refused() {
    for line in [
        &["q", "1", "--lines", "f"][..],
        &["q", "--delay", "1s", "--at", "x"],
        &["q", "--wait-timeout", "1s"],
        &["q", "--priority", "200"],
    ] {
        assert!(Cli::try_parse_from(["jobbie", "enqueue"].iter().chain(line)).is_err(), "{line:?}");
    }
}
