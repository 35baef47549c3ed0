// SPDX-License-Identifier: Apache-2.0
//! Clients that work: by single fetches, in batches, and on a stream.

use std::time::Duration;

use serde_json::{Value, json};

use crate::caller::{Called, Caller};
use crate::history::{Grant, Outcome, Verb, What};
use crate::producer::QUEUES;
use crate::support::{Request, Stream};

/// The lease of every fetch, in seconds: short enough that abandoned jobs come back within a run.
pub const LEASE: u64 = 3;
/// How long a stream may be silent before the worker looks whether the run has ended.
const SILENCE: Duration = Duration::from_millis(500);

fn grant(lease: &Value, index: u64) -> Grant {
    let text = |name: &str| lease[name].as_str().unwrap_or_else(|| panic!("no {name}: {lease}")).to_owned();
    let number = |name: &str| lease[name].as_u64().unwrap_or_else(|| panic!("no {name}: {lease}"));
    Grant {
        job: text("job_id"),
        token: text("lease_token"),
        queue: text("queue"),
        index: lease["index"].as_u64().unwrap_or(index),
        attempt: number("attempt"),
        max_retries: number("max_retries"),
        payload: lease["payload"].clone(),
        streamed: lease["adopted"].is_boolean(),
        adopted: lease["adopted"] == true,
        repeated: false,
    }
}

/// Fetches up to `count` jobs with a request id, which makes the call repeatable over a restart.
fn fetch(caller: &mut Caller, worker: &str, count: u64) -> Option<Vec<Grant>> {
    let request_id = format!("{worker}-{}", caller.history.now());
    let mut queues = QUEUES.to_vec();
    queues.rotate_left(usize::try_from(caller.random.below(3)).expect("small"));
    let mut body = json!({"queues": queues, "worker_id": worker, "timeout": 1, "lease_duration": LEASE});
    if count > 1 {
        body["count"] = json!(count);
    }
    let start = caller.history.now();
    let path = if count > 1 { "/fetch/batch" } else { "/fetch" };
    let (called, repeated) = if caller.random.chance(60) {
        body["request_id"] = json!(request_id);
        let (called, _, again) = caller.until_known(&Request::json("POST", path, &body))?;
        (called, again)
    } else {
        (caller.call(Request::json("POST", path, &body)), false)
    };
    let Called::Done(response) = called else { return Some(Vec::new()) };
    if response.status() == 204 {
        return Some(Vec::new());
    }
    let index = response.index().expect("an index");
    let reply = response.json();
    let leases = if count > 1 { reply["jobs"].as_array().expect("jobs").clone() } else { vec![reply] };
    let grants = leases.iter().map(|lease| Grant { repeated, ..grant(lease, index) });
    let grants: Vec<Grant> = grants.collect();
    for grant in &grants {
        caller.history.note(start, What::Grant(grant.clone()));
    }
    Some(grants)
}

/// Fetches and acks what there is once, without mishaps.
pub fn work_off(caller: &mut Caller) {
    let grants = fetch(caller, "drain", 200).unwrap_or_default();
    settle_all(caller, Verb::Ack, &grants);
}

/// Works one job after the other until the run ends.
pub fn work_singly(mut caller: Caller, worker: &str) -> Caller {
    while caller.ready().is_some() {
        for grant in fetch(&mut caller, worker, 1).unwrap_or_default() {
            handle(&mut caller, &grant);
        }
    }
    caller
}

/// Works many jobs at a time until the run ends.
pub fn work_in_batches(mut caller: Caller, worker: &str) -> Caller {
    while caller.ready().is_some() {
        let grants = fetch(&mut caller, worker, 25).unwrap_or_default();
        let (failing, acking): (Vec<Grant>, Vec<Grant>) =
            grants.into_iter().partition(|_| caller.random.chance(15));
        settle_all(&mut caller, Verb::Ack, &acking);
        settle_all(&mut caller, Verb::Fail, &failing);
    }
    caller
}

/// Works what a stream pushes until the run ends; opens it again, under the same name, when it breaks.
pub fn work_on_stream(mut caller: Caller, worker: &str) -> Caller {
    while let Some(addr) = caller.ready() {
        let queues = QUEUES.join(",");
        let path = format!(
            "/stream?queues={queues}&worker_id={worker}&prefetch=8&concurrency=8&lease_duration={LEASE}"
        );
        let mut stream = match Stream::open(addr, &path, &[]) {
            Ok(Ok(stream)) => stream,
            Ok(Err(_)) => continue,
            Err(_) => {
                caller.lost();
                continue;
            }
        };
        loop {
            match stream.try_next(SILENCE) {
                Ok(Some(event)) if event.name == "job" => {
                    let start = caller.history.now();
                    let grant = grant(&event.json(), 0);
                    caller.history.note(start, What::Grant(grant.clone()));
                    handle(&mut caller, &grant);
                }
                Ok(Some(_)) => {}
                Err(e) if e.kind() == std::io::ErrorKind::TimedOut && !caller.gate.stopping() => {}
                Ok(None) | Err(_) => break,
            }
        }
        // Whether the server is gone or only the stream: the next call finds out.
        let _ = caller.call(Request::get("/info"));
    }
    caller
}

/// Does something with a job, most often what a good worker does.
fn handle(caller: &mut Caller, grant: &Grant) {
    match caller.random.below(100) {
        0..=1 => {} // forgotten: its lease runs out
        2..=9 => settle(caller, Verb::Release, grant),
        10..=24 => settle(caller, Verb::Fail, grant),
        25..=39 => {
            settle(caller, Verb::Beat, grant);
            settle(caller, Verb::Ack, grant);
        }
        _ => settle(caller, Verb::Ack, grant),
    }
}

fn request(verb: Verb, grant: &Grant) -> Request {
    let (job, token) = (&grant.job, &grant.token);
    let item = item(verb, grant);
    match verb {
        Verb::Ack => Request::json("POST", &format!("/ack/{job}"), &item),
        Verb::Fail => Request::json("POST", &format!("/fail/{job}"), &item),
        Verb::Release => Request::json("POST", &format!("/release/{job}"), &item),
        Verb::Beat => {
            let beat = json!({"lease_token": token, "checkpoint": {"by": grant.attempt}});
            Request::json("POST", "/heartbeat", &json!({"jobs": {job: beat}}))
        }
    }
}

fn item(verb: Verb, grant: &Grant) -> Value {
    let mut item = json!({"job_id": grant.job, "lease_token": grant.token});
    match verb {
        Verb::Ack => item["result"] = json!(grant.attempt),
        Verb::Fail => item["error"] = json!("on purpose"),
        Verb::Release | Verb::Beat => {}
    }
    item
}

/// One word on one lease; a worker that got no answer most often asks again.
pub fn settle(caller: &mut Caller, verb: Verb, grant: &Grant) {
    let request = request(verb, grant);
    let mut start = caller.history.now();
    let mut called = caller.call(request.clone());
    let mut again = false;
    if matches!(called, Called::Unknown) && caller.repeats && caller.random.chance(75) {
        note(caller, start, verb, grant, false, Outcome::Unknown);
        let Some((later, began, _)) = caller.until_known(&request) else { return };
        (called, start, again) = (later, began, true);
    }
    let outcome = match called {
        // A heartbeat is answered per job.
        Called::Done(response) if verb == Verb::Beat => {
            let item = &response.json()["jobs"][&grant.job];
            match item["status"].as_str() {
                Some("ok" | "cancel") => Outcome::Ok((), response.index().expect("an index")),
                _ => Outcome::Refused(item["code"].as_str().unwrap_or_default().into()),
            }
        }
        called => called.outcome(|_| ()),
    };
    note(caller, start, verb, grant, again, outcome);
}

fn note(caller: &mut Caller, start: u64, verb: Verb, grant: &Grant, again: bool, outcome: Outcome<()>) {
    if verb == Verb::Ack && outcome.ok().is_some() {
        caller.gate.done(&grant.job);
    }
    let (job, token) = (grant.job.clone(), grant.token.clone());
    caller.history.note(start, What::Settle { verb, job, token, again, outcome });
}

/// The same word on many leases in one call.
pub fn settle_all(caller: &mut Caller, verb: Verb, grants: &[Grant]) {
    if grants.is_empty() {
        return;
    }
    let (path, list) = if verb == Verb::Ack { ("/ack/batch", "acks") } else { ("/fail/batch", "fails") };
    let items: Vec<Value> = grants.iter().map(|grant| item(verb, grant)).collect();
    let request = Request::json("POST", path, &json!({list: items}));
    let start = caller.history.now();
    let mut called = caller.call(request.clone());
    let (mut start, mut again) = (start, false);
    if matches!(called, Called::Unknown) && caller.repeats {
        for grant in grants {
            note(caller, start, verb, grant, false, Outcome::Unknown);
        }
        let Some((later, began, _)) = caller.until_known(&request) else { return };
        (called, start, again) = (later, began, true);
    }
    let outcome = called.outcome(|reply| reply["results"].as_array().expect("results").clone());
    for (place, grant) in grants.iter().enumerate() {
        let one = match &outcome {
            Outcome::Ok(results, index) => match results[place]["code"].as_str() {
                None => Outcome::Ok((), *index),
                Some(code) => Outcome::Refused(code.to_owned()),
            },
            Outcome::Refused(code) => Outcome::Refused(code.clone()),
            Outcome::Unknown => Outcome::Unknown,
        };
        note(caller, start, verb, grant, again, one);
    }
}
