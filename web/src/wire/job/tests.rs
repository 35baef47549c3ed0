// SPDX-License-Identifier: Apache-2.0
//! Jobs as they are returned, patches good and bad.

use super::*;
use crate::wire::read;
use jobbie_broker::job::Options;
use jobbie_broker::lease::Lease;
use jobbie_broker::state::Reason;
use jobbie_broker::{JobNo, LeaseToken, Millis, Timestamp};

fn job(state: State) -> Job {
    Job {
        no: JobNo(7),
        namespace: "default".into(),
        queue: "a".into(),
        chosen_id: Some("j-7".into()),
        created_at: Timestamp(1_000),
        state,
        options: Options { tags: vec![("k".into(), "v".into())], ..Options::default() },
        payload: Body::Inline(Json::from("[ 1.0 ]")),
        expire_at: None,
        failures: 1,
        crashes: 0,
        deliveries: 2,
        started_at: Some(Timestamp(2_000)),
        failed_at: None,
        cancel_requested_at: None,
        last_worker: Some(("w-old".into(), "h-old".into())),
        last_lease: None,
        progress: None,
        checkpoint: Some(Body::Stored(9_000)),
        result: None,
        errors: vec![AttemptError { attempt: 1, error: "x".into(), backtrace: None, at: Timestamp(0) }],
        timeline: Vec::new(),
        timeline_dropped: 0,
        ready_at: None,
        entered: JobNo(0),
    }
}

fn json(view: &JobView<'_>) -> serde_json::Value {
    serde_json::from_str(&serde_json::to_string(view).unwrap()).unwrap()
}

#[test]
fn an_active_job_shows_its_lease_but_not_the_token() {
    let lease = Lease {
        token: LeaseToken { delivery: 2, salt: 0xfeed },
        worker: "w".into(),
        hostname: "h".into(),
        granted_at: Timestamp(2_000),
        length: Millis(60_000),
        deadline: Timestamp(62_000),
        stream_concurrency: None,
    };
    let job = job(State::Active(lease));
    let view = json(&JobView::row(&job));
    assert_eq!((view["id"].as_str(), view["state"].as_str()), (Some("j-7"), Some("active")));
    assert_eq!((view["worker_id"].as_str(), view["attempt"].as_u64()), (Some("w"), Some(2)));
    assert_eq!(view["lease_expires_at"], "1970-01-01T00:01:02.000Z");
    assert_eq!((&view["tags"]["k"], &view["retry_jitter"]), (&"v".into(), &0.1.into()));
    assert_eq!(view["omitted"][0], "checkpoint", "it is not in the row");
    assert!(!view.to_string().contains("feed"), "whoever may read a job may not settle it");
    assert_eq!(JobView::row(&job).cancelling().status, Some("cancelling"));
}

#[test]
fn a_dead_job_shows_why_and_who() {
    let job = job(State::Dead { at: Timestamp(5), reason: Reason::Crashed });
    let view = json(&JobView::row(&job));
    assert_eq!(
        (&view["state"], &view["reason"], &view["worker_id"]),
        (&"dead".into(), &"crashed".into(), &"w-old".into())
    );
    assert_eq!(view["errors"][0]["error"], "x");
}

#[test]
fn a_job_with_everything_leaves_nothing_out() {
    let detail = JobDetail {
        job: job(State::Pending),
        payload: Json::from("[ 1.0 ]"),
        checkpoint: Some(Json::from("12345678")),
        result: None,
    };
    let full = JobView::full(&detail);
    assert!(full.omitted.is_empty());
    let text = serde_json::to_string(&full).unwrap();
    assert!(text.contains(r#""payload":[ 1.0 ]"#) && text.contains(r#""checkpoint":12345678"#), "{text}");
}

#[test]
fn a_patch_can_set_null_and_must_change_something() {
    let patch = |body: &str| {
        read::object::<PatchBody<'_>>(body)?.check(JobRef::Chosen("j".into()), &Limits::default())
    };
    assert_eq!(patch(r#"{"payload":null}"#).unwrap().payload, Some(Json::null()));
    let all = patch(r#"{"priority":"low","tags":{},"scheduled_at":"2026-01-31T12:00:00Z"}"#).unwrap();
    assert_eq!((all.priority, all.tags, all.payload), (Some(25), Some(Vec::new()), None));
    for bad in ["{}", r#"{"priority":null}"#, r#"{"queue":"b"}"#, r#"{"priority":200}"#] {
        assert!(patch(bad).is_err(), "{bad}");
    }
}
