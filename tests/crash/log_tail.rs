// SPDX-License-Identifier: Apache-2.0
//! What a crash leaves at the end of the log, and damage that no crash leaves.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::support::server::files;
use crate::support::{Launch, Random, Server};

/// The segments of a log, oldest first.
pub fn segments(launch: &Launch) -> Vec<PathBuf> {
    let mut found = files(&launch.data());
    found.retain(|path| path.extension().is_some_and(|end| end == "log"));
    assert!(!found.is_empty(), "no segments in {:?}", files(&launch.data()));
    found
}

pub fn open(path: &PathBuf) -> File {
    OpenOptions::new().read(true).write(true).open(path).unwrap()
}

/// Where the last byte that is not zero lies, plus one: segments are zero-filled ahead.
pub fn end_of_data(file: &File) -> u64 {
    let length = file.metadata().unwrap().len();
    let mut bytes = vec![0; usize::try_from(length).unwrap()];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at as u64 + 1)
}

/// Enqueues jobs whose acceptance has been answered, and kills the server.
fn acknowledged(launch: &Launch, count: u64) -> Vec<String> {
    let mut server = launch.start();
    let ids = (0..count)
        .map(|n| text(&server.post("/enqueue", &json!({"queue": "q", "payload": n})).expect(201)["job_id"]));
    let ids = ids.collect();
    let lease = server.post("/fetch", &json!({"queues": ["q"], "timeout": 0})).expect(200);
    server
        .post(&format!("/ack/{}", text(&lease["job_id"])), &json!({"lease_token": lease["lease_token"]}))
        .expect(200);
    server.kill();
    ids
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

#[track_caller]
fn all_there(server: &Server, ids: &[String], what: &str) {
    for (n, id) in ids.iter().enumerate() {
        let job = server.get(&format!("/jobs/{id}"));
        assert_eq!(job.status(), 200, "{what}: {id} is gone");
        assert_eq!(job.json()["payload"], n, "{what}");
    }
    assert_eq!(
        server.get(&format!("/jobs/{}", ids[0])).json()["state"],
        "completed",
        "{what}: the ack is gone"
    );
}

/// Cuts the last write short: a killed process leaves a prefix, a power loss may lose any of its sectors.
/// Either way zeros are there, because segments are zeros until they are written.
fn tear(launch: &Launch, round: u64, random: &mut Random) -> &'static str {
    let path = segments(launch).pop().unwrap();
    let file = open(&path);
    let end = end_of_data(&file);
    match round {
        0 => {
            file.write_all_at(&[0], end - 1).unwrap();
            "the last byte is missing"
        }
        1 => {
            let lost = random.between(2, 40);
            file.write_all_at(&vec![0; usize::try_from(lost).unwrap()], end - lost).unwrap();
            "some bytes are missing"
        }
        2 => {
            file.set_len(end.next_multiple_of(8)).unwrap();
            "the file ends with the data"
        }
        3 => {
            file.set_len(end - random.between(1, 20)).unwrap();
            "the file ends within the data"
        }
        4 => {
            file.set_len(end.next_multiple_of(8) + 3).unwrap();
            "the file has an odd length"
        }
        5 => {
            // A later sector of a write whose first one did not get to the disk.
            file.write_all_at(&[7; 100], end.next_multiple_of(512) + 512).unwrap();
            "a piece without its beginning"
        }
        _ => "nothing is missing",
    }
}

#[test]
fn a_torn_write_at_the_end_is_dropped_and_what_was_acknowledged_is_there() {
    let launch = Launch::new();
    let mut ids = acknowledged(&launch, 20);
    let mut random = Random::new(Random::seed());
    for round in 0..7 {
        // What the tear may take with it: a write that nobody was told of.
        let mut server = launch.start();
        for _ in 0..3 {
            server.post("/enqueue", &json!({"queue": "victims"})).expect(201);
        }
        server.kill();
        let what = tear(&launch, round, &mut random);
        let mut server = launch.start();
        all_there(&server, &ids, what);
        let reply = server.post("/enqueue", &json!({"queue": "q", "payload": ids.len()})).expect(201);
        ids.push(text(&reply["job_id"]));
        server.kill();
        let mut server = launch.start();
        all_there(&server, &ids, &format!("{what}, and another restart"));
        server.kill();
    }
}

#[test]
fn damage_in_the_middle_is_found_and_the_server_does_not_start() {
    let launch = Launch::new();
    let ids = acknowledged(&launch, 60);
    let path = segments(&launch).pop().unwrap();
    let file = open(&path);
    let end = end_of_data(&file);
    let mut random = Random::new(Random::seed());
    // Well before the end, so that records that were acknowledged later lie behind it.
    for _ in 0..6 {
        let at = random.between(end / 10, end / 2);
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        let bit = 1 << random.below(8);
        file.write_all_at(&[byte[0] ^ bit], at).unwrap();
        let exited = launch
            .try_start()
            .err()
            .unwrap_or_else(|| panic!("a server started on a log with a bit flipped at {at} of {end}"));
        assert!(!exited.status.success(), "{at}");
        let said = exited.output.to_lowercase();
        assert!(
            said.contains("corrupt") && said.contains(path.file_name().unwrap().to_str().unwrap()),
            "says what and where: {}",
            exited.output
        );
        assert!(!said.contains("panicked"), "{}", exited.output);
        assert_eq!(exited.status.code(), Some(65), "{}", exited.output);
        assert!(said.contains("restore from a backup"), "says what to do: {}", exited.output);
        file.write_all_at(&byte, at).unwrap();
    }
    // It was refused, not touched: with the bits put right everything is there.
    let server = launch.start();
    all_there(&server, &ids, "after the damage was undone");
}

/// The log is the truth, so a server without it has only what it had applied. It may refuse; it must never
/// serve an emptier broker than the one that gave the answers.
#[test]
fn a_lost_log_is_refused_until_it_is_put_back() {
    let launch = Launch::new();
    let ids = acknowledged(&launch, 5);
    let path = segments(&launch).pop().unwrap();
    let aside = path.with_extension("aside");
    std::fs::rename(&path, &aside).unwrap();
    match launch.try_start() {
        Err(exited) => {
            assert!(!exited.status.success() && !exited.output.contains("panicked"), "{}", exited.output);
            assert!(exited.output.contains("the log is missing"), "{}", exited.output);
        }
        Ok(_) => panic!("a server without its log has lost its vote"),
    }
    std::fs::rename(&aside, segments(&launch).pop().unwrap_or(path)).unwrap();
    all_there(&launch.start(), &ids, "with the log put back");
}

#[test]
fn a_state_that_does_not_open_is_built_again() {
    let launch = Launch::new();
    let ids = acknowledged(&launch, 30);
    // The log is the truth; everything beside it can be made from it.
    let mut damaged = 0;
    for path in files(&launch.data()) {
        let of_log = path.extension().is_some_and(|end| end == "log" || end == "tmp");
        let plain = path.parent().is_some_and(|parent| parent == launch.data());
        // Without its pointer the state is not looked at.
        if of_log || plain || path.ends_with("CURRENT") {
            continue;
        }
        let length = std::fs::metadata(&path).unwrap().len();
        if length > 0 {
            std::fs::write(&path, vec![0xA5; usize::try_from(length.min(1 << 20)).unwrap()]).unwrap();
            damaged += 1;
        }
    }
    assert!(damaged > 0, "nothing to damage in {:?}", files(&launch.data()));
    let server = launch.start();
    all_there(&server, &ids, "after the state was overwritten");
    let said = server.output().text();
    assert!(!said.contains("panicked"), "{said}");
    assert!(said.contains("the state cannot be used and is built again"), "{said}");
    assert!(said.contains(".broken"), "says where the old one lies: {said}");
    drop(server);
    let server = launch.start();
    all_there(&server, &ids, "after another start");
    assert!(!server.output().text().contains("built again"), "{}", server.output().text());
    drop(server);
    std::fs::write(launch.data().join("state/CURRENT"), b"\xff\xfegarbage").unwrap();
    let server = launch.start();
    all_there(&server, &ids, "without the pointer");
    assert!(server.output().text().contains("there is no state: it is built"), "{}", server.output().text());
}
