// SPDX-License-Identifier: Apache-2.0
//! Everything that is read off the wire, fed with what is nearly right.
//!
//! Promises: nothing panics; a refusal has a code of the caller's, a bounded sentence, and names the field; what is
//! accepted is accepted again as MessagePack, and means the same; what is written is read back as it was.
#![allow(clippy::unwrap_used)]

#[path = "../../tests/support/mutate.rs"]
mod mutate;

use jobbie_actors::ports::EventId;
use jobbie_broker::{JobRef, LeaseToken};
use jobbie_web::error::{Code, Problem};
use jobbie_web::wire::ack::{AckBatchBody, AckBody};
use jobbie_web::wire::enqueue::{BatchBody, JobBody};
use jobbie_web::wire::events::{self, Wanted};
use jobbie_web::wire::fail::{FailBatchBody, FailBody};
use jobbie_web::wire::fetch::FetchBody;
use jobbie_web::wire::heartbeat::HeartbeatBody;
use jobbie_web::wire::job::{MoveBody, PatchBody};
use jobbie_web::wire::lease::{RawItems, Settling, id_of};
use jobbie_web::wire::query::{Query, percent_decode};
use jobbie_web::wire::queue::{ConcurrencyBody, ThrottleBody};
use jobbie_web::wire::release::{ReleaseBatchBody, ReleaseBody};
use jobbie_web::wire::{Entries, Limits, Place, Span, Stamp, When, cursor, msgpack, read};
use mutate::fuzz;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// Inputs for a target whose one input costs a few microseconds.
const ROUNDS: u64 = 40_000;

/// What bodies are made of.
const WORDS: [&str; 50] = [
    "\"",
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "null",
    "true",
    "-",
    "0",
    "1e999",
    "-0",
    "0.1",
    "\"\"",
    "{}",
    "[]",
    "\\u0000",
    "\\ud800",
    "\\\"",
    "\u{feff}",
    "\u{2028}",
    "é",
    "\"queue\":\"a\"",
    "\"queues\":[\"a\"]",
    "\"payload\":",
    "\"priority\":\"high\"",
    "\"delay\":1.5",
    "\"scheduled_at\":\"2026-01-31T08:00:00Z\"",
    "\"unique_key\":\"k\"",
    "\"unique_period\":\"1d\"",
    "\"tags\":{\"a\":\"b\"}",
    "\"retry_backoff\":\"linear\"",
    "\"max_retries\":7",
    "\"retry_jitter\":0.5",
    "\"timeout\":\"5s\"",
    "\"lease_token\":\"1.0000000000000007\"",
    "\"worker_id\":\"w\"",
    "\"result\":",
    "\"checkpoint\":[1]",
    "\"error\":\"e\"",
    "\"retry\":false",
    "\"retry_after\":\"1s\"",
    "\"kind\":\"rate_limited\"",
    "\"job_id\":\"j-1\"",
    "\"strategy\":\"weighted\"",
    "\"weights\":{\"a\":3}",
    "\"count\":5",
    "\"progress\":{\"current\":1,\"total\":2,\"message\":\"m\"}",
    "\"request_id\":\"r\"",
];

/// A refusal is the caller's fault, says so in bounded words, and names what is wrong.
fn is_well_said(problem: &Problem) {
    assert!(
        matches!(problem.code, Code::Validation | Code::PayloadTooLarge | Code::NotFound),
        "{:?}: {problem}",
        problem.code
    );
    assert!(!problem.message.is_empty() && problem.message.len() <= 1_100, "{problem}");
    let names = problem.details.iter().any(|(name, _)| *name == "field");
    // A body that is no object has no field, nor has an address whose names cannot be read.
    let whole = ["the body ", "the address "].iter().any(|start| problem.message.starts_with(start));
    assert!(names || whole || problem.code == Code::NotFound, "{problem} {:?}", problem.details);
}

fn limits() -> Limits {
    Limits {
        payload: 4096,
        result: 4096,
        checkpoint: 4096,
        error: 256,
        backtrace: 256,
        body: 1 << 20,
        ..Limits::default()
    }
}

fn body<'a, B: Deserialize<'a>, C>(
    bytes: &'a [u8],
    check: impl FnOnce(&B) -> Result<C, Problem>,
) -> Result<C, Problem> {
    check(&read::object(read::text(bytes)?)?)
}

/// The body as MessagePack, with the opaque fields as `bin`; `None` if JSON has a form for it that values have not.
fn packed(json: &[u8], opaque: &[&str]) -> Option<Vec<u8>> {
    let fields: Entries<'_, &RawValue, 1_000> = serde_json::from_slice(json).ok()?;
    let mut out = vec![0xdf];
    out.extend_from_slice(&u32::try_from(fields.0.len()).ok()?.to_be_bytes());
    for (name, value) in &fields.0 {
        out.push(0xdb);
        out.extend_from_slice(&u32::try_from(name.len()).ok()?.to_be_bytes());
        out.extend_from_slice(name.as_bytes());
        if opaque.contains(&&**name) {
            out.push(0xc6);
            out.extend_from_slice(&u32::try_from(value.get().len()).ok()?.to_be_bytes());
            out.extend_from_slice(value.get().as_bytes());
        } else {
            let value: Value = serde_json::from_str(value.get()).ok()?;
            out.extend_from_slice(&rmp_serde::to_vec_named(&value).ok()?);
        }
    }
    Some(out)
}

/// Fuzzes a body: as JSON, and what is accepted as MessagePack too.
#[track_caller]
fn fuzz_body<C: PartialEq + std::fmt::Debug>(
    name: &str,
    seeds: &[&str],
    opaque: &[&str],
    accept: impl Fn(&[u8]) -> Result<C, Problem>,
) {
    let seeds: Vec<&[u8]> = seeds.iter().map(|seed| seed.as_bytes()).collect();
    fuzz(name, &seeds, &WORDS, ROUNDS, |bytes| {
        let meant = match accept(bytes) {
            Ok(meant) => meant,
            Err(problem) => {
                is_well_said(&problem);
                return false;
            }
        };
        if let Some(packed) = packed(bytes, opaque) {
            let json = msgpack::to_json(&packed, 1 << 20).unwrap();
            let again = accept(&json);
            assert_eq!(again.as_ref(), Ok(&meant), "as MessagePack: {}", json.escape_ascii());
        }
        true
    });
}

/// Fuzzes a body of which only matters whether it is accepted.
#[track_caller]
fn fuzz_batch(name: &str, seeds: &[&str], accept: impl Fn(&[u8]) -> Result<(), Problem>) {
    let seeds: Vec<&[u8]> = seeds.iter().map(|seed| seed.as_bytes()).collect();
    fuzz(name, &seeds, &WORDS, ROUNDS / 4, |bytes| accept(bytes).inspect_err(is_well_said).is_ok());
}

#[test]
fn bodies_of_producers() {
    let job = r#"{"queue":"a","payload":{"x":[1,2.50,"é"]},"id":"j-1","priority":70,"max_retries":5,
        "retry_backoff":"fixed","retry_base_delay":"1s","retry_max_delay":60,"retry_jitter":0.25,"timeout":"30s",
        "unique_key":"k","unique_period":"1h","delay":"10m","expire_after":"1d","tags":{"a":"b","c":""},
        "parent_id":"p","max_crashes":2,"on_crash_queue":"q",
        "trace":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}"#;
    let due = r#"{"queue":"a","scheduled_at":"2026-01-31T08:00:00.123+02:00","payload":null}"#;
    fuzz_body("enqueue", &[r#"{"queue":"a"}"#, job, due], &["payload"], |bytes| {
        body::<JobBody<'_>, _>(bytes, |job| job.check(&Place::ROOT, &limits()))
    });
    fuzz_batch("enqueue/batch", &[&format!(r#"{{"jobs":[{job},{due}]}}"#)], |bytes| {
        body::<BatchBody<'_>, _>(bytes, |jobs| jobs.check(None, &limits()).map(drop))
    });
}

#[test]
fn bodies_of_workers() {
    let fetch =
        |batch| move |bytes: &[u8]| body::<FetchBody<'_>, _>(bytes, |fetch| fetch.check(batch, 7, &limits()));
    let all = r#"{"queues":["a","b"],"worker_id":"w","hostname":"h","timeout":"10s","lease_duration":"60s",
        "strategy":"weighted","weights":{"a":3},"request_id":"r"}"#;
    fuzz_body("fetch", &[r#"{"queues":["a"]}"#, all], &[], fetch(false));
    fuzz_body("fetch/batch", &[r#"{"queues":["a"],"count":10,"strategy":"round_robin"}"#], &[], fetch(true));

    let at = Place::ROOT;
    let ack = r#"{"job_id":"j-1","lease_token":"1.0000000000000007","worker_id":"w","result":{"a": 1},"checkpoint":[]}"#;
    fuzz_body("ack", &["{}", ack], &["result", "checkpoint"], |bytes| {
        body::<AckBody<'_>, _>(bytes, |ack| ack.check(&at, Some("j-1"), &limits()))
    });
    let fail = r#"{"error":"e","backtrace":"b","retry":false,"retry_after":"1m","kind":"rate_limited",
        "checkpoint":{"n":1},"lease_token":"x"}"#;
    fuzz_body("fail", &[r#"{"error":""}"#, fail], &["checkpoint"], |bytes| {
        body::<FailBody<'_>, _>(bytes, |fail| fail.check(&at, Some("j-1"), &limits()))
    });
    fuzz_body("release", &["{}", r#"{"delay":"10s","worker_id":"w"}"#], &[], |bytes| {
        body::<ReleaseBody<'_>, _>(bytes, |release| release.check(&at, Some("j-1"), &limits()))
    });
}

/// Items of a batch are read one by one: each is accepted or refused for itself.
fn read_items<'a, B: Settling<'a>>(items: &RawItems<'a>) {
    let place = Place::ROOT.key("items");
    for (at, raw) in items.0.iter().enumerate() {
        let place = place.index(at);
        let read = read::object_at::<B>(raw.get(), &place);
        if let Err(problem) = read.and_then(|item| item.check(&place, None, &limits())) {
            is_well_said(&problem);
            assert!(id_of(raw).chars().count() <= 64);
        }
    }
}

#[test]
fn batches_of_workers() {
    let acks = r#"{"acks":[{"job_id":"a","result":1},{"job_id":"b","lease_token":"1.0000000000000007"},7]}"#;
    fuzz_batch("ack/batch", &[acks], |bytes| {
        let body: AckBatchBody<'_> = read::object(read::text(bytes)?)?;
        read_items::<AckBody<'_>>(&body.acks);
        Ok(())
    });
    let fails = r#"{"fails":[{"job_id":"a","error":"e"},{"job_id":"b","error":"e","retry_after":5},[]]}"#;
    fuzz_batch("fail/batch", &[fails], |bytes| {
        let body: FailBatchBody<'_> = read::object(read::text(bytes)?)?;
        read_items::<FailBody<'_>>(&body.fails);
        Ok(())
    });
    let releases = r#"{"releases":[{"job_id":"a"},{"job_id":"b","delay":"1h"},null]}"#;
    fuzz_batch("release/batch", &[releases], |bytes| {
        let body: ReleaseBatchBody<'_> = read::object(read::text(bytes)?)?;
        read_items::<ReleaseBody<'_>>(&body.releases);
        Ok(())
    });
    let beats = r#"{"worker_id":"w","jobs":{"a":{"progress":{"current":1,"total":2,"message":"m"}},
        "b":{"checkpoint":[1],"lease_token":"1.0000000000000007"},"c":3}}"#;
    fuzz_batch("heartbeat", &[beats], |bytes| {
        let body: HeartbeatBody<'_> = read::object(read::text(bytes)?)?;
        let beats = body.check(&limits())?;
        beats.iter().filter_map(|beat| beat.refused.as_ref()).for_each(is_well_said);
        Ok(())
    });
}

#[test]
fn bodies_of_people() {
    let patch = r#"{"payload":[1],"priority":"low","tags":{},"scheduled_at":"2026-01-31T08:00:00Z"}"#;
    fuzz_body("patch", &[patch, r#"{"priority":1}"#], &["payload"], |bytes| {
        body::<PatchBody<'_>, _>(bytes, |patch| patch.check(JobRef::parse("j"), &limits()))
    });
    fuzz_body("move", &[r#"{"queue":"a"}"#], &[], |bytes| body::<MoveBody<'_>, _>(bytes, MoveBody::check));
    fuzz_body("concurrency", &[r#"{"concurrency":5}"#, r#"{"concurrency":null}"#], &[], |bytes| {
        body::<ConcurrencyBody, _>(bytes, ConcurrencyBody::check)
    });
    fuzz_body("throttle", &[r#"{"count":10,"period":"1m"}"#], &[], |bytes| {
        body::<ThrottleBody, _>(bytes, ThrottleBody::check)
    });
}

#[test]
fn messagepack() {
    let seeds: [&[u8]; 4] = [
        b"\x82\xa5queue\xa1a\xa7payload\xc4\x0a{ \"a\":1.0}",
        b"\x94\xc0\xc3\xff\xcb\x3f\xf8\x00\x00\x00\x00\x00\x00",
        b"\x81\xa1a\x92\x80\xa1\"",
        b"\xdf\x00\x00\x00\x01\xdb\x00\x00\x00\x01a\xdd\x00\x00\x00\x02\xd9\x01b\xc6\x00\x00\x00\x011",
    ];
    for limit in [64, 1 << 16] {
        fuzz("msgpack", &seeds, &["\u{1}", "\u{0}"], ROUNDS, |bytes| match msgpack::to_json(bytes, limit) {
            Ok(json) => {
                assert!(json.len() <= limit);
                serde_json::from_slice::<&RawValue>(&json).unwrap();
                true
            }
            Err(problem) => {
                is_well_said(&problem);
                false
            }
        });
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn words_and_numbers() {
    let spans: [&[u8]; 7] = [b"250ms", b"5s", b"10m", b"1h", b"7d", b"30", b"0.5"];
    fuzz("span", &spans, &["ms", ".", "e9"], ROUNDS, |bytes| {
        let Some(span) = Span::parse(&text(bytes), true) else { return false };
        assert_eq!(Span::parse(&format!("{}ms", span.0.0), false), Some(span));
        true
    });
    let times: [&[u8]; 2] = [b"2026-01-31T08:00:00Z", b"1970-01-01T00:00:00.000Z"];
    fuzz("time", &times, &["+02:00", "-23:59", "60", ".999999999", "9999", "0000"], ROUNDS, |bytes| {
        let Some(when) = When::parse(&text(bytes)) else { return false };
        let written = serde_json::to_value(Stamp(when.0)).unwrap();
        assert_eq!(When::parse(written.as_str().unwrap()), Some(when), "{written}");
        true
    });
    fuzz("event id", &[b"1042.0", b"18446744073709551615.4294967295"], &[".", "+"], ROUNDS, |bytes| {
        let Some(id) = EventId::parse(&text(bytes)) else { return false };
        assert_eq!(EventId::parse(&id.to_string()), Some(id));
        true
    });
    fuzz("lease token", &[b"1.9f0c3a5be1d27748"], &[".", "+"], ROUNDS, |bytes| {
        let Some(token) = LeaseToken::parse(&text(bytes)) else { return false };
        assert_eq!(LeaseToken::parse(&token.to_string()), Some(token));
        true
    });
    fuzz("cursor", &[b"1a2b3c-7", b"ffffffffffffffff-ffffffffffffffff"], &["-", "+"], ROUNDS, |bytes| {
        let Ok(cursor) = cursor::read(&text(bytes)).inspect_err(is_well_said) else { return false };
        assert_eq!(cursor::read(&cursor::write(cursor)).unwrap(), cursor);
        true
    });
    fuzz("job id", &[b"job_01K9Z3V8E1D2M5T7Q4R6S8W0XY", b"invoice-7"], &["job_", "Z"], ROUNDS, |bytes| {
        let job = JobRef::parse(&text(bytes));
        assert_eq!(JobRef::parse(&job.to_string()), job);
        true
    });
}

#[test]
fn query_strings() {
    let words =
        ["&", "=", "%", "%00", "%ff", "+", "topics=", "types=", "queues=", "job.dead", "queue:a", "stats"];
    let seed = b"topics=stats,tail,job:j-1,queue:a.b&types=job.dead&queues=a,b&last_event_id=7.0";
    fuzz("events", &[seed], &words, ROUNDS, |bytes| {
        let text = text(bytes);
        let read = Query::parse(&text, events::PARAMETERS).and_then(|query| Wanted::check(&query));
        read.inspect_err(is_well_said).is_ok()
    });
    fuzz("numbers and spans", &[b"limit=10&timeout=5s", b"limit=1&timeout=%31.5"], &words, ROUNDS, |bytes| {
        let text = text(bytes);
        let read = Query::parse(&text, &["limit", "timeout"]).and_then(|query| {
            query.list("limit").for_each(drop);
            Ok((query.number("limit", 1, 1_000)?, query.span("timeout")?))
        });
        read.inspect_err(is_well_said).is_ok()
    });
    fuzz("percent", &[b"a%20b", b"%C3%A9+x"], &["%", "%0", "%GG", "%c3"], ROUNDS, |bytes| {
        let text = text(bytes);
        let read = percent_decode(&text, true).inspect_err(is_well_said);
        read.inspect(|decoded| assert!(decoded.len() <= text.len())).is_ok()
    });
}
