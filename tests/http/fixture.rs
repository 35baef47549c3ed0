// SPDX-License-Identifier: Apache-2.0
//! One server for many tests, names that no other test uses, and the calls that most tests make.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use serde_json::{Value, json};

use crate::support::{Launch, Response, Server, Stream};

static SHARED: Mutex<Weak<Server>> = Mutex::new(Weak::new());

/// The server that tests share. It lives as long as any test uses it, so that none is left behind.
pub fn shared() -> Arc<Server> {
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    shared.upgrade().unwrap_or_else(|| {
        let server = Arc::new(Launch::new().start());
        *shared = Arc::downgrade(&server);
        server
    })
}

/// A name that nothing else uses.
pub fn name(start: &str) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    format!("{start}-{}", COUNT.fetch_add(1, Ordering::Relaxed))
}

/// The calls of most tests, each checked for success.
pub trait Api {
    /// Enqueues a job; its id.
    fn enqueue(&self, job: &Value) -> String;
    /// A fetch that waits so many seconds.
    fn poll(&self, queue: &str, timeout: u64) -> Response;
    /// Fetches a job that is there.
    fn take(&self, queue: &str) -> Value;
    /// Fetches a job that is there with more fields in the request.
    fn take_with(&self, queue: &str, more: &Value) -> Value;
    /// True if there is nothing to fetch.
    fn is_empty(&self, queue: &str) -> bool;
    /// Acks, fails or releases a leased job with its token and more fields.
    fn settle(&self, verb: &str, lease: &Value, more: Value) -> Response;
    /// A heartbeat for one job; its item.
    fn beat(&self, lease: &Value, more: Value) -> Value;
    /// A job.
    fn job(&self, id: &str) -> Value;
    /// A queue's number of jobs in a state.
    fn count(&self, queue: &str, state: &str) -> u64;
    /// What happens in a queue from now on.
    fn news(&self, queue: &str) -> Stream;
}

impl Api for Server {
    #[track_caller]
    fn enqueue(&self, job: &Value) -> String {
        text(&self.post("/enqueue", job).expect(201)["job_id"])
    }

    #[track_caller]
    fn poll(&self, queue: &str, timeout: u64) -> Response {
        self.post("/fetch", &json!({"queues": [queue], "worker_id": "w", "timeout": timeout}))
    }

    #[track_caller]
    fn take(&self, queue: &str) -> Value {
        self.take_with(queue, &json!({}))
    }

    #[track_caller]
    fn take_with(&self, queue: &str, more: &Value) -> Value {
        let body = merged(json!({"queues": [queue], "worker_id": "w", "hostname": "h", "timeout": 0}), more);
        self.post("/fetch", &body).expect(200)
    }

    #[track_caller]
    fn is_empty(&self, queue: &str) -> bool {
        match self.poll(queue, 0).status() {
            200 => false,
            status => {
                assert_eq!(status, 204);
                true
            }
        }
    }

    #[track_caller]
    fn settle(&self, verb: &str, lease: &Value, more: Value) -> Response {
        let body = merged(json!({"lease_token": lease["lease_token"]}), &more);
        self.post(&format!("/{verb}/{}", text(&lease["job_id"])), &body)
    }

    #[track_caller]
    fn beat(&self, lease: &Value, more: Value) -> Value {
        let id = text(&lease["job_id"]);
        let item = merged(json!({"lease_token": lease["lease_token"]}), &more);
        self.post("/heartbeat", &json!({"worker_id": "w", "jobs": {&id: item}})).expect(200)["jobs"][&id]
            .clone()
    }

    #[track_caller]
    fn job(&self, id: &str) -> Value {
        self.get(&format!("/jobs/{id}")).expect(200)
    }

    #[track_caller]
    fn count(&self, queue: &str, state: &str) -> u64 {
        let queue = self.get(&format!("/queues/{queue}")).expect(200);
        queue["counts"][state].as_u64().unwrap_or_else(|| panic!("no count of {state}: {queue}"))
    }

    #[track_caller]
    fn news(&self, queue: &str) -> Stream {
        self.stream(&format!("/events?topics=queue:{queue}"))
    }
}

/// An object with the fields of another added.
pub fn merged(mut object: Value, more: &Value) -> Value {
    let fields = more.as_object().expect("an object");
    object.as_object_mut().expect("an object").extend(fields.iter().map(|(k, v)| (k.clone(), v.clone())));
    object
}

/// A value that is text.
#[track_caller]
pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

/// A time such as `2026-11-24T11:16:08.123Z` in milliseconds since 1970.
#[track_caller]
pub fn millis(value: &Value) -> i64 {
    let text = text(value);
    let number =
        |from: usize, to: usize| text[from..to].parse::<i64>().unwrap_or_else(|e| panic!("{text}: {e}"));
    assert!(text.len() == 24 && text.ends_with('Z'), "not RFC 3339 in UTC with milliseconds: {text}");
    let (year, month, day) = (number(0, 4), number(5, 7), number(8, 10));
    // Days since 1970-01-01 (Hinnant, days_from_civil, for years from 1970 on).
    let shifted = if month <= 2 { year - 1 } else { year };
    let era = shifted / 400;
    let of_era = shifted - era * 400;
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    days * 86_400_000
        + number(11, 13) * 3_600_000
        + number(14, 16) * 60_000
        + number(17, 19) * 1000
        + number(20, 23)
}

/// The same backwards.
pub fn stamp(millis: i64) -> String {
    let (days, rest) = (millis.div_euclid(86_400_000), millis.rem_euclid(86_400_000));
    // Hinnant, civil_from_days, for days from 1970 on.
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let years = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * years + years / 4 - years / 100);
    let moved = (5 * of_year + 2) / 153;
    let (day, month) = (of_year - (153 * moved + 2) / 5 + 1, if moved < 10 { moved + 3 } else { moved - 9 });
    let year = years + era * 400 + i64::from(month <= 2);
    let (hour, minute) = (rest / 3_600_000, rest / 60_000 % 60);
    let (second, milli) = (rest / 1000 % 60, rest % 1000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
}

#[test]
fn times_are_read() {
    for time in ["1970-01-01T00:00:00.000Z", "2024-02-29T00:00:00.123Z", "2026-12-31T23:59:59.999Z"] {
        assert_eq!(stamp(millis(&json!(time))), time);
    }
    assert_eq!(millis(&json!("1970-01-01T00:00:00.000Z")), 0);
    assert_eq!(millis(&json!("2024-02-29T00:00:00.123Z")), 1_709_164_800_123);
}
