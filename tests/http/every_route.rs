// SPDX-License-Identifier: Apache-2.0
//! Every route × every role × every state of a key, and queues inside and outside of its scope.
//!
//! The routes are those of the API's description, which is compared with the route table where it is made. A
//! route that is not in [`OPERATIONS`] fails the test: who adds one says here who may call it.

use serde_json::{Value, json};

use crate::fixture::{name, text};
use crate::keys::{Keyed, with_keys};
use crate::support::{Request, Response, Server, Stream};

/// What an allowed caller gets for a queue, or a job in one, outside of their scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outside {
    /// 403: the call names the queue.
    Forbidden,
    /// 404: the call names a job.
    NotFound,
    /// 200, where the item of the job says that it is not found.
    Item,
    /// 200, where nothing of the queue is in the answer.
    Filtered,
    /// The call has nothing to do with queues.
    Nothing,
    /// Keys with a scope are refused in any case.
    EveryQueue,
}

use Outside::{EveryQueue, Filtered, Forbidden, Item, NotFound, Nothing};

/// Method, path, the roles that may (`-` for anybody), what is outside, the query, and the body.
type Operation = (&'static str, &'static str, &'static str, Outside, &'static str, fn(&Target) -> Value);

/// What a call is about.
struct Target {
    queue: String,
    pending: String,
    active: String,
    token: String,
}

fn nothing(_: &Target) -> Value {
    Value::Null
}

fn empty(_: &Target) -> Value {
    json!({})
}

fn settled(t: &Target) -> Value {
    json!({"lease_token": t.token, "error": "x"})
}

fn token(t: &Target) -> Value {
    json!({"lease_token": t.token})
}

#[rustfmt::skip]
const OPERATIONS: &[Operation] = &[
    ("POST",   "/api/v1/enqueue",                    "admin worker", Forbidden, "", |t| json!({"queue": t.queue})),
    ("POST",   "/api/v1/enqueue/batch",              "admin worker", Forbidden, "", |t| json!({"jobs": [{"queue": "ours"}, {"queue": t.queue}]})),
    ("POST",   "/api/v1/fetch",                      "admin worker", Forbidden, "", |t| json!({"queues": [t.queue], "timeout": 0})),
    ("POST",   "/api/v1/fetch/batch",                "admin worker", Forbidden, "", |t| json!({"queues": ["ours", t.queue], "timeout": 0})),
    ("POST",   "/api/v1/ack/{job_id}",               "admin worker", NotFound, "", token),
    ("POST",   "/api/v1/ack/batch",                  "admin worker", Item, "", |t| json!({"acks": [{"job_id": t.active, "lease_token": t.token}]})),
    ("POST",   "/api/v1/fail/{job_id}",              "admin worker", NotFound, "", settled),
    ("POST",   "/api/v1/fail/batch",                 "admin worker", Item, "", |t| json!({"fails": [{"job_id": t.active, "lease_token": t.token, "error": "x"}]})),
    ("POST",   "/api/v1/release/{job_id}",           "admin worker", NotFound, "", token),
    ("POST",   "/api/v1/release/batch",              "admin worker", Item, "", |t| json!({"releases": [{"job_id": t.active, "lease_token": t.token}]})),
    ("POST",   "/api/v1/heartbeat",                  "admin worker", Item, "", |t| json!({"jobs": {&t.active: {"lease_token": t.token, "checkpoint": 1}}})),
    ("GET",    "/api/v1/stream",                     "admin worker", Forbidden, "queues={queue}", nothing),

    ("GET",    "/api/v1/jobs",                       "admin readonly", Forbidden, "queue={queue}", nothing),
    ("GET",    "/api/v1/jobs/{job_id}",              "admin worker readonly", NotFound, "", nothing),
    ("PATCH",  "/api/v1/jobs/{job_id}",              "admin", NotFound, "", |_| json!({"priority": 1})),
    ("DELETE", "/api/v1/jobs/{job_id}",              "admin", NotFound, "", nothing),
    ("GET",    "/api/v1/jobs/{job_id}/wait",         "admin worker readonly", NotFound, "timeout=0", nothing),
    ("GET",    "/api/v1/jobs/{job_id}/stream",       "admin worker readonly", NotFound, "", nothing),
    ("GET",    "/api/v1/jobs/{job_id}/timeline",     "admin worker readonly", NotFound, "", nothing),
    ("POST",   "/api/v1/jobs/{job_id}/retry",        "admin", NotFound, "", empty),
    ("POST",   "/api/v1/jobs/{job_id}/cancel",       "admin", NotFound, "", empty),
    ("POST",   "/api/v1/jobs/{job_id}/move",         "admin", NotFound, "", |_| json!({"queue": "ours"})),
    ("POST",   "/api/v1/jobs/{job_id}/clone",        "admin", NotFound, "", empty),

    ("GET",    "/api/v1/queues",                     "admin readonly", Filtered, "", nothing),
    ("GET",    "/api/v1/queues/{queue}",             "admin readonly", Forbidden, "", nothing),
    ("DELETE", "/api/v1/queues/{queue}",             "admin", Forbidden, "confirm=true", nothing),
    ("POST",   "/api/v1/queues/{queue}/pause",       "admin", Forbidden, "", empty),
    ("POST",   "/api/v1/queues/{queue}/resume",      "admin", Forbidden, "", empty),
    ("POST",   "/api/v1/queues/{queue}/drain",       "admin", Forbidden, "", empty),
    ("POST",   "/api/v1/queues/{queue}/clear",       "admin", Forbidden, "", empty),
    ("POST",   "/api/v1/queues/{queue}/concurrency", "admin", Forbidden, "", |_| json!({"concurrency": 1})),
    ("POST",   "/api/v1/queues/{queue}/throttle",    "admin", Forbidden, "", |_| json!({"count": 1, "period": "1s"})),
    ("DELETE", "/api/v1/queues/{queue}/throttle",    "admin", Forbidden, "", nothing),

    ("GET",    "/api/v1/events",                     "admin readonly", Forbidden, "topics=queue:{queue}", nothing),
    ("GET",    "/api/v1/metrics",                    "admin readonly", Filtered, "", nothing),
    ("GET",    "/api/v1/metrics/throughput",         "admin readonly", Nothing, "", nothing),
    ("GET",    "/api/v1/info",                       "admin readonly", Nothing, "", nothing),
    ("GET",    "/api/v1/supervisors",                "admin readonly", Filtered, "", nothing),
    ("GET",    "/metrics",                           "admin readonly", Filtered, "", nothing),

    ("GET",    "/api/v1/admin/backup",               "admin", EveryQueue, "", nothing),
    ("POST",   "/api/v1/auth/keys",                  "admin", EveryQueue, "", |t| json!({"name": t.pending, "role": "readonly"})),
    ("GET",    "/api/v1/auth/keys",                  "admin", EveryQueue, "", nothing),
    ("DELETE", "/api/v1/auth/keys/{key_id}",         "admin", EveryQueue, "", nothing),
    ("GET",    "/api/v1/auth/status",                "admin worker readonly", Nothing, "", nothing),
    ("POST",   "/api/v1/session",                    "admin worker readonly", Nothing, "", empty),
    ("GET",    "/api/v1/session",                    "admin worker readonly", Nothing, "", nothing),
    ("DELETE", "/api/v1/session",                    "admin worker readonly", Nothing, "", nothing),

    ("GET",    "/api/v1/openapi.json",               "-", Nothing, "", nothing),
    ("GET",    "/healthz",                           "-", Nothing, "", nothing),
    ("GET",    "/readyz",                            "-", Nothing, "", nothing),
];

/// A queue with a pending and an active job.
fn target(admin: &Keyed<'_>, queue: &str) -> Target {
    let enqueue = || text(&admin.post("/enqueue", &json!({"queue": queue})).expect(201)["job_id"]);
    let active = enqueue();
    let leased = admin.post("/fetch", &json!({"queues": [queue], "timeout": 0})).expect(200);
    assert_eq!(leased["job_id"], json!(active));
    let token = text(&leased["lease_token"]);
    Target { queue: queue.into(), pending: enqueue(), active, token }
}

fn call(server: &Server, key: Option<&str>, operation: &Operation, target: &Target) -> Response {
    let (method, path, _, _, query, body) = *operation;
    let leased = ["/ack/", "/fail/", "/release/"].iter().any(|verb| path.contains(verb));
    let job = if leased { &target.active } else { &target.pending };
    let fill = |text: &str| {
        text.replace("{job_id}", job).replace("{queue}", &target.queue).replace("{key_id}", "key_none")
    };
    let mut address = fill(path);
    if !query.is_empty() {
        address = format!("{address}?{}", fill(query));
    }
    if path.ends_with("/stream") || path.ends_with("/events") {
        let headers: Vec<(&str, &str)> = key.map(|key| ("x-api-key", key)).into_iter().collect();
        let path = address.trim_start_matches("/api/v1");
        return match Stream::open(server.addr(), path, &headers).unwrap() {
            Ok(stream) => Response { head: stream.head, body: Vec::new() },
            Err(response) => *response,
        };
    }
    let mut request = Request::new(method, &address);
    if let Some(key) = key {
        request = request.header("authorization", &format!("Bearer {key}"));
    }
    let body = body(target);
    if !body.is_null() {
        request = request.body("application/json", body.to_string().as_bytes());
    }
    server.send(&request)
}

#[test]
fn every_route_is_in_the_table() {
    let server = with_keys();
    let api = server.anonymous("GET", "/openapi.json").expect(200);
    let mut described = Vec::new();
    for (path, item) in api["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            described.push(format!("{} {path}", method.to_uppercase()));
        }
    }
    let mut here: Vec<String> = OPERATIONS.iter().map(|op| format!("{} {}", op.0, op.1)).collect();
    described.sort();
    here.sort();
    assert_eq!(here, described);
}

#[test]
fn a_role_may_what_it_may_with_its_queues_and_nothing_else() {
    let server = with_keys();
    let root = server.root();
    for role in ["admin", "worker", "readonly"] {
        let scoped = server.key(role, &json!(["ours", "ours-*"]));
        let free = server.key(role, &json!("*"));
        for operation in OPERATIONS {
            let (method, path, roles, outside, ..) = *operation;
            let what = format!("{role}: {method} {path}");
            let (mine, theirs) = (target(&root, &name("ours")), target(&root, &name("theirs")));
            if roles != "-" && !roles.split(' ').any(|allowed| allowed == role) {
                for (key, target) in [(&scoped, &mine), (&scoped, &theirs), (&free, &mine)] {
                    let refused = call(&server, Some(key), operation, target).refused(403, "FORBIDDEN");
                    assert_eq!(refused["details"]["role"], role, "{what}");
                }
                untouched(&root, &mine, &what);
                continue;
            }
            let answer = call(&server, Some(&scoped), operation, &theirs);
            match outside {
                Forbidden => {
                    let refused = answer.refused(403, "FORBIDDEN");
                    assert!(text(&refused["error"]).contains(&theirs.queue), "{what}: {refused}");
                }
                NotFound => drop(answer.refused(404, "NOT_FOUND")),
                Item => {
                    assert_eq!(answer.status(), 200, "{what}");
                    let said = answer.text();
                    assert!(said.contains("NOT_FOUND"), "{what}: {said}");
                }
                Filtered => {
                    assert_eq!(answer.status(), 200, "{what}");
                    assert!(!answer.text().contains("theirs"), "{what}: {}", answer.text());
                }
                EveryQueue => drop(answer.refused(403, "FORBIDDEN")),
                Nothing => assert!(!matches!(answer.status(), 401 | 403), "{what}: {}", answer.text()),
            }
            untouched(&root, &theirs, &what);
            let keys: &[&String] = if outside == EveryQueue { &[&free] } else { &[&scoped, &free] };
            for (key, target) in keys.iter().zip([mine, target(&root, &name("ours"))]) {
                let answer = call(&server, Some(key), operation, &target);
                let absent = path.ends_with("/session") || path.contains("{key_id}");
                let fine = !matches!(answer.status(), 401 | 403) && (answer.status() != 404 || absent);
                assert!(fine, "{what}: {} {}", answer.status(), answer.text());
                assert!(
                    outside != Filtered || answer.text().contains(&target.queue) || path.contains("superv"),
                    "{what}"
                );
            }
        }
    }
}

/// The jobs of a target are as they were made.
fn untouched(root: &Keyed<'_>, target: &Target, what: &str) {
    for (job, state) in [(&target.pending, "pending"), (&target.active, "active")] {
        let job = root.get(&format!("/jobs/{job}")).expect(200);
        assert_eq!((&job["state"], &job["queue"]), (&json!(state), &json!(target.queue)), "{what}: {job}");
        assert_eq!(job["checkpoint"], Value::Null, "{what}");
    }
    let queue = root.get(&format!("/queues/{}", target.queue)).expect(200);
    assert_eq!((&queue["paused"], &queue["total"]), (&json!(false), &json!(2)), "{what}: {queue}");
}

#[test]
fn without_a_key_that_is_in_force_nothing_but_health_is_answered() {
    let server = with_keys();
    let root = server.root();
    let revoked = server.key("admin", &json!("*"));
    root.revoke(&revoked);
    let expired = server.expired_key();
    let target = target(&root, &name("ours"));
    let keys = [None, Some(""), Some("garbage"), Some("jb_0000"), Some(&*revoked), Some(&*expired)];
    for operation in OPERATIONS {
        for key in keys {
            let answer = call(&server, key, operation, &target);
            if operation.2 == "-" {
                assert_eq!(answer.status(), 200, "{key:?}: {} {}", operation.0, operation.1);
            } else {
                answer.refused(401, "UNAUTHORIZED");
                assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
            }
        }
    }
    untouched(&root, &target, "nobody may do anything");
    for page in ["/", "/ui/", "/docs/"] {
        let status = server.send(&Request::new("GET", page)).status();
        assert!(!matches!(status, 401 | 403), "{page} holds no data: {status}");
    }
    assert_eq!(server.anonymous("GET", "/no/such/address").status(), 404);
}
