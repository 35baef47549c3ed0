// SPDX-License-Identifier: Apache-2.0
//! Keys: made, listed, removed; when they begin and cease to count; how often they may call.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::fixture::{millis, name, shared, stamp, text};
use crate::support::{Launch, Request, Response, SOON, Server, Stream};

/// An admin key that the environment names.
const ROOT: &str = "root-key-of-the-tests-0123456789";

/// A server with keys.
pub struct Keys(Arc<Server>);

impl Deref for Keys {
    type Target = Server;
    fn deref(&self) -> &Server {
        &self.0
    }
}

/// A server with a key.
pub fn with_keys() -> Keys {
    Keys::on(Launch::new().env("JOBBIE_ADMIN_KEY", ROOT))
}

/// A caller with a key.
pub struct Keyed<'s> {
    server: &'s Server,
    pub key: String,
}

impl Keyed<'_> {
    pub fn send(&self, request: Request) -> Response {
        self.server.send(&request.header("authorization", &format!("Bearer {}", self.key)))
    }

    pub fn get(&self, path: &str) -> Response {
        self.send(Request::get(path))
    }

    pub fn post(&self, path: &str, body: &Value) -> Response {
        self.send(Request::json("POST", path, body))
    }

    pub fn delete(&self, path: &str) -> Response {
        self.send(Request::new("DELETE", &format!("/api/v1{path}")))
    }

    /// Makes a key; the whole answer.
    pub fn make(&self, body: &Value) -> Value {
        self.post("/auth/keys", body).expect(201)
    }

    /// Removes the key with that secret.
    pub fn revoke(&self, secret: &str) {
        let status = Keyed { server: self.server, key: secret.into() }.get("/auth/status").expect(200);
        assert_eq!(self.delete(&format!("/auth/keys/{}", text(&status["key"]["id"]))).status(), 204);
    }

    pub fn stream(&self, path: &str) -> Stream {
        self.server.stream_with(path, &[("x-api-key", &self.key)])
    }
}

impl Keys {
    pub fn on(launch: Launch) -> Self {
        Self(Arc::new(launch.start()))
    }

    pub fn root(&self) -> Keyed<'_> {
        self.with(ROOT)
    }

    pub fn with(&self, key: &str) -> Keyed<'_> {
        Keyed { server: self, key: key.into() }
    }

    /// A new key of a role with a scope; its secret.
    pub fn key(&self, role: &str, scope: &Value) -> String {
        text(&self.root().make(&json!({"name": name("key"), "role": role, "queue_scope": scope}))["secret"])
    }

    /// A key whose time is over.
    pub fn expired_key(&self) -> String {
        let now = millis(&self.root().get("/info").expect(200)["now"]);
        let body = json!({"name": name("key"), "role": "admin", "expires_at": stamp(now + 1000)});
        let key = text(&self.root().make(&body)["secret"]);
        // A stream that it opens ends with it.
        let mut stream = self.with(&key).stream("/events");
        while stream.try_next(SOON).unwrap().is_some() {}
        key
    }

    pub fn anonymous(&self, method: &str, path: &str) -> Response {
        self.call(method, path)
    }
}

#[test]
fn a_key_is_made_shown_once_and_removed() {
    let server = with_keys();
    let (root, key) = (server.root(), name("ci"));
    let body =
        json!({"name": key, "role": "worker", "queue_scope": "mail.*", "rate_limit": {"per_second": 1000}});
    let answer = root.post("/auth/keys", &body);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let made = answer.expect(201);
    let secret = text(&made["secret"]);
    assert!(secret.starts_with("jb_") && secret.len() == 55, "{secret}");
    assert_eq!((&made["queue_scope"], &made["role"]), (&json!(["mail.*"]), &json!("worker")));
    let listed = root.get("/auth/keys");
    assert!(!listed.text().contains(&secret) && !listed.text().contains("sha256"), "{}", listed.text());
    let keys = listed.expect(200);
    let found = keys["keys"].as_array().unwrap().iter().find(|k| k["id"] == made["id"]).unwrap().clone();
    assert_eq!((&found["name"], &found["created_by"]), (&json!(key), &json!("env-admin")));
    assert_eq!(found["rate_limit"], json!({"per_second": 1000, "burst": 1000}));

    let mine = server.with(&secret);
    let status = mine.get("/auth/status").expect(200);
    assert_eq!((&status["mode"], &status["key"]["id"]), (&json!("key"), &made["id"]));
    assert_eq!(
        root.post("/auth/keys", &body).refused(409, "CONFLICT")["details"],
        Value::Null,
        "the name is taken"
    );
    let path = format!("/auth/keys/{}", text(&made["id"]));
    assert_eq!(root.delete(&path).status(), 204);
    mine.get("/auth/status").refused(401, "UNAUTHORIZED");
    root.delete(&path).refused(404, "NOT_FOUND");
    root.delete("/auth/keys/%00").refused(404, "NOT_FOUND");
}

#[test]
fn keys_outlive_a_restart_and_their_secrets_are_nowhere_on_disk_or_in_the_log() {
    let server = with_keys();
    let secret = server.key("worker", &json!("*"));
    let cookie = server.root().post("/session", &json!({}));
    let cookie = text(&json!(cookie.header("set-cookie").unwrap().split(['=', ';']).nth(1).unwrap()));
    let launch = server.launch().clone();
    server.terminate();
    let Keys(server) = server;
    let mut server = Arc::into_inner(server).unwrap();
    server.wait_exit(Duration::from_secs(30));
    let said = server.output().text();
    for hidden in [&secret, ROOT, &cookie] {
        assert!(!said.contains(hidden), "a secret is in the log");
        for file in crate::support::server::files(&launch.data()) {
            let bytes = std::fs::read(&file).unwrap();
            let found = bytes.windows(hidden.len()).any(|window| window == hidden.as_bytes());
            assert!(!found, "a secret is in {}", file.display());
        }
    }
    drop(server);
    let server = Keys::on(launch);
    server.with(&secret).post("/enqueue", &json!({"queue": "q"})).expect(201);
    server.root().get("/info").expect(200);
}

/// Else the first one who makes a key locks everybody out, themselves included.
#[test]
fn the_first_key_makes_others_and_the_last_such_key_stays() {
    let server = Keys::on(Launch::new());
    let open = |body: &Value| server.post("/auth/keys", body);
    for body in [
        json!({"name": "a", "role": "worker"}),
        json!({"name": "a", "role": "admin", "queue_scope": "mail"}),
        json!({"name": "a", "role": "admin", "expires_at": "2100-01-01T00:00:00Z"}),
    ] {
        let refused = open(&body).refused(409, "CONFLICT");
        assert!(text(&refused["error"]).contains("first key"), "{refused}");
    }
    assert_eq!(server.get("/auth/status").expect(200), json!({"mode": "open"}));
    assert_eq!(server.post("/session", &json!({})).refused(409, "CONFLICT")["code"], "CONFLICT");
    let mut stream = server.stream("/events");
    let first = open(&json!({"name": "first", "role": "admin"})).expect(201);
    // From here on a key is needed, also by what was opened before.
    while stream.try_next(SOON).unwrap().is_some() {}
    server.get("/queues").refused(401, "UNAUTHORIZED");
    let admin = server.with(&text(&first["secret"]));
    let path = |key: &Value| format!("/auth/keys/{}", text(&key["id"]));
    for (scope, expires) in [("x", Value::Null), ("*", json!("2100-01-01T00:00:00Z"))] {
        admin
            .make(&json!({"name": name("no"), "role": "admin", "queue_scope": scope, "expires_at": expires}));
        let refused = admin.delete(&path(&first)).refused(409, "CONFLICT");
        assert!(text(&refused["error"]).contains("last key"), "{refused}");
    }
    let second = admin.make(&json!({"name": "second", "role": "admin"}));
    assert_eq!(admin.delete(&path(&first)).status(), 204);
    let second_admin = server.with(&text(&second["secret"]));
    second_admin.delete(&path(&second)).refused(409, "CONFLICT");
    second_admin.get("/queues").expect(200);
}

#[test]
fn two_admins_who_remove_each_other_at_the_same_moment_do_not_both_succeed() {
    let server = with_keys();
    let root = server.root();
    let pair: Vec<Value> =
        (0..2).map(|_| root.make(&json!({"name": name("pair"), "role": "admin"}))).collect();
    let first = server.with(&text(&pair[0]["secret"]));
    assert_eq!(first.delete("/auth/keys/env-admin").status(), 204);
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let remove = |by: &Value, whom: &Value| {
            let (by, path) = (text(&by["secret"]), format!("/auth/keys/{}", text(&whom["id"])));
            let server = &server;
            scope.spawn(move || server.with(&by).delete(&path).status())
        };
        let both = [remove(&pair[0], &pair[1]), remove(&pair[1], &pair[0])];
        both.into_iter().map(|handle| handle.join().unwrap()).collect()
    });
    assert_eq!(statuses.iter().filter(|status| **status == 204).count(), 1, "{statuses:?}");
}

#[test]
fn a_key_that_is_removed_ends_what_it_has_open_within_a_second() {
    let server = with_keys();
    let (root, queue) = (server.root(), name("q"));
    let admin = server.key("admin", &json!("*"));
    let mine = server.with(&admin);
    let mut events = mine.stream("/events");
    let mut jobs = mine.stream(&format!("/stream?queues={queue}&worker_id=w"));
    let (polled, took) = std::thread::scope(|scope| {
        let (poll, waiting) = (server.with(&admin), name("waiting"));
        let seen = waiting.clone();
        let polling = scope.spawn(move || {
            poll.send(
                Request::json("POST", "/fetch", &json!({"queues": [waiting], "timeout": 60}))
                    .within(SOON * 2),
            )
        });
        // The fetch waits when its queue has an actor.
        while !root.get("/supervisors").text().contains(&seen) {
            std::thread::yield_now();
        }
        root.revoke(&admin);
        let began = std::time::Instant::now();
        while events.try_next(SOON).unwrap().is_some() {}
        while jobs.try_next(SOON).unwrap().is_some() {}
        let answer = polling.join().unwrap();
        (answer, began.elapsed())
    });
    polled.refused(401, "UNAUTHORIZED");
    assert!(took < Duration::from_secs(1), "{took:?}");
    // What would have gone to the stream goes to somebody else.
    root.post("/enqueue", &json!({"queue": queue})).expect(201);
    root.post("/fetch", &json!({"queues": [queue], "timeout": 5})).expect(200);
}

#[test]
fn a_key_that_expires_ends_what_it_has_open() {
    let server = with_keys();
    let expired = server.expired_key();
    let refused = server.with(&expired).get("/queues").refused(401, "UNAUTHORIZED");
    assert!(text(&refused["error"]).contains("expired"), "{refused}");
    let keys = server.root().get("/auth/keys").expect(200);
    assert!(keys["keys"].as_array().unwrap().iter().any(|key| key["expired"] == true), "{keys}");
}

#[test]
fn a_key_that_calls_too_often_is_told_when_to_come_back() {
    let server = with_keys();
    let body = json!({"name": name("k"), "role": "worker", "rate_limit": {"per_second": 1, "burst": 3}});
    let limited = server.with(&text(&server.root().make(&body)["secret"]));
    let answers: Vec<Response> = (0..10).map(|_| limited.get("/auth/status")).collect();
    let passed = answers.iter().filter(|answer| answer.status() == 200).count();
    assert!((3..=5).contains(&passed), "a burst of three, and what a second or two brings: {passed}");
    let refused = answers.iter().find(|answer| answer.status() == 429).expect("one is refused");
    refused.refused(429, "RATE_LIMITED");
    assert_eq!(refused.header("retry-after"), Some("1"));
    server.root().get("/auth/status").expect(200);
}

#[test]
fn a_repeat_by_another_key_is_another_call() {
    let server = with_keys();
    let keys = [server.key("worker", &json!("*")), server.key("worker", &json!("*"))];
    let enqueue = |key: &str, queue: &str| {
        let request =
            Request::json("POST", "/enqueue", &json!({"queue": queue})).header("idempotency-key", "k");
        server.with(key).send(request)
    };
    let first = text(&enqueue(&keys[0], "q").expect(201)["job_id"]);
    assert_eq!(text(&enqueue(&keys[0], "q").expect(201)["job_id"]), first);
    assert_ne!(text(&enqueue(&keys[1], "q").expect(201)["job_id"]), first);
    enqueue(&keys[1], "other").refused(409, "CONFLICT");
}

#[test]
fn metrics_need_a_key_unless_they_are_public() {
    let server = with_keys();
    for path in ["/metrics", "/api/v1/metrics"] {
        server.send(&Request::new("GET", path)).refused(401, "UNAUTHORIZED");
    }
    let public = Launch::new().env("JOBBIE_ADMIN_KEY", ROOT).arg("--public-metrics").start();
    for path in ["/metrics", "/api/v1/metrics"] {
        assert_eq!(public.send(&Request::new("GET", path)).status(), 200);
    }
    public.get("/metrics/throughput").refused(401, "UNAUTHORIZED");
    assert_eq!(shared().send(&Request::new("GET", "/metrics")).status(), 200, "there are no keys");
}

#[test]
fn the_environments_key_follows_the_environment() {
    let launch = Launch::new();
    let mut server = launch.clone().env("JOBBIE_ADMIN_KEY", ROOT).start();
    let with =
        |server: &Server, key: &str| server.send(&Request::get("/info").header("x-api-key", key)).status();
    assert_eq!(with(&server, ROOT), 200);
    server.kill();
    let file = launch.data().with_file_name("key-file");
    std::fs::write(&file, "another-admin-key-0123456789\n").unwrap();
    let mut server = launch.clone().arg("--admin-key-file").arg(file.to_str().unwrap()).start();
    assert_eq!((with(&server, ROOT), with(&server, "another-admin-key-0123456789")), (401, 200));
    server.kill();
    let server = launch.start();
    assert_eq!(with(&server, "another-admin-key-0123456789"), 200, "it stays until it is removed");
    let exited = Launch::new().env("JOBBIE_ADMIN_KEY", "short").try_start().err().unwrap();
    assert!(exited.output.contains("20 to 256") && !exited.output.contains("short"), "{}", exited.output);
}

#[test]
fn a_first_start_where_others_can_reach_it_makes_a_key() {
    use std::os::unix::fs::PermissionsExt as _;
    let launch = Launch::new().bind("0.0.0.0:0");
    let mut server = launch.start();
    let said = server.output().text();
    let key =
        said.lines().find_map(|line| line.strip_prefix("admin key: ")).expect("it is printed").to_owned();
    let file = launch.data().join("initial-admin-key");
    assert_eq!(std::fs::read_to_string(&file).unwrap().trim(), key);
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    server.get("/queues").refused(401, "UNAUTHORIZED");
    let status = |server: &Server| server.send(&Request::get("/queues").header("x-api-key", &key)).status();
    assert_eq!(status(&server), 200);
    server.kill();
    let server = launch.start();
    assert!(!server.output().text().contains(&key), "it is printed once");
    assert_eq!(status(&server), 200);
    drop(server);
    let open = Launch::new().bind("0.0.0.0:0").arg("--insecure-no-auth").start();
    open.get("/queues").expect(200);
    assert!(!open.data().join("initial-admin-key").exists());
    let with_keys_already = open.post("/auth/keys", &json!({"name": "a", "role": "admin"})).expect(201);
    open.get("/queues").refused(401, "UNAUTHORIZED");
    assert!(with_keys_already["secret"].is_string());
}

/// The workers of the fixture go through the same door.
#[test]
fn a_worker_with_a_key_does_its_work() {
    let server = with_keys();
    let (worker, queue) = (server.key("worker", &json!("mail.*")), name("mail.q"));
    let worker = server.with(&worker);
    let id = text(&worker.post("/enqueue", &json!({"queue": queue})).expect(201)["job_id"]);
    let leased = worker.post("/fetch", &json!({"queues": [queue], "timeout": 1})).expect(200);
    let lease = json!({"lease_token": leased["lease_token"]});
    worker.post("/heartbeat", &json!({"jobs": {&id: lease}})).expect(200);
    worker.post(&format!("/ack/{id}"), &lease).expect(200);
    assert_eq!(worker.get(&format!("/jobs/{id}/wait?timeout=1")).expect(200)["state"], "completed");
}
