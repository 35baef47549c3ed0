// SPDX-License-Identifier: Apache-2.0
//! The worker with real children against a server of a few lines. Nothing here waits for time to pass: every test
//! ends when the worker has nothing left to do.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use clap::Parser;
use serde_json::{Value, json};

use super::super::out::{Format, Out};
use super::super::{Cli, Command as Any};
use super::signals::Phase;
use super::*;
use crate::client::testing::{Asked, Fake, Reply};

fn job(id: &str, more: Value) -> Value {
    let mut job = json!({"job_id": id, "queue": "q", "payload": {"n": 1.10}, "attempt": 2, "max_retries": 3, "lease_token": format!("t-{id}")});
    job.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    job
}

/// Hands out the jobs once; every other call is answered by `other`.
async fn broker(jobs: Vec<Value>, other: impl Fn(&Asked) -> Option<Reply> + Send + Sync + 'static) -> Fake {
    let jobs = Mutex::new(jobs);
    Fake::start(move |asked| {
        if let Some(reply) = other(asked) {
            return reply;
        }
        if asked.path.ends_with("/fetch/batch") {
            let body: Value = serde_json::from_str(&asked.body).unwrap();
            let mut jobs = jobs.lock().unwrap();
            let count = (body["count"].as_u64().unwrap() as usize).min(jobs.len());
            let some: Vec<Value> = jobs.drain(..count).collect();
            return Reply::Json(200, json!({ "jobs": some }).to_string());
        }
        Reply::Json(200, r#"{"jobs":{}}"#.into())
    })
    .await
}

fn command(line: &[&str]) -> Command {
    match Cli::try_parse_from(["jobbie", "work", "q", "--quiet"].iter().chain(line)).unwrap().command {
        Any::Work(command) => command,
        other => panic!("{other:?}"),
    }
}

fn context(fake: &Fake) -> Context {
    Context { client: fake.client(), out: Out::new(Format::Json) }
}

async fn drain(fake: &Fake, line: &[&str]) -> Result<Exit> {
    command(&[&["--drain"], line].concat()).run(context(fake)).await
}

/// A lease that the command line would refuse, so that nothing takes long.
const SHORT: Duration = Duration::from_millis(300);

/// As [`drain`], with a worker that differs from what the command line says.
async fn drain_with(fake: &Fake, line: &[&str], change: impl FnOnce(&mut Worker)) -> Result<Exit> {
    let mut worker = command(line).worker(context(fake)).unwrap();
    change(&mut worker);
    work(&Arc::new(worker), Until::Empty).await
}

#[tokio::test]
async fn the_command_gets_its_job_and_its_output_is_the_result() {
    let fake = broker(vec![job("j1", json!({}))], |_| None).await;
    let script = r#"read p; printf '{"p":%s,"env":"%s"}' "$p" "$JOBBIE_JOB_ID $JOBBIE_QUEUE $JOBBIE_ATTEMPT $JOBBIE_MAX_RETRIES $JOBBIE_LEASE_TOKEN""#;
    assert_eq!(drain(&fake, &["--", script]).await.unwrap(), Exit::Done);
    let ack = &fake.bodies("/ack/j1")[0];
    assert_eq!(*ack, json!({"lease_token": "t-j1", "result": {"p": {"n": 1.1}, "env": "j1 q 2 3 t-j1"}}));
    let fetch = &fake.bodies("/fetch/batch")[0];
    assert_eq!(
        (&fetch["queues"], &fetch["count"], &fetch["lease_duration"]),
        (&json!(["q"]), &json!(1), &json!("60000ms"))
    );
}

#[tokio::test]
async fn the_command_goes_on_with_the_trace_of_its_job() {
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let jobs = vec![job("with", json!({ "trace": trace })), job("without", json!({}))];
    let fake = broker(jobs, |_| None).await;
    let script = r#"printf '"%s"' "${TRACEPARENT-none}""#;
    assert_eq!(drain(&fake, &["--", script]).await.unwrap(), Exit::Done);
    assert_eq!(fake.bodies("/ack/with")[0]["result"], trace);
    assert_eq!(fake.bodies("/ack/without")[0]["result"], "none");
}

#[tokio::test]
async fn failures_carry_the_end_of_stderr() {
    let fake = broker(vec![job("a", json!({})), job("b", json!({})), job("c", json!({}))], |_| None).await;
    let script =
        r#"case $JOBBIE_JOB_ID in a) echo one >&2; echo two >&2; exit 3;; b) exit 75;; c) exit 65;; esac"#;
    assert_eq!(drain(&fake, &["-c", "3", "--", script]).await.unwrap(), Exit::Failed);
    assert_eq!(
        fake.bodies("/fail/a"),
        [json!({"lease_token": "t-a", "error": "two (exit status 3)", "backtrace": "one\ntwo"})]
    );
    assert_eq!(fake.bodies("/release/b"), [json!({"lease_token": "t-b", "delay": "30000ms"})]);
    assert_eq!(
        fake.bodies("/fail/c"),
        [json!({"lease_token": "t-c", "error": "exit status 65", "retry": false})]
    );
}

#[tokio::test]
async fn a_job_that_takes_too_long_is_stopped_with_its_children() {
    let fake = broker(vec![job("j", json!({"timeout_ms": 50}))], |_| None).await;
    // The shell ignores SIGTERM, its child too.
    let script = "trap '' TERM; sleep 1000 & wait; sleep 1000";
    assert_eq!(drain(&fake, &["--kill-after", "50ms", "--", script]).await.unwrap(), Exit::Failed);
    assert_eq!(fake.bodies("/fail/j")[0]["error"], "timed out after 50ms");
}

#[tokio::test]
async fn a_timeout_that_the_server_saw_first_is_a_failure_too() {
    let fake = broker(vec![job("j", json!({"timeout_ms": 50}))], |asked| {
        asked
            .path
            .contains("/fail/")
            .then(|| Reply::Json(409, r#"{"error":"the lease is gone","code":"LEASE_LOST"}"#.into()))
    })
    .await;
    assert_eq!(drain(&fake, &["--", "sleep", "1000"]).await.unwrap(), Exit::Failed);
}

#[tokio::test]
async fn cancel_and_lost_leases_come_with_the_heartbeat() {
    let fake = broker(vec![job("c", json!({})), job("l", json!({}))], |asked| {
        let beats = json!({"jobs": {"c": {"status": "cancel"}, "l": {"status": "lost"}}});
        asked.path.ends_with("/heartbeat").then(|| Reply::Json(200, beats.to_string()))
    })
    .await;
    let done = drain_with(&fake, &["-c", "2", "--", "sleep", "1000"], |worker| worker.lease = SHORT).await;
    let done = done.unwrap();
    assert_eq!(done, Exit::Failed);
    assert_eq!(fake.bodies("/fail/c"), [json!({"lease_token": "t-c", "error": "cancelled", "retry": false})]);
    assert!(fake.asked().iter().all(|a| !a.path.ends_with("/l")), "a lost lease is not reported");
    assert_eq!(fake.bodies("/heartbeat")[0]["jobs"]["c"], json!({"lease_token": "t-c"}));
}

#[tokio::test]
async fn an_ack_is_repeated_until_the_outcome_is_known() {
    let count = AtomicUsize::new(0);
    let fake = broker(vec![job("j", json!({}))], move |asked| {
        asked.path.contains("/ack/").then(|| match count.fetch_add(1, Ordering::SeqCst) {
            0 => Reply::Raw("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{".into()),
            1 => Reply::Json(503, r#"{"error":"?","code":"OUTCOME_UNKNOWN"}"#.into()),
            _ => Reply::Json(200, r#"{"status":"completed"}"#.into()),
        })
    })
    .await;
    assert_eq!(drain(&fake, &["--", "true"]).await.unwrap(), Exit::Done);
    assert_eq!(fake.bodies("/ack/j"), vec![json!({"lease_token": "t-j"}); 3]);
}

#[tokio::test]
async fn a_refused_result_does_not_undo_the_work() {
    let fake = broker(vec![job("j", json!({}))], |asked| {
        (asked.path.contains("/ack/") && asked.body.contains("result"))
            .then(|| Reply::Json(413, r#"{"error":"too large","code":"PAYLOAD_TOO_LARGE"}"#.into()))
    })
    .await;
    assert_eq!(drain(&fake, &["--", "echo 1"]).await.unwrap(), Exit::Done);
    assert_eq!(fake.bodies("/ack/j")[1], json!({"lease_token": "t-j"}));
}

#[tokio::test]
async fn checkpoints_are_given_back_and_kept() {
    let fake = broker(vec![job("j", json!({"checkpoint": {"page": 1}}))], |_| None).await;
    let script = r#"cat "$JOBBIE_CHECKPOINT_FILE"; echo '{"page":2}' > "$JOBBIE_CHECKPOINT_FILE"; exit 75"#;
    drain(&fake, &["--", script]).await.unwrap();
    // A release cannot carry it, so it goes with a heartbeat before.
    assert_eq!(
        fake.bodies("/heartbeat")[0]["jobs"]["j"],
        json!({"lease_token": "t-j", "checkpoint": {"page": 2}})
    );
    assert_eq!(fake.bodies("/release/j").len(), 1);
}

#[tokio::test]
async fn a_command_that_does_not_exist_wastes_no_attempt() {
    let fake = broker(vec![job("j", json!({})), job("k", json!({}))], |_| None).await;
    let error = drain(&fake, &["--", "/no/such/command", "x"]).await.unwrap_err();
    assert!(error.to_string().contains("cannot run /no/such/command"), "{error}");
    assert_eq!(fake.bodies("/release/j"), [json!({"lease_token": "t-j"})]);
    assert!(fake.bodies("/fail/").is_empty() && fake.bodies("/release/k").is_empty());
}

#[tokio::test]
async fn what_a_command_leaves_behind_ends_with_its_job() {
    let fake = broker(vec![job("j", json!({}))], |_| None).await;
    // The sleep keeps stdout open; without an end to it the job would never be over.
    assert_eq!(drain(&fake, &["--", "sleep 1000 & echo $!"]).await.unwrap(), Exit::Done);
    let pid = &fake.bodies("/ack/j")[0]["result"];
    let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    assert!(state.is_empty() || state.contains(") Z"), "{state}");
}

#[tokio::test]
async fn what_a_command_leaves_behind_ends_also_if_it_holds_no_pipe() {
    let fake = broker(vec![job("j", json!({}))], |_| None).await;
    let fifo = std::env::temp_dir().join(unique_token());
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let mut alive = tokio::net::unix::pipe::OpenOptions::new().open_receiver(&fifo).unwrap();
    // The shell opens the fifo itself, so that it is open before the shell ends.
    let script = format!("exec 3>{}; sleep 1000 >/dev/null 2>&1 &", fifo.display());
    assert_eq!(drain(&fake, &["--", &script]).await.unwrap(), Exit::Done);
    // Its end closes the fifo.
    let mut nothing = [0];
    let end = tokio::io::AsyncReadExt::read(&mut alive, &mut nothing);
    assert_eq!(tokio::time::timeout(Duration::from_secs(10), end).await.expect("it still runs").unwrap(), 0);
    std::fs::remove_file(&fifo).unwrap();
}

#[tokio::test]
async fn a_lease_is_over_though_the_server_cannot_be_reached() {
    let fake = broker(vec![job("j", json!({}))], |asked| match asked.path.as_str() {
        "/api/v1/heartbeat" => Some(Reply::Raw(String::new())),
        _ => None,
    })
    .await;
    let done = drain_with(&fake, &["--", "sleep", "1000"], |worker| worker.lease = SHORT).await.unwrap();
    assert_eq!(done, Exit::Failed);
    assert!(fake.bodies("/heartbeat").len() > 1, "it was tried more than once");
    assert!(fake.asked().iter().all(|a| !a.path.ends_with("/j")), "a lost lease is not reported");
}

#[tokio::test]
async fn a_lease_from_a_long_poll_is_confirmed_before_its_job_is_started() {
    let fake = broker(vec![job("a", json!({})), job("b", json!({}))], |asked| {
        let beats = json!({"jobs": {"a": {"status": "ok"}, "b": {"status": "lost"}}});
        asked.path.ends_with("/heartbeat").then(|| Reply::Json(200, beats.to_string()))
    })
    .await;
    let worker = command(&["-c", "2", "--", "true"]).worker(context(&fake)).unwrap();
    let mut jobs = poll::Poll::new(2, Duration::ZERO).run(&worker, false).await.unwrap();
    let asked = tokio::time::Instant::now();
    assert_eq!(beat::confirm(&worker, &mut jobs, asked).await, asked + worker.lease);
    assert!(fake.bodies("/heartbeat").is_empty() && jobs.len() == 2);
    let Some(long_ago) = asked.checked_sub(worker.lease) else { return };
    assert!(beat::confirm(&worker, &mut jobs, long_ago).await >= asked + worker.lease);
    assert_eq!(jobs.iter().map(|job| job.job_id.as_str()).collect::<Vec<_>>(), ["a"]);
}

#[tokio::test]
async fn a_directory_that_was_cleaned_away_comes_back() {
    let fake = broker(vec![job("j", json!({"checkpoint": {"page": 1}}))], |_| None).await;
    let clean = |worker: &mut Worker| std::fs::remove_dir_all(worker.dir.path()).unwrap();
    let done = drain_with(&fake, &["--", r#"cat "$JOBBIE_CHECKPOINT_FILE""#], clean).await;
    assert_eq!(done.unwrap(), Exit::Done);
    assert_eq!(fake.bodies("/ack/j")[0]["result"], json!({"page": 1}));
}

#[tokio::test]
async fn a_checkpoint_that_cannot_be_written_here_wastes_no_attempt_and_ends_no_worker() {
    let fake = broker(vec![job("j", json!({})), job("k", json!({}))], |_| None).await;
    let mut path = std::path::PathBuf::new();
    let block = |worker: &mut Worker| {
        path = worker.dir.path().to_owned();
        std::fs::remove_dir_all(&path).unwrap();
        std::fs::write(&path, "").unwrap();
    };
    assert_eq!(drain_with(&fake, &["--", "true"], block).await.unwrap(), Exit::Failed);
    assert_eq!(fake.bodies("/release/j"), [json!({"lease_token": "t-j", "delay": "5000ms"})]);
    assert_eq!(fake.bodies("/release/k").len(), 1);
    std::fs::remove_file(&path).unwrap();
}

#[tokio::test]
async fn a_refused_backtrace_does_not_hide_the_failure() {
    let fake = broker(vec![job("j", json!({}))], |asked| {
        (asked.path.contains("/fail/") && asked.body.contains("backtrace"))
            .then(|| Reply::Json(400, r#"{"error":"too long","code":"VALIDATION"}"#.into()))
    })
    .await;
    let script = r#"echo '{}' > "$JOBBIE_CHECKPOINT_FILE"; echo one >&2; echo two >&2; exit 65"#;
    assert_eq!(drain(&fake, &["--", script]).await.unwrap(), Exit::Failed);
    assert_eq!(
        fake.bodies("/fail/j")[1],
        json!({"lease_token": "t-j", "error": "two (exit status 65)", "retry": false})
    );
}

#[tokio::test]
async fn released_and_lost_jobs_are_not_done() {
    let lost = |asked: &Asked| {
        let lost = r#"{"error":"the lease is gone","code":"LEASE_LOST"}"#;
        asked.path.contains("/ack/").then(|| Reply::Json(409, lost.into()))
    };
    for (script, only) in
        [("exit 75", "--drain"), ("exit 75", "--once"), ("true", "--drain"), ("true", "--once")]
    {
        let fake = broker(vec![job("j", json!({}))], lost).await;
        let done = command(&[only, "--", script]).run(context(&fake)).await.unwrap();
        assert_eq!(done, Exit::Failed, "{only} {script}");
    }
}

#[tokio::test]
async fn a_lease_has_the_bounds_of_the_server() {
    let fake = broker(vec![], |_| None).await;
    for (lease, is_allowed) in [("999ms", false), ("1s", true), ("1d", true), ("86401s", false)] {
        match command(&["--lease", lease, "--", "true"]).worker(context(&fake)) {
            Ok(_) => assert!(is_allowed, "{lease}"),
            Err(e) => {
                assert_eq!(super::super::exit::of(&e).0, Exit::Usage);
                assert!(!is_allowed && e.to_string().contains("from 1s to 1d"), "{lease}: {e}");
            }
        }
    }
}

#[tokio::test]
async fn once_runs_one_job() {
    let fake = broker(vec![job("a", json!({})), job("b", json!({}))], |_| None).await;
    assert_eq!(command(&["--once", "--", "true"]).run(context(&fake)).await.unwrap(), Exit::Done);
    assert_eq!((fake.bodies("/ack/").len(), fake.bodies("/fetch/").len()), (1, 1));
    let empty = broker(vec![], |_| None).await;
    assert_eq!(command(&["--once", "--", "true"]).run(context(&empty)).await.unwrap(), Exit::Nothing);
}

#[tokio::test]
async fn an_ending_worker_releases_what_runs_and_what_a_pending_poll_was_granted() {
    let polls = AtomicUsize::new(0);
    let (seen, mut parked) = tokio::sync::mpsc::unbounded_channel();
    let fake = broker(vec![], move |asked| {
        asked.path.ends_with("/fetch/batch").then(|| match polls.fetch_add(1, Ordering::SeqCst) {
            0 => Reply::Json(200, json!({"jobs": [job("run", json!({}))]}).to_string()),
            1 => {
                seen.send(()).unwrap();
                Reply::Never
            }
            _ => Reply::Json(200, json!({"jobs": [job("late", json!({}))]}).to_string()),
        })
    })
    .await;
    let worker = Arc::new(command(&["-c", "2", "--", "sleep", "1000"]).worker(context(&fake)).unwrap());
    let pool = tokio::spawn({
        let worker = worker.clone();
        async move { pool::run(&worker, Until::Stopped).await }
    });
    parked.recv().await.unwrap();
    worker.enter(Phase::Finishing);
    worker.enter(Phase::Releasing);
    worker.registry.stop_all(registry::Stop::Shutdown);
    assert_eq!(pool.await.unwrap().unwrap(), Exit::Done);
    assert_eq!(fake.bodies("/release/run"), [json!({"lease_token": "t-run"})]);
    assert_eq!(fake.bodies("/release/late"), [json!({"lease_token": "t-late"})]);
    let ids: Vec<Value> = fake.bodies("/fetch/").iter().map(|b| b["request_id"].clone()).collect();
    assert!(ids[1] == ids[2] && ids[0] != ids[1], "the last look repeats the poll that was given up");
    assert_eq!(fake.bodies("/fetch/")[2]["timeout"], "0ms");
}

#[tokio::test]
async fn a_server_that_says_no_ends_the_worker() {
    let fake =
        Fake::start(|_| Reply::Json(403, r#"{"error":"not your queue","code":"FORBIDDEN"}"#.into())).await;
    let error = command(&["--", "true"]).run(context(&fake)).await.unwrap_err();
    assert_eq!(super::super::exit::of(&error).0, Exit::Failed);
    assert_eq!(fake.asked().len(), 1);
}
