// SPDX-License-Identifier: Apache-2.0
//! Data directories of other releases: this one opens what an older one left, killed in the middle of its work, and
//! refuses what a newer one wrote.
//!
//! `tests/data/format-1.tar.gz` is the directory of a server of format 1 that was killed, and
//! `tests/data/format-1.json` what its API showed just before. A new format gets files of its own beside them; these
//! are never written again.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::{Launch, Random, Request};

fn unpacked(launch: &Launch, name: &str) {
    let archive = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
    let parent = launch.data();
    let parent = parent.parent().unwrap();
    let status = Command::new("tar").arg("-xzf").arg(&archive).arg("-C").arg(parent).status().unwrap();
    assert!(status.success(), "tar: {status}");
    assert!(launch.data().join("node").exists());
}

fn expected() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/format-1.json");
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// What time does to a job between the release and the test: leases end, retries and schedules become due.
fn moves(state: &str, now: &str) -> bool {
    state == now
        || matches!((state, now), ("active", "pending" | "retrying") | ("scheduled" | "retrying", "pending"))
}

#[test]
fn the_directory_of_format_1_opens_and_everything_is_there() {
    let launch = Launch::new().arg("--retention=none");
    unpacked(&launch, "format-1.tar.gz");
    for state in [true, false] {
        if !state {
            // The log alone leads to the same.
            fs::remove_dir_all(launch.data().join("state")).unwrap();
        }
        let mut server = launch.start();
        let expected = expected();
        let mut seen: BTreeMap<String, u64> = BTreeMap::new();
        for job in expected["jobs"].as_array().unwrap() {
            let (id, was) = (job["id"].as_str().unwrap(), job["state"].as_str().unwrap());
            let now = server.get(&format!("/jobs/{id}")).expect(200);
            assert!(moves(was, now["state"].as_str().unwrap()), "{id} was {was} and is {}", now["state"]);
            *seen.entry(was.to_owned()).or_default() += 1;
            let moved = was == "active" || was != now["state"];
            for (field, value) in job.as_object().unwrap() {
                let may_move = moved
                    && [
                        "state",
                        "worker_id",
                        "hostname",
                        "lease_expires_at",
                        "scheduled_at",
                        "crashes",
                        "errors",
                    ]
                    .contains(&field.as_str());
                assert!(may_move || now[field] == *value, "{id}.{field} was {value} and is {}", now[field]);
            }
        }
        let states: Vec<&str> = seen.keys().map(String::as_str).collect();
        assert_eq!(states, ["active", "cancelled", "completed", "dead", "pending", "retrying", "scheduled"]);
        for (name, was) in expected["queues"].as_object().unwrap() {
            let now = server.get(&format!("/queues/{name}")).expect(200);
            for field in ["paused", "concurrency"] {
                assert_eq!(now[field], was[field], "{name}.{field}");
            }
            assert_eq!(now["totals"]["enqueued"], was["totals"]["enqueued"], "{name}");
        }
        // Rules that span the change of releases: a key that is held, an id that is taken.
        let held = json!({"queue": "keys", "payload": "other", "unique_key": "customer-1"});
        let hit = server.post("/enqueue", &held).expect(200);
        assert_eq!(hit["unique_existing"], true, "{hit}");
        let taken = json!({"queue": "mail", "payload": "another", "id": "invoice-7"});
        assert_eq!(server.post("/enqueue", &taken).status(), 409);
        if state {
            let lease = server.post("/fetch", &json!({"queues": ["mail"], "timeout": 0})).expect(200);
            assert_eq!(lease["payload"], json!({"to": "a@b", "n": 1}), "the most urgent one is still first");
            let release = json!({"lease_token": lease["lease_token"]});
            let id = lease["job_id"].as_str().unwrap();
            server.post(&format!("/release/{id}"), &release).expect(200);
            let ready = server.send(&Request::new("GET", "/readyz"));
            assert_eq!(ready.status(), 200);
            // Only the first round's expectations hold for the second.
            server.kill();
            fs::remove_dir_all(launch.data()).unwrap();
            unpacked(&launch, "format-1.tar.gz");
        }
    }
}

#[test]
fn a_directory_of_a_newer_format_is_refused_and_left_alone() {
    let launch = Launch::new();
    unpacked(&launch, "format-1.tar.gz");
    let node = fs::read_to_string(launch.data().join("node")).unwrap();
    let newer = Random::new(Random::seed()).between(2, 1000);
    let newer = node.replace("format 1", &format!("format {newer}"));
    assert_ne!(node, newer);
    fs::write(launch.data().join("node"), &newer).unwrap();
    let log: Vec<_> =
        fs::read_dir(launch.data().join("log")).unwrap().map(|entry| entry.unwrap().path()).collect();
    let before: Vec<_> = log.iter().map(|path| fs::read(path).unwrap()).collect();
    let exited = launch.try_start().err().expect("a refusal");
    assert_eq!(exited.status.code(), Some(65), "{}", exited.output);
    assert!(exited.output.contains("this build reads format 1"), "{}", exited.output);
    assert!(exited.output.contains("use the release that wrote it, or a newer one"), "{}", exited.output);
    let after: Vec<_> = log.iter().map(|path| fs::read(path).unwrap()).collect();
    assert!(before == after, "the log was touched");
    fs::write(launch.data().join("node"), node).unwrap();
    launch.start().get("/queues/mail").expect(200);
}
