// SPDX-License-Identifier: Apache-2.0
//! The data directory: one server at a time, and nothing but a server's.

use serde_json::json;

use crate::support::Launch;

#[test]
fn a_second_server_on_the_same_directory_refuses() {
    let launch = Launch::new();
    let mut first = launch.start();
    first.post("/enqueue", &json!({"queue": "q"})).expect(201);
    let exited = launch.try_start().err().expect("a refusal");
    assert!(!exited.status.success());
    let said = exited.output.to_lowercase();
    assert!(
        said.contains("another") || said.contains("in use") || said.contains("lock"),
        "says why: {}",
        exited.output
    );
    assert!(exited.output.contains(launch.data().to_str().unwrap()), "says where: {}", exited.output);
    first.post("/enqueue", &json!({"queue": "q"})).expect(201);
    first.kill();
    let again = launch.start();
    assert_eq!(
        again.get("/queues/q").expect(200)["counts"]["pending"],
        2,
        "a killed server leaves no lock behind"
    );
}

#[test]
fn a_directory_that_cannot_be_used_is_refused_with_its_name() {
    let launch = Launch::new();
    std::fs::write(launch.data(), b"a file").unwrap();
    let exited = launch.try_start().err().expect("a refusal");
    assert!(!exited.status.success());
    assert!(exited.output.contains(launch.data().to_str().unwrap()), "{}", exited.output);
    assert!(!exited.output.contains("panicked"), "{}", exited.output);
}
