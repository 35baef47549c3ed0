// SPDX-License-Identifier: Apache-2.0
//! The bytes of everything that lasts: commands in the log, rows on disk, events and replies on the wire
//! between nodes. A difference here is a change of format: old logs and new ones would not read each other.

#![allow(clippy::unwrap_used)]

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use jobbie_broker::backoff::{Backoff, RetryPolicy};
use jobbie_broker::codec;
use jobbie_broker::command::*;
use jobbie_broker::document::{Document, Expect};
use jobbie_broker::event::{JobEvent, QueueEvent, QueueNews};
use jobbie_broker::id::{JobId, JobNo, JobRef, LeaseToken, Name};
use jobbie_broker::job::{AttemptError, Due, Ended, JobSpec, Options, Progress, TimelineEntry};
use jobbie_broker::lease::LeaseRow;
use jobbie_broker::queue::{SweepPoint, Totals};
use jobbie_broker::reject::Reject;
use jobbie_broker::reply::{Enqueued, FailedAs, LeasedJob, Settled, Swept};
use jobbie_broker::request::{Answer, ChosenId, Forget, Remembered, RequestKey, Route};
use jobbie_broker::state::Reason;
use jobbie_broker::tables::schema::MetaRow;
use jobbie_broker::throttle::{Arrival, Throttle};
use jobbie_broker::unique::{Holder, Unique};
use jobbie_broker::{
    Body, Change, Command, Event, Job, Json, Lease, Millis, Queue, Reply, Scope, State, StateKind, Timestamp,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

const HOW: &str = "if the format is meant to change, write the files with \
                   `UPDATE_GOLDEN=1 cargo test -p jobbie-broker --test golden` and say why in the commit";

/// Compares the encoding of a value with its file, and reads the file's bytes back.
fn golden<V: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(name: &str, value: &V) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(format!("{name}.hex"));
    let bytes = codec::encode(value);
    if update() {
        std::fs::write(&path, to_hex(&bytes)).unwrap();
    }
    let file =
        std::fs::read_to_string(&path).unwrap_or_else(|_| panic!("{} is missing; {HOW}", path.display()));
    assert_eq!(to_hex(&bytes), file, "the bytes of {name} have changed; {HOW}");
    assert_eq!(&codec::decode::<V>(&from_hex(&file)).unwrap(), value, "{name} does not read back");
}

#[allow(clippy::disallowed_methods, reason = "a switch of this test, not of the rules")]
fn update() -> bool {
    std::env::var("UPDATE_GOLDEN").is_ok()
}

/// 32 bytes a line, so that a difference shows where it is.
fn to_hex(bytes: &[u8]) -> String {
    bytes.chunks(32).fold(String::new(), |mut text, line| {
        line.iter().for_each(|byte| write!(text, "{byte:02x}").unwrap());
        text + "\n"
    })
}

fn from_hex(text: &str) -> Vec<u8> {
    let digits: String = text.split_whitespace().collect();
    (0..digits.len()).step_by(2).map(|i| u8::from_str_radix(&digits[i..i + 2], 16).unwrap()).collect()
}

fn name(text: &str) -> Name {
    text.into()
}

fn time(secs: u64) -> Timestamp {
    Timestamp(1_800_000_000_000 + secs * 1000)
}

fn token() -> LeaseToken {
    LeaseToken { delivery: 2, salt: 0x0123_4567_89ab_cdef }
}

fn chosen() -> JobRef {
    JobRef::Chosen(name("invoice-7"))
}

fn request(route: Route) -> Option<RequestKey> {
    Some(RequestKey { route, key: name("req-1") })
}

fn progress() -> Option<Progress> {
    Some(Progress { current: 3, total: Some(10), message: Some("third".into()) })
}

fn options() -> Options {
    Options {
        priority: 75,
        retry: RetryPolicy { backoff: Backoff::Linear, ..RetryPolicy::default() },
        timeout: Some(Millis::from_secs(30)),
        unique: Some(Unique { key: name("customer-1"), period: Millis::from_secs(60) }),
        tags: vec![(name("env"), name("test"))],
        max_crashes: 2,
        on_crash_queue: Some(name("quarantine")),
        parent_id: Some(name("parent")),
        trace: Some(name("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")),
        retention: Some(Millis::from_secs(3600)),
    }
}

fn spec() -> JobSpec {
    JobSpec {
        queue: name("mail"),
        payload: Json::from("{\"to\":\"a@b\"}"),
        id: Some(name("invoice-7")),
        due: Due::After(Millis(1500)),
        expire_after: Some(Millis::from_secs(3600)),
        options: options(),
    }
}

fn doc(value: Option<Json>, expect: Expect) -> PutDoc {
    PutDoc { space: name("auth.keys"), key: name("key-1"), value, expect }
}

fn commands() -> Vec<Command> {
    let lease =
        || LeaseRef { job: JobRef::Given(JobNo(7), time(0)), token: Some(token()), worker: Some(name("w1")) };
    let bare = || LeaseRef { job: chosen(), token: None, worker: None };
    let plain = JobSpec { due: Due::Now, ..JobSpec::new("mail", Json::null()) };
    let at = JobSpec { due: Due::At(time(9)), ..JobSpec::new("mail", Json::null()) };
    vec![
        Enqueue { jobs: vec![spec(), plain, at], request: request(Route::EnqueueBatch) }.into(),
        Fetch {
            queues: vec![name("mail"), name("low")],
            worker: name("w1"),
            hostname: name("host"),
            count: 10,
            max_bytes: 1 << 24,
            lease: Millis::from_secs(60),
            stream_concurrency: Some(4),
            request: request(Route::Fetch),
        }
        .into(),
        Ack { items: vec![AckItem { lease: lease(), result: Some(Json::from("42")), checkpoint: None }] }
            .into(),
        Fail {
            items: vec![FailItem {
                lease: bare(),
                error: "boom".into(),
                backtrace: Some("main.rs:1".into()),
                retry: true,
                retry_after: Some(Millis(500)),
                rate_limited: false,
                checkpoint: Some(Json::from("[1]")),
            }],
        }
        .into(),
        Release { items: vec![ReleaseItem { lease: lease(), delay: Some(Millis(10)) }] }.into(),
        Heartbeat {
            items: vec![HeartbeatItem {
                lease: lease(),
                progress: progress(),
                checkpoint: Some(Json::from("1")),
            }],
        }
        .into(),
        Renew {
            items: vec![Renewal { job: JobNo(7), token: token(), heard_at: time(5), progress: progress() }],
        }
        .into(),
        TermStarted {}.into(),
        Promote { limit: 1000 }.into(),
        Reclaim { leases: vec![(JobNo(7), token())] }.into(),
        Purge { queue: name("mail"), finished_before: time(0), limit: 1000, keep: 500 }.into(),
        ForgetRequests { limit: 1000 }.into(),
        Retry { job: chosen() }.into(),
        Cancel { job: chosen() }.into(),
        Move { job: chosen(), queue: name("low") }.into(),
        Delete { job: chosen() }.into(),
        Patch {
            job: chosen(),
            payload: Some(Json::from("1")),
            priority: Some(9),
            tags: Some(vec![(name("a"), name("b"))]),
            scheduled_at: Some(time(60)),
        }
        .into(),
        CloneJob { job: chosen() }.into(),
        SetQueue {
            queue: name("mail"),
            setting: QueueSetting::Throttle(Some(Throttle { count: 5, period: Millis(1000) })),
        }
        .into(),
        ClearQueue { queue: name("mail") }.into(),
        DeleteQueue { queue: name("mail") }.into(),
        PutDocs {
            docs: vec![
                doc(Some(Json::from("{}")), Expect::Version(7)),
                doc(None, Expect::Anything),
                doc(Some(Json::from("1")), Expect::Absent),
            ],
        }
        .into(),
    ]
}

fn lease() -> Lease {
    Lease {
        token: token(),
        worker: name("w1"),
        hostname: name("host"),
        granted_at: time(10),
        length: Millis::from_secs(60),
        deadline: time(70),
        stream_concurrency: Some(1),
    }
}

fn job(state: State) -> Job {
    Job {
        no: JobNo(7),
        namespace: name("default"),
        queue: name("mail"),
        chosen_id: Some(name("invoice-7")),
        created_at: time(0),
        state,
        options: options(),
        payload: Body::Inline(Json::from("{}")),
        expire_at: Some(time(3600)),
        failures: 1,
        crashes: 1,
        deliveries: 2,
        started_at: Some(time(10)),
        failed_at: Some(time(5)),
        cancel_requested_at: Some(time(11)),
        last_worker: Some((name("w0"), name("host"))),
        last_lease: Some((token(), Ended::Failed(failed_as()))),
        progress: progress(),
        checkpoint: Some(Body::Stored(5000)),
        result: Some(Body::Inline(Json::from("42"))),
        errors: vec![AttemptError { attempt: 1, error: "boom".into(), backtrace: None, at: time(5) }],
        timeline: vec![TimelineEntry {
            at: time(0),
            change: Change::Enqueued,
            attempt: 1,
            by: name("tester"),
        }],
        timeline_dropped: 0,
        ready_at: Some(time(9)),
        entered: JobNo(8),
    }
}

fn failed_as() -> FailedAs {
    FailedAs { state: StateKind::Retrying, next_attempt_at: Some(time(15)), attempts_remaining: 3 }
}

fn states() -> [State; 7] {
    let at = time(20);
    [
        State::Scheduled { at },
        State::Pending,
        State::Active(lease()),
        State::Retrying { at },
        State::Completed { at },
        State::Dead { at, reason: Reason::Crashed },
        State::Cancelled { at, reason: Reason::Cancelled },
    ]
}

fn enqueued() -> Enqueued {
    let job = JobId { no: JobNo(7), created_at: time(0), chosen: Some(name("invoice-7")) };
    Enqueued { job, state: StateKind::Scheduled, existing: true }
}

#[test]
fn every_command_keeps_its_number_and_its_bytes() {
    let commands = commands();
    let numbers: Vec<u8> = commands.iter().map(Command::number).collect();
    let all: Vec<u8> = Command::ALL.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, all, "each command has an example here");
    for command in commands {
        golden(&format!("command_{:02}_{}", command.number(), command.name()), &command);
    }
}

#[test]
fn every_setting_of_a_queue_keeps_its_bytes() {
    for (suffix, setting) in [
        ("pause", QueueSetting::Pause),
        ("resume", QueueSetting::Resume),
        ("drain", QueueSetting::Drain),
        ("concurrency", QueueSetting::Concurrency(Some(3))),
        ("no_throttle", QueueSetting::Throttle(None)),
    ] {
        let command: Command = SetQueue { queue: name("mail"), setting }.into();
        golden(&format!("command_19_SetQueue_{suffix}"), &command);
    }
}

#[test]
fn a_proposal_keeps_its_bytes() {
    let submission = |command: &Command| Submission {
        by: name("key-1"),
        namespace: name("default"),
        scope: Scope::ALL,
        command: command.clone(),
    };
    let commands = commands();
    let submissions = vec![submission(&commands[7]), submission(&commands[8])];
    let proposal = |submissions| Proposal { at: time(0), seed: u64::MAX, rules: 1, submissions };
    golden("proposal", &proposal(submissions));
    let scope = Scope::of([name("mail.*"), name("low")]);
    let submissions = vec![Submission { scope, ..submission(&commands[7]) }, submission(&commands[8])];
    golden("proposal_scoped", &proposal(submissions));
}

#[test]
fn a_job_keeps_its_bytes_in_every_state() {
    for state in states() {
        golden(&format!("job_{}", state.kind().name()), &job(state));
    }
}

#[test]
fn all_other_rows_keep_their_bytes() {
    let queue = Queue {
        created_at: time(0),
        paused_at: Some(time(1)),
        draining_at: Some(time(2)),
        concurrency: Some(3),
        throttle: Some(Throttle { count: 5, period: Millis(1000) }),
        arrival: Arrival(1_800_000_000_000_123),
        counts: [0, 1, 2, 3, 4, 5, 6, 7, 8],
        totals: Totals {
            enqueued: 1,
            fetched: 2,
            completed: 3,
            failed: 4,
            crashed: 5,
            dead: 6,
            cancelled: 7,
        },
        clear_below: JobNo(9),
        deleting: false,
        clearing: true,
        sweep: Some(SweepPoint::Finished { state: StateKind::Dead, at: time(3), job: JobNo(4) }),
    };
    golden("row_queue", &queue);
    golden(
        "row_queue_ready",
        &Queue { sweep: Some(SweepPoint::Ready { rank: 5, job: JobNo(4) }), ..queue.clone() },
    );
    golden("row_queue_waiting", &Queue { sweep: Some(SweepPoint::Waiting { job: JobNo(4) }), ..queue });
    let meta = MetaRow {
        last_at: time(1),
        last_job: JobNo(2),
        term_started_at: time(3),
        last_forget: 4,
        forgets: 5,
        forgets_from: time(6),
    };
    golden("row_meta", &meta);
    golden("row_lease", &LeaseRow { granted_at: time(1), queue: name("mail") });
    golden("row_body", &Json::from("\"payload\""));
    golden("row_holder", &Holder { job: JobNo(7), until: Some(time(60)) });
    golden("row_id", &ChosenId { first: enqueued(), fingerprint: [7; 16] });
    let request = RequestKey { route: Route::Enqueue, key: name("req-1") };
    golden("row_forget_request", &Forget::Request(name("default"), name("key-1"), request));
    golden("row_forget_id", &Forget::Id(name("default"), name("invoice-7")));
    for (suffix, answer) in [
        ("enqueued", Answer::Enqueued(vec![enqueued()])),
        ("fetched", Answer::Fetched(vec![(JobNo(7), token())])),
    ] {
        golden(&format!("row_request_{suffix}"), &Remembered { fingerprint: [1; 16], answer });
    }
    golden("row_index", &());
    let document = Document { value: Json::from("{}"), version: 7, put_at: time(1), put_by: name("key-1") };
    golden("row_doc", &document);
}

#[test]
fn every_reply_keeps_its_bytes() {
    let settled = vec![
        Ok(Settled::Acked),
        Ok(Settled::Failed(failed_as())),
        Ok(Settled::Released),
        Ok(Settled::Alive { lease_expires_at: time(70), length: Millis::from_secs(60), cancel: true }),
        Err(Reject::lease_lost(&chosen(), StateKind::Pending)),
    ];
    let leased = LeasedJob {
        job: Arc::new(job(State::Active(lease()))),
        payload: Json::null(),
        checkpoint: Some(Json::null()),
    };
    for (suffix, reply) in [
        ("rejected", Reply::Rejected(Reject::draining(&name("mail")))),
        ("enqueued", Reply::Enqueued(vec![enqueued()])),
        ("fetched", Reply::Fetched(vec![leased])),
        ("settled", Reply::Settled(settled)),
        ("job", Reply::Job(Some(Arc::new(job(State::Pending))))),
        ("deleted", Reply::Job(None)),
        ("queue", Reply::Queue),
        ("swept", Reply::Swept(Swept { done: 3, more: true })),
        ("forbidden", Reply::Rejected(Reject::outside(&name("mail")))),
        ("docs", Reply::Docs(vec![7, 0])),
    ] {
        golden(&format!("reply_{suffix}"), &reply);
    }
}

#[test]
fn events_keep_their_bytes() {
    let event = JobEvent {
        change: Change::Failed,
        job: enqueued().job,
        at: time(12),
        namespace: name("default"),
        queue: name("mail"),
        from: Some(StateKind::Active),
        state: StateKind::Retrying,
        attempt: 1,
        worker: Some(name("w1")),
        token: Some(token()),
        due_at: Some(time(15)),
        reason: Some(Reason::Timeout),
        took_ms: Some(2000),
    };
    golden("event_job", &Event::Job(event));
    let (namespace, queue) = (name("default"), name("mail"));
    golden(
        "event_queue",
        &Event::Queue(QueueEvent { news: QueueNews::Limited, at: time(1), namespace, queue }),
    );
    golden("changes", &Change::ALL.to_vec());
    golden("states", &StateKind::ALL.to_vec());
    let reasons = [Reason::Failed, Reason::Crashed, Reason::Expired, Reason::Timeout, Reason::Cancelled];
    golden("reasons", &reasons.to_vec());
}

#[test]
fn bytes_of_another_version_are_refused() {
    let mut bytes = codec::encode(&commands()[0]);
    bytes[0] = 2;
    assert!(matches!(codec::decode::<Command>(&bytes), Err(codec::DecodeError::Version(2))));
    assert!(matches!(codec::decode::<Command>(&[]), Err(codec::DecodeError::Empty)));
    let newer = Proposal { at: time(0), seed: 0, rules: RULES_VERSION + 1, submissions: Vec::new() };
    assert!(matches!(Proposal::decode(&newer.encode()), Err(codec::DecodeError::Rules(_))));
    let unknown = codec::encode(&(99u8, ()));
    let error = codec::decode::<Command>(&unknown).unwrap_err().to_string();
    assert!(error.contains("command 99 is not known"), "{error}");
}

/// Fields that were appended since mean what was so before there were any.
#[test]
fn what_was_written_before_retention_had_fields_of_its_own_still_reads() {
    fn old<V: DeserializeOwned>(name: &str) -> V {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/before_retention");
        codec::decode(&from_hex(&std::fs::read_to_string(path.join(name)).unwrap())).unwrap()
    }
    let purge: Command = old("command_11_Purge.hex");
    let expected = Purge { queue: name("mail"), finished_before: time(0), limit: 1000, keep: u64::MAX };
    assert_eq!(purge, expected.into());
    let Command::Enqueue(enqueue) = old("command_01_Enqueue.hex") else { panic!("another command") };
    let expected = Options { retention: None, ..options() };
    assert_eq!(enqueue.jobs[0].options, expected);
    let job: Job = old("job_completed.hex");
    assert_eq!(job.options, expected);
}
