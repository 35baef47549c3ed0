// SPDX-License-Identifier: Apache-2.0
//! Enqueue bodies, good and bad.

use super::*;
use crate::error::{Code, Detail};
use crate::wire::read;

fn one(body: &str) -> Result<JobSpec, Problem> {
    read::object::<JobBody<'_>>(body)?.check(&Place::ROOT, &Limits::default())
}

fn with(field: &str) -> Result<JobSpec, Problem> {
    one(&format!(r#"{{"queue":"a",{field}}}"#))
}

fn named(problem: &Problem) -> &str {
    match problem.details.iter().find(|(name, _)| *name == "field") {
        Some((_, Detail::Text(field))) => field,
        _ => "",
    }
}

#[test]
fn defaults_are_those_of_the_contract() {
    assert_eq!(one(r#"{"queue":"a"}"#).unwrap(), JobSpec::new("a", Json::null()));
    assert_eq!(
        one(r#"{"queue":"a","payload":null,"tags":null,"delay":null}"#).unwrap(),
        JobSpec::new("a", Json::null())
    );
    assert_eq!(
        one(r#"{"queue":"a","payload":{ "x" : 1.0 }}"#).unwrap().payload,
        Json::from(r#"{ "x" : 1.0 }"#)
    );
}

#[test]
fn every_field_arrives() {
    let job = one(
        r#"{"queue":"q.1","payload":[1],"id":"invoice-7","priority":"high","max_retries":0,"retry_backoff":"linear",
        "retry_base_delay":"250ms","retry_max_delay":60,"retry_jitter":0.255,"timeout":"1h","unique_key":"k","unique_period":"1d",
        "delay":"10m","expire_after":"2h","tags":{"b":"2","a":""},"parent_id":"job_x","max_crashes":5,"on_crash_queue":"sick",
        "trace":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}"#,
    )
    .unwrap();
    assert_eq!(
        (&*job.queue, job.id.as_deref(), job.due),
        ("q.1", Some("invoice-7"), Due::After(Millis(600_000)))
    );
    assert_eq!(job.expire_after, Some(Millis(7_200_000)));
    let options = job.options;
    assert_eq!((options.priority, options.max_crashes, options.timeout), (75, 5, Some(Millis(3_600_000))));
    let retry = RetryPolicy {
        max_retries: 0,
        backoff: Backoff::Linear,
        base: Millis(250),
        max: Millis(60_000),
        jitter_permille: 255,
    };
    assert_eq!(options.retry, retry);
    assert_eq!(options.unique, Some(Unique { key: "k".into(), period: Millis(86_400_000) }));
    assert_eq!(options.tags, [("a".into(), "".into()), ("b".into(), "2".into())]);
    assert_eq!(
        (options.on_crash_queue.as_deref(), options.parent_id.as_deref()),
        (Some("sick"), Some("job_x"))
    );
    assert!(options.trace.is_some());
}

#[test]
fn priorities_have_names() {
    for (text, priority) in
        [("0", 0), ("100", 100), (r#""low""#, 25), (r#""normal""#, 50), (r#""critical""#, 100)]
    {
        assert_eq!(with(&format!(r#""priority":{text}"#)).unwrap().options.priority, priority);
    }
}

#[test]
fn a_bad_value_names_its_field() {
    for (fields, field) in [
        (r#""priority":101"#, "priority"),
        (r#""priority":-1"#, "priority"),
        (r#""priority":"urgent""#, "priority"),
        (r#""priority":50.5"#, "priority"),
        (r#""max_retries":10001"#, "max_retries"),
        (r#""max_retries":-1"#, "max_retries"),
        (r#""max_retries":"3""#, "max_retries"),
        (r#""retry_backoff":"quadratic""#, "retry_backoff"),
        (r#""retry_backoff":1"#, "retry_backoff"),
        (r#""retry_base_delay":"5""#, "retry_base_delay"),
        (r#""retry_jitter":1.1"#, "retry_jitter"),
        (r#""retry_jitter":-0.1"#, "retry_jitter"),
        (r#""timeout":0"#, "timeout"),
        (r#""timeout":"soon""#, "timeout"),
        (r#""unique_key":"""#, "unique_key"),
        (r#""unique_key":"a\u0000b""#, "unique_key"),
        (r#""unique_period":"1d""#, "unique_period"),
        (r#""scheduled_at":"tomorrow""#, "scheduled_at"),
        (r#""scheduled_at":"2026-01-31T12:00:00Z","delay":5"#, "delay"),
        (r#""expire_after":0"#, "expire_after"),
        (r#""tags":{"a":1}"#, "tags.a"),
        (r#""tags":{"":"x"}"#, "tags."),
        (r#""tags":{"a":"\n"}"#, "tags.a"),
        (r#""tags":["a"]"#, "tags"),
        (r#""id":"a b""#, "id"),
        (r#""id":7"#, "id"),
        (r#""parent_id":"""#, "parent_id"),
        (r#""max_crashes":0"#, "max_crashes"),
        (r#""on_crash_queue":"a b""#, "on_crash_queue"),
        (r#""trace":"x""#, "trace"),
        (r#""batch_id":"b""#, "batch_id"),
        (r#""depends_on":[]"#, "depends_on"),
        (r#""prioritty":1"#, "prioritty"),
    ] {
        let problem = with(fields).unwrap_err();
        assert_eq!((named(&problem), problem.code), (field, Code::Validation), "{fields}: {problem}");
    }
    for (body, field) in [
        (r#"{"queue":"a b"}"#, "queue"),
        (r#"{"queue":""}"#, "queue"),
        ("{}", "queue"),
        (r#"{"queue":null}"#, "queue"),
    ] {
        assert_eq!(named(&one(body).unwrap_err()), field, "{body}");
    }
}

#[test]
fn a_large_or_deep_payload_is_refused() {
    let large = format!(r#""payload":"{}""#, "x".repeat(256 * 1024));
    assert_eq!(with(&large).unwrap_err().code, Code::PayloadTooLarge);
    let deep = format!(r#""payload":{}{}"#, "[".repeat(129), "]".repeat(129));
    assert_eq!(named(&with(&deep).unwrap_err()), "payload");
}

#[test]
fn a_bad_job_of_a_batch_names_its_place() {
    let batch =
        |body: &str| read::object::<BatchBody<'_>>(body).and_then(|b| b.check(None, &Limits::default()));
    assert_eq!(batch(r#"{"jobs":[{"queue":"a"},{"queue":"b"}]}"#).unwrap().jobs.len(), 2);
    for (body, field) in [
        (r#"{"jobs":[{"queue":"a"},{"queue":"b b"}]}"#, "jobs[1].queue"),
        (r#"{"jobs":[{"queue":"a"},{"queue":5}]}"#, "jobs[1].queue"),
        (r#"{"jobs":[{"queue":"a","tags":{"x":"\t"}}]}"#, "jobs[0].tags.x"),
        (r#"{"jobs":[{"queue":"a","hold":{}}]}"#, "jobs[0].hold"),
        (r#"{"jobs":[]}"#, "jobs"),
        (r#"{"jobs":null}"#, "jobs"),
        (r#"{"jobs":[],"batch":{}}"#, "batch"),
    ] {
        assert_eq!(named(&batch(body).unwrap_err()), field, "{body}");
    }
    let many = format!(r#"{{"jobs":[{}]}}"#, vec![r#"{"queue":"a"}"#; MAX_BATCH + 1].join(","));
    let problem = batch(&many).unwrap_err();
    assert!(problem.message.contains("at most 10000 items"), "{problem}");
}

#[test]
fn a_retention_is_only_shorter_than_the_servers() {
    let limits = Limits { retention: Some(Millis::from_secs(3600)), ..Limits::default() };
    let ask = |text: &str| {
        let body = format!(r#"{{"queue":"a","retention":"{text}"}}"#);
        read::object::<JobBody<'_>>(&body)?.check(&Place::ROOT, &limits).map(|job| job.options.retention)
    };
    assert_eq!(ask("1h").unwrap(), Some(Millis::from_secs(3600)));
    assert_eq!(ask("0s").unwrap(), Some(Millis(0)));
    let problem = ask("61m").unwrap_err();
    assert_eq!((problem.code, named(&problem)), (Code::Validation, "retention"));
    assert!(problem.message.contains("shorter than the server's"), "{}", problem.message);
    // A server that keeps everything lets a job be gone after a while.
    assert!(with(r#""retention":"365d""#).is_ok());
}
