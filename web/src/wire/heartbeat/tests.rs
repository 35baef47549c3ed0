// SPDX-License-Identifier: Apache-2.0
//! Heartbeats: what an item carries, and what a bad item costs (nothing but itself).

use super::*;
use jobbie_broker::reject::Reject;
use jobbie_broker::{JobRef, LeaseToken, Millis, StateKind, Timestamp};

const TOKEN: LeaseToken = LeaseToken { delivery: 1, salt: 7 };

fn beat(body: &str) -> Result<Vec<Checked>, Problem> {
    read::object::<HeartbeatBody<'_>>(body)?.check(&Limits::default())
}

fn alive(cancel: bool) -> Option<Result<Settled, Reject>> {
    Some(Ok(Settled::Alive { lease_expires_at: Timestamp(0), length: Millis(1), cancel }))
}

#[test]
fn jobs_keep_their_order_and_an_impossible_id_fails_alone() {
    let items =
        beat(r#"{"worker_id":"w","jobs":{"b":{"progress":{"current":1,"total":2,"message":"x"}},"a/b":{},"a":{"checkpoint":[1]}}}"#)
            .unwrap();
    assert_eq!(items.len(), 3);
    let progress = Progress { current: 1, total: Some(2), message: Some("x".into()) };
    assert_eq!(items[0].item.as_ref().unwrap().progress, Some(progress));
    assert_eq!(items[1].refused.as_ref().unwrap().code, Code::NotFound);
    assert!(items[1].item.is_none());
    let last = items[2].item.as_ref().unwrap();
    assert!(last.checkpoint.is_some() && items[2].refused.is_none());
    assert_eq!(last.lease.worker.as_deref(), Some("w"));
}

#[test]
fn what_is_no_heartbeat_is_refused_as_a_whole() {
    for body in [
        "{}",
        r#"{"jobs":[]}"#,
        r#"{"jobs":{"a":{},"a":{}}}"#,
        r#"{"jobs":{},"worker_id":1}"#,
        r#"{"jobs":{"a":{}},"worker_id":"a\u0000"}"#,
        r#"{"jobs":{"a":{}},"more":1}"#,
        r#"{"jobs":{"a":{}"#,
    ] {
        assert_eq!(beat(body).unwrap_err().code, Code::Validation, "{body}");
    }
}

#[test]
fn a_bad_checkpoint_does_not_cost_the_lease_of_its_job_or_of_others() {
    let large = format!("\"{}\"", "x".repeat(1 << 20));
    let deep = "[".repeat(200) + &"]".repeat(200);
    let long = format!(r#"{{"current":1,"message":"{}"}}"#, "x".repeat(1_025));
    for (bad, code, field) in [
        (format!(r#""checkpoint":{large}"#), Code::PayloadTooLarge, "jobs.a.checkpoint"),
        (format!(r#""checkpoint":{deep}"#), Code::Validation, "jobs.a.checkpoint"),
        (format!(r#""progress":{long}"#), Code::PayloadTooLarge, "jobs.a.progress.message"),
        (r#""progress":{"current":-1}"#.into(), Code::Validation, "jobs.a.progress.current"),
        (r#""progress":[1]"#.into(), Code::Validation, "jobs.a.progress"),
        (r#""usage":{}"#.into(), Code::Validation, "jobs.a.usage"),
    ] {
        let body = format!(
            r#"{{"worker_id":"w","jobs":{{"a":{{"lease_token":"{TOKEN}",{bad}}},"b":{{"checkpoint":1}}}}}}"#
        );
        let items = beat(&body).unwrap();
        let refused = items[0].refused.as_ref().unwrap();
        assert_eq!(refused.code, code, "{refused}");
        assert!(refused.message.starts_with(field), "{refused}");
        let item = items[0].item.as_ref().unwrap();
        assert_eq!((item.lease.token, item.lease.worker.as_deref()), (Some(TOKEN), Some("w")));
        assert!(item.progress.is_none() && item.checkpoint.is_none(), "a bare sign of life");
        assert!(items[1].refused.is_none() && items[1].item.as_ref().unwrap().checkpoint.is_some());
    }
}

#[test]
fn a_token_that_cannot_be_read_extends_nobody() {
    let long = "x".repeat(65);
    for item in [
        r#"{"lease_token":5}"#.to_owned(),
        r#"{"lease_token":""}"#.into(),
        format!(r#"{{"lease_token":"{long}"}}"#),
        format!(r#"{{"lease_token":"{TOKEN}","lease_token":"{TOKEN}"}}"#),
        "[]".into(),
        "5".into(),
        "null".into(),
    ] {
        let items = beat(&format!(r#"{{"jobs":{{"a":{item}}}}}"#)).unwrap();
        assert_eq!(items[0].refused.as_ref().unwrap().code, Code::Validation, "{item}");
        assert!(items[0].item.is_none(), "{item}");
    }
}

#[test]
fn answers_say_what_to_do() {
    let jobs = vec![("b", BeatReply::new(alive(false), None)), ("a", BeatReply::new(alive(true), None))];
    assert_eq!(
        serde_json::to_string(&HeartbeatReply { jobs: Beats(jobs) }).unwrap(),
        r#"{"jobs":{"b":{"status":"ok","lease_expires_at":"1970-01-01T00:00:00.000Z"},"a":{"status":"cancel","lease_expires_at":"1970-01-01T00:00:00.000Z"}}}"#
    );
}

#[test]
fn a_refused_checkpoint_is_an_error_not_a_lost_lease() {
    let too_large = || Some(Problem::too_large("jobs.a.checkpoint", 2, 1));
    let lost = || Some(Err(Reject::lease_lost(&JobRef::parse("a"), StateKind::Pending)));
    let error = BeatReply::new(alive(false), too_large());
    assert_eq!((error.status, error.code), ("error", Some("PAYLOAD_TOO_LARGE")));
    assert!(error.lease_expires_at.is_some() && error.error.is_some());
    let unread = BeatReply::new(None, Some(Problem::field("jobs.a", "is wrong")));
    assert_eq!(
        (unread.status, unread.code, unread.lease_expires_at.is_some()),
        ("error", Some("VALIDATION"), false)
    );
    // What makes a worker stop goes first.
    let cancelled = BeatReply::new(alive(true), too_large());
    assert_eq!((cancelled.status, cancelled.code), ("cancel", Some("PAYLOAD_TOO_LARGE")));
    let gone = BeatReply::new(lost(), too_large());
    assert_eq!((gone.status, gone.code), ("lost", Some("LEASE_LOST")));
    let unknown = BeatReply::new(None, Some(Problem::not_found("job", "x")));
    assert_eq!((unknown.status, unknown.code), ("lost", Some("NOT_FOUND")));
}
