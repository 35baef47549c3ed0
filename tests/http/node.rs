// SPDX-License-Identifier: Apache-2.0
//! What a node says of itself: health, metrics, the supervisor tree, the API's description, its pages.

use serde_json::{Value, json};

use crate::fixture::{Api, millis, name, shared, text};
use crate::support::{Launch, Request, Response, Server};

fn page(server: &Server, path: &str) -> Response {
    server.send(&Request::new("GET", path))
}

#[test]
fn health_and_readiness_are_plain() {
    let server = shared();
    for path in ["/healthz", "/readyz"] {
        let answer = page(&server, path);
        assert_eq!(answer.status(), 200, "{path}: {}", answer.text());
    }
    assert_eq!(server.send(&Request::new("HEAD", "/healthz")).status(), 200);
}

#[test]
fn info_tells_what_an_acknowledgement_means() {
    let server = shared();
    let info = server.get("/info").expect(200);
    assert_eq!((&info["durability"], &info["leads"]), (&json!("fsync"), &json!(true)));
    assert_eq!(info["leader"], info["node_id"]);
    assert!(millis(&info["now"]) >= millis(&info["started_at"]));
    assert_eq!(info["limits"]["payload"], 256 * 1024);
    assert!(
        info["applied_index"].as_u64().is_some() && info["term"].as_u64().is_some_and(|term| term > 0),
        "{info}"
    );
    assert!(info["disk"]["log_bytes"].as_u64().is_some_and(|bytes| bytes > 0), "{info}");
    assert!(info["version"].is_string());
    let before = info["applied_index"].as_u64();
    let answer = server.post("/enqueue", &json!({"queue": name("index")}));
    assert!(answer.index() > before, "an index of the log");
}

/// Half of an idle server's memory was huge pages that the allocator had asked for.
#[cfg(target_os = "linux")]
#[test]
fn memory_is_not_taken_in_huge_pages() {
    let server = shared();
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    // Kernels before 5.0 do not say.
    let said = status.lines().find_map(|line| line.strip_prefix("THP_enabled:"));
    assert!(said.is_none_or(|said| said.trim() == "0"), "{said:?}");
}

#[test]
fn relaxed_durability_is_said_aloud() {
    let server = Launch::new().arg("--durability").arg("relaxed").start();
    assert_eq!(server.get("/info").expect(200)["durability"], "relaxed");
    let said = server.output().text().to_lowercase();
    assert!(said.contains("relaxed") && said.contains("100 ms"), "at start, with what it may cost: {said}");
    let plain = shared();
    assert!(!plain.output().text().contains("relaxed"));
}

#[test]
fn limits_are_those_that_were_set() {
    let server = Launch::new().arg("--max-payload").arg("2KiB").start();
    assert_eq!(server.get("/info").expect(200)["limits"]["payload"], 2048);
    let payload = |bytes: usize| json!({"queue": "q", "payload": "x".repeat(bytes - 2)});
    server.post("/enqueue", &payload(2048)).expect(201);
    let refused = server.post("/enqueue", &payload(2049)).refused(413, "PAYLOAD_TOO_LARGE");
    assert_eq!(
        (&refused["details"]["field"], &refused["details"]["limit"]),
        (&json!("payload"), &json!(2048))
    );
    assert_eq!(server.count("q", "pending"), 1);
}

#[test]
fn an_unsafe_or_senseless_start_is_refused() {
    for (args, said) in [
        (vec!["--durability", "none"], "fsync"),
        (vec!["--max-payload", "huge"], "max-payload"),
        (vec!["--no-such-flag"], "no-such-flag"),
    ] {
        let launch = args.iter().fold(Launch::new(), |launch, arg| launch.arg(*arg));
        // A flag that is there twice is refused as well, which also is a refusal; the sentence decides.
        let exited = launch.try_start().err().unwrap_or_else(|| panic!("{args:?} was accepted"));
        assert!(!exited.status.success(), "{args:?}");
        let fits = exited.output.contains(said) || exited.output.contains("cannot be used multiple times");
        assert!(fits, "{args:?}: {}", exited.output);
    }
}

#[test]
fn the_supervisor_tree_is_live() {
    let (server, queue) = (shared(), name("tree"));
    server.enqueue(&json!({"queue": queue}));
    // A fetch that waits makes the queue's actor.
    let tree = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| server.poll(&name("idle"), 1));
        let tree = server.get("/supervisors").expect(200);
        waiting.join().unwrap();
        tree
    });
    let child = |node: &Value, name: &str| -> Value {
        let children = node["children"].as_array().unwrap();
        children
            .iter()
            .find(|child| child["name"] == name)
            .unwrap_or_else(|| panic!("no {name} in {node}"))
            .clone()
    };
    assert_eq!(tree["name"], "root");
    for path in [
        &["raft-node"][..],
        &["jobs"],
        &["jobs", "dispatch"],
        &["jobs", "queues"],
        &["jobs", "scheduler"],
        &["http"],
    ] {
        let node = path.iter().fold(tree.clone(), |node, name| child(&node, name));
        assert_eq!(node["state"], "running", "{path:?}: {node}");
        assert_eq!(node["restarts"], 0, "{path:?}: {node}");
    }
    assert!(child(&tree, "jobs")["strategy"].as_str().is_some_and(|s| s.contains("rest_for_one")), "{tree}");
}

#[test]
fn rates_are_told() {
    let rates = shared().get("/metrics/throughput").expect(200);
    assert!(rates["rates"]["enqueued_per_s"].is_number() && rates["per_minute"].is_array(), "{rates}");
}

#[test]
fn the_description_covers_every_route() {
    let server = shared();
    let api = server.get("/openapi.json").expect(200);
    assert!(text(&api["openapi"]).starts_with("3."));
    let paths = api["paths"].as_object().unwrap();
    for (method, path) in [
        ("post", "/enqueue"),
        ("post", "/enqueue/batch"),
        ("post", "/fetch"),
        ("post", "/fetch/batch"),
        ("get", "/stream"),
        ("post", "/ack/{job_id}"),
        ("post", "/ack/batch"),
        ("post", "/fail/{job_id}"),
        ("post", "/fail/batch"),
        ("post", "/release/{job_id}"),
        ("post", "/release/batch"),
        ("post", "/heartbeat"),
        ("get", "/jobs"),
        ("get", "/jobs/{job_id}"),
        ("patch", "/jobs/{job_id}"),
        ("delete", "/jobs/{job_id}"),
        ("get", "/jobs/{job_id}/wait"),
        ("get", "/jobs/{job_id}/stream"),
        ("get", "/jobs/{job_id}/timeline"),
        ("post", "/jobs/{job_id}/retry"),
        ("post", "/jobs/{job_id}/cancel"),
        ("post", "/jobs/{job_id}/move"),
        ("post", "/jobs/{job_id}/clone"),
        ("get", "/queues"),
        ("get", "/queues/{queue}"),
        ("delete", "/queues/{queue}"),
        ("post", "/queues/{queue}/pause"),
        ("post", "/queues/{queue}/resume"),
        ("post", "/queues/{queue}/drain"),
        ("post", "/queues/{queue}/clear"),
        ("post", "/queues/{queue}/concurrency"),
        ("post", "/queues/{queue}/throttle"),
        ("delete", "/queues/{queue}/throttle"),
        ("get", "/events"),
        ("get", "/metrics/throughput"),
        ("get", "/info"),
        ("get", "/supervisors"),
        ("get", "/openapi.json"),
    ] {
        assert!(paths[&format!("/api/v1{path}")][method].is_object(), "{method} {path} is not described");
    }
    // And what is described is there: the right method is never refused as wrong, and the path is known.
    for (path, item) in paths {
        for method in item.as_object().unwrap().keys() {
            let path = path.replace("{job_id}", "nobody").replace("{queue}", "nothing");
            if method == "get" && (path.ends_with("/events") || path.ends_with("/stream")) {
                continue; // never ends
            }
            let body = json!({"no_such_field": 1});
            let request = match method.as_str() {
                "get" | "delete" => Request::new(&method.to_uppercase(), &path),
                _ => Request::new(&method.to_uppercase(), &path)
                    .body("application/json", body.to_string().as_bytes()),
            };
            let answer = server.send(&request);
            assert_ne!(answer.status(), 405, "{method} {path}");
            assert!(!answer.text().contains("no such address"), "{method} {path}: {}", answer.text());
            if request.body.is_some() {
                let refused = answer.refused(400, "VALIDATION");
                assert_eq!(refused["details"]["field"], "no_such_field", "{method} {path}");
            }
        }
    }
}

#[test]
fn pages_come_from_the_binary_and_ask_nobody_else() {
    let server = shared();
    for path in ["/ui/", "/docs/"] {
        let answer = page(&server, path);
        assert_eq!(answer.status(), 200, "{path}");
        assert!(answer.header("content-type").is_some_and(|kind| kind.starts_with("text/html")), "{path}");
        let policy = answer.header("content-security-policy").expect("a policy");
        assert!(
            policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"),
            "{policy}"
        );
        assert!(
            !policy.split(';').any(|part| part.contains("script-src") && part.contains("unsafe")),
            "{policy}"
        );
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        let html = answer.text();
        assert!(!html.contains("https://") && !html.contains("src=\"//"), "{path} leads elsewhere");
        // Every file that the page names is there.
        for part in html.split(['"', '\'']).filter(|part| part.ends_with(".js") || part.ends_with(".css")) {
            let file = if part.starts_with('/') {
                part.to_owned()
            } else {
                format!("{path}{}", part.trim_start_matches("./"))
            };
            assert_eq!(page(&server, &file).status(), 200, "{file}");
        }
    }
    for (from, to) in [("/docs", "/docs/"), ("/ui", "/ui/"), ("/", "/ui/")] {
        let answer = page(&server, from);
        assert!(
            answer.status() == 200 || answer.header("location") == Some(to),
            "{from}: {}",
            answer.status()
        );
    }
}

#[test]
fn a_request_keeps_its_id() {
    let server = shared();
    let answer = server.send(&Request::get("/jobs/nobody").header("x-request-id", "mine-7"));
    assert_eq!(answer.header("x-request-id"), Some("mine-7"));
    assert_eq!(answer.refused(404, "NOT_FOUND")["request_id"], "mine-7");
    let answer = server.get("/info");
    assert!(answer.header("x-request-id").is_some_and(|id| !id.is_empty()));
}

#[test]
fn everything_lies_below_the_base_path() {
    let launch = Launch::new().arg("--base-path").arg("/jobs");
    let server = launch.ready_at("/jobs/readyz").start();
    assert_eq!(page(&server, "/jobs/api/v1/info").status(), 200);
    assert_eq!(page(&server, "/api/v1/info").status(), 404);
    assert_eq!(page(&server, "/jobs/ui/").status(), 200);
    assert_eq!(page(&server, "/jobs/docs/").status(), 200);
}
