// SPDX-License-Identifier: Apache-2.0
//! Backup, restore and doctor on the binary: what was acknowledged before the backup is in it, and nothing that is
//! not exactly an archive is restored.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::support::{Client, Launch, Request, SOON, Server};

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

fn jobbie(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_jobbie"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("JOBBIE_")) {
        command.env_remove(name);
    }
    command.args(args).output().unwrap()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[track_caller]
fn done(args: &[&str]) -> String {
    let output = jobbie(args);
    assert!(output.status.success(), "{args:?}: {}", said(&output));
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn refused(args: &[&str], code: i32, why: &str) {
    let output = jobbie(args);
    let said = said(&output);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
    assert!(said.contains(why) && !said.contains("panicked"), "{args:?}: {said}");
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn server_on(dir: &Path) -> Server {
    Launch::new().in_dir(dir).start()
}

/// A server with jobs in several states; gives all jobs as it shows them.
fn lived(server: &Server) -> Vec<Value> {
    for n in 0..40 {
        server
            .post("/enqueue", &json!({"queue": "q", "payload": n, "unique_key": format!("k{n}")}))
            .expect(201);
    }
    server
        .post("/enqueue", &json!({"queue": "later", "payload": "x".repeat(9000), "delay": "9h"}))
        .expect(201);
    for n in 0..6 {
        let lease = server.post("/fetch", &json!({"queues": ["q"], "timeout": 0})).expect(200);
        let (id, token) = (text(&lease["job_id"]), &lease["lease_token"]);
        match n % 3 {
            0 => server.post(&format!("/ack/{id}"), &json!({"lease_token": token, "result": n})).expect(200),
            1 => server
                .post(&format!("/fail/{id}"), &json!({"lease_token": token, "error": "e", "retry": false}))
                .expect(200),
            _ => Value::Null,
        };
    }
    shown(server)
}

fn shown(server: &Server) -> Vec<Value> {
    let list = server.get("/jobs?limit=500").expect(200);
    list["jobs"].as_array().unwrap().clone()
}

/// What a restore may change of a job is nothing but the end of a lease, which a new server may extend.
fn lasting(mut jobs: Vec<Value>) -> Vec<Value> {
    jobs.iter_mut().for_each(|job| drop(job.as_object_mut().unwrap().remove("lease_expires_at")));
    jobs
}

#[test]
fn a_backup_of_a_running_server_is_restored_as_a_new_node_with_the_same_jobs() {
    let server = Launch::new().start();
    let jobs = lived(&server);
    let dir = tempfile::tempdir().unwrap();
    let (archive, restored) = (dir.path().join("jobs.backup"), dir.path().join("restored"));
    let url = format!("http://{}", server.addr());
    done(&["backup", path(&archive), "--url", &url]);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing but the archive");
    // What comes later is not in it.
    server.post("/enqueue", &json!({"queue": "q", "payload": "too late"})).expect(201);
    refused(&["backup", path(&archive), "--url", &url], 2, "--force");
    done(&["restore", path(&archive), "--data-dir", path(&restored)]);
    let report = done(&["doctor", "--data-dir", path(&restored), "--output", "json"]);
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!((&report["sound"], &report["findings"]), (&json!(true), &json!([])), "{report}");
    assert_eq!(report["state"]["jobs"]["completed"], 2, "{report}");

    let again = server_on(&restored);
    assert_eq!(lasting(shown(&again)), lasting(jobs));
    assert_ne!(again.get("/info").json()["node_id"], server.get("/info").json()["node_id"]);
    again.post("/enqueue", &json!({"queue": "q", "payload": "new"})).expect(201);
    drop(again);
    let again = server_on(&restored);
    assert_eq!(again.get("/queues/later").expect(200)["counts"]["scheduled"], 1, "after another start");
    // A second restore from the same archive is another node.
    let other = dir.path().join("other");
    done(&["restore", path(&archive), "--data-dir", path(&other)]);
    let other = server_on(&other);
    assert_ne!(again.get("/info").json()["node_id"], other.get("/info").json()["node_id"]);
}

/// P19: under load the archive is the state of one moment, which has everything acknowledged before it was asked for.
#[test]
fn a_backup_under_load_is_one_moment_and_has_everything_from_before() {
    let server = Launch::new().start();
    let addr = server.addr();
    let stop = AtomicBool::new(false);
    let dir = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        let producers: Vec<_> = (0..3)
            .map(|n| {
                let stop = &stop;
                scope.spawn(move || {
                    let mut client = Client::new(addr);
                    let mut sent = 0;
                    while !stop.load(Ordering::Relaxed) {
                        // Two at a time, so that half a batch would show.
                        let pair = json!({"queue": format!("p{n}"), "payload": sent});
                        let body = json!({"jobs": [pair, pair]});
                        if client
                            .send(&Request::json("POST", "/enqueue/batch", &body))
                            .is_ok_and(|r| r.status() == 201)
                        {
                            sent += 1;
                        }
                    }
                })
            })
            .collect();
        for round in 0..3 {
            let count = |server: &Server, n: usize| {
                let queue = server.get(&format!("/queues/p{n}"));
                queue.json()["counts"]["pending"].as_u64().unwrap_or(0)
            };
            let before: Vec<u64> = (0..3).map(|n| count(&server, n)).collect();
            let response = server.get("/admin/backup");
            assert_eq!(response.status(), 200, "{}", response.text());
            let archive = dir.path().join(format!("{round}.backup"));
            fs::write(&archive, &response.body).unwrap();
            let restored = dir.path().join(format!("restored-{round}"));
            let said = done(&["restore", path(&archive), "--data-dir", path(&restored), "--output", "json"]);
            let said: Value = serde_json::from_str(&said).unwrap();
            assert_eq!(said["violations"], json!([]));
            assert_eq!(said["index"].as_u64(), response.index(), "it is of the index that the answer names");
            let again = server_on(&restored);
            for (n, before) in before.iter().enumerate() {
                let now = count(&again, n);
                assert!(now >= *before && now % 2 == 0, "queue p{n}: {now} jobs, {before} before the backup");
                // A producer waits for each answer: what is there is the beginning of what it sent.
                let jobs = again.get(&format!("/jobs?queue=p{n}&limit=1")).json();
                let newest = jobs["jobs"][0]["payload"].as_u64().unwrap_or(0);
                assert_eq!(
                    now,
                    if now == 0 { 0 } else { (newest + 1) * 2 },
                    "queue p{n}: no job is missing before the newest"
                );
            }
        }
        stop.store(true, Ordering::Relaxed);
        producers.into_iter().for_each(|producer| producer.join().unwrap());
    });
}

/// A killed server, and nobody has started it again: the log has more than the state.
#[test]
fn a_backup_of_a_directory_has_what_only_the_log_has() {
    let launch = Launch::new();
    let mut server = launch.start();
    let jobs = lived(&server);
    let dir = tempfile::tempdir().unwrap();
    let archive = dir.path().join("jobs.backup");
    let data = launch.data();
    refused(&["backup", path(&archive), "--data-dir", path(&data)], 1, "used by another process");
    refused(&["doctor", "--data-dir", path(&data)], 1, "used by another process");
    server.kill();
    done(&["doctor", "--data-dir", path(&data)]);
    done(&["backup", path(&archive), "--data-dir", path(&data)]);
    let restored = dir.path().join("restored");
    done(&["restore", path(&archive), "--data-dir", path(&restored)]);
    assert_eq!(lasting(shown(&server_on(&restored))), lasting(jobs.clone()));
    assert_eq!(lasting(shown(&launch.start())), lasting(jobs), "the directory is as good as before");
    let missing = dir.path().join("missing");
    refused(
        &["backup", path(&dir.path().join("x")), "--data-dir", path(&missing)],
        1,
        "is no data directory of jobbie",
    );
    refused(&["doctor", "--data-dir", path(&missing)], 1, "is no data directory of jobbie");
    assert!(!missing.exists() && !dir.path().join("x.partial").exists(), "looking makes nothing");
}

fn archive_of(dir: &Path) -> PathBuf {
    let server = Launch::new().start();
    lived(&server);
    let archive = dir.join("good.backup");
    done(&["backup", path(&archive), "--url", &format!("http://{}", server.addr())]);
    archive
}

#[test]
fn what_is_not_exactly_an_archive_is_refused_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let good = fs::read(archive_of(dir.path())).unwrap();
    let (bad, target) = (dir.path().join("bad"), dir.path().join("target"));
    let flip = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        bytes
    };
    let newer = {
        let mut bytes = good.clone();
        bytes[8] = 9;
        bytes
    };
    let more = [good.as_slice(), b"x"].concat();
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (Vec::new(), "ends inside"),
        (good[..good.len() - 1].to_vec(), "ends inside"),
        (good[..good.len() / 2].to_vec(), "ends inside"),
        (good[..15].to_vec(), "ends inside"),
        (flip(3), "no snapshot of jobbie"),
        (flip(30), "checksum"),
        (flip(good.len() / 2), "checksum"),
        (flip(good.len() - 2), "checksum"),
        (newer, "format 9, this build reads format 1"),
        (more, "behind the footer"),
        (b"PK\x03\x04../../etc/passwd".to_vec(), "no snapshot of jobbie"),
        (vec![0; 1 << 20], "no snapshot of jobbie"),
    ];
    for (bytes, why) in cases {
        fs::write(&bad, bytes).unwrap();
        refused(&["restore", path(&bad), "--data-dir", path(&target)], 65, why);
        assert!(!target.exists(), "{why}: something is left");
        // An empty directory that was there stays, and stays empty.
        fs::create_dir(&target).unwrap();
        refused(&["restore", path(&bad), "--data-dir", path(&target)], 65, why);
        assert_eq!(fs::read_dir(&target).unwrap().count(), 0, "{why}");
        fs::remove_dir(&target).unwrap();
    }
}

#[test]
fn nothing_is_restored_over_anything() {
    let dir = tempfile::tempdir().unwrap();
    let archive = archive_of(dir.path());
    let target = dir.path().join("target");
    fs::create_dir(&target).unwrap();
    fs::write(target.join("notes.txt"), "mine").unwrap();
    refused(&["restore", path(&archive), "--data-dir", path(&target)], 1, "notes.txt");
    assert_eq!(fs::read_to_string(target.join("notes.txt")).unwrap(), "mine");
    let file = dir.path().join("file");
    fs::write(&file, "mine").unwrap();
    refused(&["restore", path(&archive), "--data-dir", path(&file)], 1, "file");
    refused(&["restore", path(&dir.path().join("none")), "--data-dir", path(&target)], 1, "none");
    // A link to a directory is that directory.
    let link = dir.path().join("link");
    std::os::unix::fs::symlink(&target, &link).unwrap();
    refused(&["restore", path(&archive), "--data-dir", path(&link)], 1, "notes.txt");
}

/// While a restore fills a directory, and after it was killed, no server starts on it.
#[test]
fn a_restore_that_was_interrupted_is_no_data_directory() {
    let launch = Launch::new();
    let mut server = launch.start();
    server.post("/enqueue", &json!({"queue": "q"})).expect(201);
    server.terminate();
    server.wait_exit(SOON);
    fs::write(launch.data().join("RESTORING"), "").unwrap();
    let exited = launch.try_start().err().expect("a refusal");
    assert_eq!(exited.status.code(), Some(65), "{}", exited.output);
    assert!(exited.output.contains("empty the directory and restore again"), "{}", exited.output);
    refused(&["doctor", "--data-dir", path(&launch.data())], 65, "interrupted");
}

#[test]
fn the_doctor_finds_what_is_wrong_and_changes_nothing() {
    let launch = Launch::new();
    let mut server = launch.start();
    lived(&server);
    server.kill();
    let data = launch.data();
    let log = crate::log_tail::segments(&launch).pop().unwrap();
    let original = fs::read(&log).unwrap();
    // A torn end is what a crash leaves: said, not mended.
    let end = usize::try_from(crate::log_tail::end_of_data(&crate::log_tail::open(&log))).unwrap();
    let mut torn = original.clone();
    torn[end - 1] = 0;
    fs::write(&log, &torn).unwrap();
    let report = done(&["doctor", "--data-dir", path(&data)]);
    assert!(report.contains("note") && report.contains("cut short"), "{report}");
    assert_eq!(fs::read(&log).unwrap(), torn);
    // Damage before other records is a problem.
    let mut corrupt = original.clone();
    corrupt[end / 2] ^= 1;
    fs::write(&log, &corrupt).unwrap();
    refused(&["doctor", "--data-dir", path(&data)], 65, "corrupt");
    assert_eq!(fs::read(&log).unwrap(), corrupt);
    fs::write(&log, &original).unwrap();
    // A state that does not open is a note: the next start builds it again.
    let current = fs::read_to_string(data.join("state/CURRENT")).unwrap();
    let version = data.join("state").join(current.trim()).join("version");
    let good = fs::read(&version).unwrap();
    fs::write(&version, "garbage").unwrap();
    let report = done(&["doctor", "--data-dir", path(&data)]);
    assert!(report.contains("builds it again"), "{report}");
    assert_eq!(fs::read_to_string(&version).unwrap(), "garbage");
    fs::write(&version, good).unwrap();
    // Without its identity a log is nobody's.
    let node = fs::read(data.join("node")).unwrap();
    fs::remove_file(data.join("node")).unwrap();
    refused(&["doctor", "--data-dir", path(&data)], 65, "no file `node`");
    fs::write(data.join("node"), node).unwrap();
    done(&["doctor", "--data-dir", path(&data)]);
}
