// SPDX-License-Identifier: Apache-2.0
//! Clients that make jobs, and one that interferes with them.

use serde_json::{Value, json};

use crate::caller::{Called, Caller};
use crate::history::{Accepted, Item, Key, Outcome, What};
use crate::support::Request;

/// The queues of a run.
pub const QUEUES: [&str; 3] = ["first", "second", "third"];
/// The queue that is paused and resumed.
pub const PAUSED: &str = "third";
/// The queue of which only so many jobs may be active.
pub const LIMITED: (&str, usize) = ("second", 12);
/// Jobs that may wait before producers hold back.
const BACKLOG: i64 = 2_000;

/// Makes jobs until the run ends.
pub fn produce(mut caller: Caller, producer: u64) -> Caller {
    let mut number = 0;
    while caller.ready().is_some() {
        if caller.gate.backlog() > BACKLOG {
            // A read instead of a write: keeps the pace without adding to the heap.
            if let Called::Done(response) = caller.call(Request::get("/queues")) {
                caller.gate.set_backlog(waiting(&response.json()));
            }
            continue;
        }
        let count = if caller.random.chance(20) { caller.random.between(2, 30) } else { 1 };
        let with_ids = caller.random.chance(50);
        let jobs: Vec<(Item, Value)> = (0..count)
            .map(|place| {
                number += 1;
                job(&mut caller, Key { producer, number }, place, with_ids)
            })
            .collect();
        if count == 1 {
            single(&mut caller, &jobs[0]);
        } else {
            batch(&mut caller, jobs);
        }
    }
    caller
}

/// Jobs that are not finished.
pub fn waiting(queues: &Value) -> i64 {
    let count = |queue: &Value| {
        ["scheduled", "pending", "active", "retrying"]
            .iter()
            .map(|state| queue["counts"][state].as_i64().unwrap_or(0))
            .sum::<i64>()
    };
    queues["queues"].as_array().expect("queues").iter().map(count).sum()
}

fn job(caller: &mut Caller, key: Key, place: u64, with_id: bool) -> (Item, Value) {
    let random = &mut caller.random;
    let queue = (*random.pick(&QUEUES)).to_owned();
    let priority = *random.pick(&[25, 50, 50, 50, 75]);
    let mut body = json!({
        "queue": queue, "payload": key.payload(), "priority": priority, "max_retries": random.below(4),
        "retry_backoff": "fixed", "retry_base_delay": "20ms", "retry_jitter": 1, "max_crashes": 1000,
    });
    let chosen = with_id.then(|| format!("p{}-{}", key.producer, key.number));
    if let Some(id) = &chosen {
        body["id"] = json!(id);
    }
    let immediate = !random.chance(8);
    if !immediate {
        body["delay"] = json!(format!("{}ms", random.between(1, 200)));
    }
    // Few keys, so that most are held when the next job wants them.
    let unique = random.chance(15).then(|| format!("unique-{}", random.below(6)));
    if let Some(unique) = &unique {
        body["unique_key"] = json!(unique);
    }
    let place = usize::try_from(place).expect("a small batch");
    (Item { key, queue, priority, immediate, unique, chosen, place }, body)
}

fn single(caller: &mut Caller, (item, body): &(Item, Value)) {
    let mut request = Request::json("POST", "/enqueue", body);
    let keyed = item.chosen.is_none() && caller.random.chance(30);
    if keyed {
        request = request.header("idempotency-key", &format!("k{}-{}", item.key.producer, item.key.number));
    }
    let (called, start, repeated) = send(caller, &request, keyed || item.chosen.is_some());
    let outcome = called.outcome(|reply| Accepted {
        id: reply["job_id"].as_str().expect("an id").to_owned(),
        existing: reply["unique_existing"].as_bool().expect("a flag"),
        repeated,
    });
    if let Some((accepted, _)) = outcome.ok()
        && !accepted.existing
    {
        caller.gate.made(&accepted.id);
    }
    caller.history.note(start, What::Enqueue(item.clone(), outcome));
}

fn batch(caller: &mut Caller, jobs: Vec<(Item, Value)>) {
    let repeatable = jobs.iter().all(|(item, _)| item.chosen.is_some());
    // Whether a job was there already is only told of single ones: in batches no key is asked for.
    let bodies: Vec<Value> = jobs
        .iter()
        .map(|(_, body)| {
            let mut body = body.clone();
            body.as_object_mut().expect("an object").remove("unique_key");
            body
        })
        .collect();
    let request = Request::json("POST", "/enqueue/batch", &json!({"jobs": bodies}));
    let (called, start, repeated) = send(caller, &request, repeatable);
    let outcome = called.outcome(|reply| reply["job_ids"].as_array().expect("ids").clone());
    for (mut item, _) in jobs {
        item.unique = None;
        let outcome = match &outcome {
            Outcome::Ok(ids, index) => {
                let id = ids[item.place].as_str().expect("an id").to_owned();
                caller.gate.made(&id);
                Outcome::Ok(Accepted { id, existing: false, repeated }, *index)
            }
            Outcome::Refused(code) => Outcome::Refused(code.clone()),
            Outcome::Unknown => Outcome::Unknown,
        };
        caller.history.note(start, What::Enqueue(item, outcome));
    }
}

/// Sends once, or if a repeat is safe until the outcome is known; also says whether it was repeated.
fn send(caller: &mut Caller, request: &Request, repeatable: bool) -> (Called, u64, bool) {
    let start = caller.history.now();
    if !repeatable {
        return (caller.call(request.clone()), start, false);
    }
    match caller.until_known(request) {
        Some((called, _, again)) => (called, start, again),
        None => (Called::Unknown, start, true),
    }
}

/// Cancels, copies, pauses, resumes and looks until the run ends; leaves no queue paused that it can help.
pub fn interfere(mut caller: Caller) -> Caller {
    while caller.ready().is_some() {
        let start = caller.history.now();
        let pick = caller.random.next();
        match caller.random.below(10) {
            0..=1 => cancel(&mut caller, start, pick),
            2..=3 => copy(&mut caller, start, pick),
            4 => pause(&mut caller, start, pick),
            5..=6 => read(&mut caller, start, pick),
            _ => {
                let _ = caller.call(Request::get("/jobs?limit=20"));
            }
        }
    }
    caller
}

fn cancel(caller: &mut Caller, start: u64, pick: u64) {
    let Some(id) = caller.gate.recent(pick) else { return };
    let called = caller.call(Request::json("POST", &format!("/jobs/{id}/cancel"), &json!({})));
    let outcome = called.outcome(|job| job["status"].as_str().expect("a status").to_owned());
    if outcome.ok().is_some_and(|(status, _)| status == "cancelled") {
        caller.gate.ended();
    }
    caller.history.note(start, What::Cancel { outcome });
}

fn copy(caller: &mut Caller, start: u64, pick: u64) {
    if caller.gate.backlog() > BACKLOG {
        return;
    }
    let Some(of) = caller.gate.recent(pick) else { return };
    let called = caller.call(Request::json("POST", &format!("/jobs/{of}/clone"), &json!({})));
    let outcome = called.outcome(|reply| reply["job_id"].as_str().expect("an id").to_owned());
    if let Some((id, _)) = outcome.ok() {
        caller.gate.made(id);
    }
    caller.history.note(start, What::Clone { of, outcome });
}

fn pause(caller: &mut Caller, start: u64, pick: u64) {
    let what = if pick.is_multiple_of(3) { "pause" } else { "resume" };
    let called = caller.call(Request::json("POST", &format!("/queues/{PAUSED}/{what}"), &json!({})));
    caller.history.note(start, What::Queue { outcome: called.outcome(|_| ()) });
}

/// What was acked must read as done, whoever asks and after whatever restart.
fn read(caller: &mut Caller, start: u64, pick: u64) {
    let Some(id) = caller.gate.acked(pick) else { return };
    let state = match caller.call(Request::get(&format!("/jobs/{id}"))) {
        Called::Done(response) => {
            Outcome::Ok(response.json()["state"].as_str().expect("a state").to_owned(), 0)
        }
        Called::Refused(code) => Outcome::Refused(code),
        Called::Unknown | Called::Nothing => Outcome::Unknown,
    };
    caller.history.note(start, What::Read { state });
}
