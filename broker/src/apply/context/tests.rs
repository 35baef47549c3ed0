// SPDX-License-Identifier: Apache-2.0
//! A caller who may touch some queues only, against every command.

use crate::apply::testing::*;
use crate::body::Json;
use crate::command::*;
use crate::id::JobRef;
use crate::job::JobSpec;
use crate::reject::Code;
use crate::reply::{Enqueued, LeasedJob, Reply};
use crate::scope::Scope;
use crate::state::StateKind;
use crate::time::Millis;
use crate::unique::Unique;

/// A bed whose caller may touch `ours` and `ours.*`.
struct Limited(Bed);

impl Limited {
    fn new() -> Self {
        let mut limited = Self(Bed::new());
        limited.ours();
        limited
    }

    fn ours(&mut self) -> &mut Bed {
        self.0.scope = Scope::of(["ours".into(), "ours.*".into()]);
        &mut self.0
    }

    fn anybody(&mut self) -> &mut Bed {
        self.0.scope = Scope::ALL;
        &mut self.0
    }

    /// A job that somebody else has enqueued, and leased.
    fn theirs(&mut self) -> (Enqueued, LeasedJob) {
        let job = self.anybody().enqueue(spec("theirs"));
        (job, self.anybody().fetch_one("theirs"))
    }
}

/// Every call that names a job, with a lease that would be good.
fn about(job: &JobRef, lease: &LeaseRef) -> Vec<Command> {
    let beat = HeartbeatItem { lease: lease.clone(), progress: None, checkpoint: Some(Json::null()) };
    let job = || job.clone();
    vec![
        ack(lease.clone()).into(),
        fail(lease.clone()).into(),
        release(lease.clone()).into(),
        Heartbeat { items: vec![beat] }.into(),
        Retry { job: job() }.into(),
        Cancel { job: job() }.into(),
        Move { job: job(), queue: "ours".into() }.into(),
        Delete { job: job() }.into(),
        Patch { job: job(), payload: None, priority: Some(1), tags: None, scheduled_at: None }.into(),
        CloneJob { job: job() }.into(),
    ]
}

fn code(reply: Reply) -> Option<Code> {
    match reply {
        Reply::Rejected(reject) => Some(reject.code),
        Reply::Settled(mut items) => items.remove(0).err().map(|reject| reject.code),
        _ => None,
    }
}

#[test]
fn a_job_of_another_queue_does_not_exist_whatever_is_asked_of_it() {
    let mut bed = Limited::new();
    let (job, leased) = bed.theirs();
    let missing = JobRef::Chosen("missing".into());
    for command in about(&job_ref(&job), &claim(&leased)) {
        let outside = bed.ours().run(command.clone());
        assert_eq!(code(outside.clone()), Some(Code::NotFound), "{command:?}");
        assert_eq!(bed.ours().state(&job), StateKind::Active, "{command:?}");
    }
    // Not even the words tell it from a job that is not there.
    let words = |reply: Reply| match reply {
        Reply::Rejected(reject) => reject.message,
        other => panic!("{other:?}"),
    };
    let theirs = words(bed.ours().run(Cancel { job: job_ref(&job) }));
    let none = words(bed.ours().run(Cancel { job: missing.clone() }));
    assert_eq!(theirs.replace(&job_ref(&job).to_string(), ""), none.replace(&missing.to_string(), ""));
    assert_eq!(code(bed.anybody().run(ack(claim(&leased)))), None);
}

#[test]
fn a_job_of_the_callers_queues_is_theirs_to_work_on() {
    for queue in ["ours", "ours.fast"] {
        let mut bed = Limited::new();
        let job = bed.ours().enqueue(spec(queue));
        let leased = bed.ours().fetch_one(queue);
        assert_eq!(code(bed.ours().run(ack(claim(&leased)))), None);
        assert_eq!(bed.ours().state(&job), StateKind::Completed);
    }
}

/// Between a look at a job and the call that acts on it, somebody may move the job.
#[test]
fn a_job_that_was_moved_away_is_out_of_reach_at_once() {
    let mut bed = Limited::new();
    let job = bed.ours().enqueue(spec("ours"));
    bed.anybody().granted(Move { job: job_ref(&job), queue: "theirs".into() });
    assert_eq!(bed.ours().refused(Cancel { job: job_ref(&job) }), Code::NotFound);
    assert_eq!(bed.anybody().state(&job), StateKind::Pending);
}

#[test]
fn a_queue_outside_is_refused_by_name_whether_it_exists_or_not() {
    for exists in [true, false] {
        let mut bed = Limited::new();
        if exists {
            bed.anybody().enqueue(spec("theirs"));
        }
        let ours = bed.ours().enqueue(spec("ours"));
        let queue = || "theirs".into();
        let mut crash = spec("ours");
        crash.options.on_crash_queue = Some(queue());
        let named: Vec<Command> = vec![
            enqueue([spec("theirs")]).into(),
            enqueue([spec("ours"), spec("theirs")]).into(),
            enqueue([crash]).into(),
            fetch("theirs", 1).into(),
            Fetch { queues: vec!["ours".into(), queue()], ..fetch("ours", 1) }.into(),
            Move { job: job_ref(&ours), queue: queue() }.into(),
            SetQueue { queue: queue(), setting: QueueSetting::Pause }.into(),
            ClearQueue { queue: queue() }.into(),
            DeleteQueue { queue: queue() }.into(),
        ];
        for command in named {
            let Reply::Rejected(reject) = bed.ours().run(command.clone()) else { panic!("{command:?}") };
            assert_eq!(reject.code, Code::Forbidden, "{command:?}");
            assert!(reject.message.contains("queue theirs"), "{}", reject.message);
        }
        assert_eq!(bed.ours().state(&ours), StateKind::Pending, "a batch is refused as a whole");
        assert_eq!(bed.anybody().queue("theirs").is_some(), exists);
    }
}

fn unique(queue: &str) -> JobSpec {
    let mut spec = spec(queue);
    spec.options.unique = Some(Unique { key: "k".into(), period: Millis::from_secs(60) });
    spec
}

#[test]
fn a_unique_key_that_a_job_outside_holds_does_not_name_that_job() {
    let mut bed = Limited::new();
    let holder = bed.anybody().enqueue(unique("theirs"));
    let Reply::Rejected(reject) = bed.ours().run(enqueue([spec("ours"), unique("ours")])) else {
        panic!("the answer would name the holder")
    };
    assert_eq!(reject.code, Code::Conflict);
    assert!(!reject.message.contains(&holder.job.to_string()), "{}", reject.message);
    assert!(bed.anybody().queue("ours").is_none(), "all or nothing");
    assert!(bed.anybody().enqueue(unique("ours")).existing, "who sees every queue is told");
    bed.anybody().granted(Cancel { job: job_ref(&holder) });
    assert!(!bed.ours().enqueue(unique("ours")).existing);
}

#[test]
fn a_holder_outside_that_has_expired_unnoticed_holds_nothing() {
    let mut bed = Limited::new();
    let holder = JobSpec { expire_after: Some(Millis(10)), ..unique("theirs") };
    bed.anybody().enqueue(holder);
    bed.ours().wait(Millis(20));
    assert!(!bed.ours().enqueue(unique("ours")).existing);
}

#[test]
fn a_retry_that_loses_its_unique_key_to_a_job_outside_is_not_told_to_whom() {
    let mut bed = Limited::new();
    let mine = bed.ours().enqueue(unique("ours"));
    bed.ours().granted(Cancel { job: job_ref(&mine) });
    let holder = bed.anybody().enqueue(unique("theirs"));
    let Reply::Rejected(reject) = bed.ours().run(Retry { job: job_ref(&mine) }) else { panic!() };
    assert_eq!(reject.code, Code::Conflict);
    assert!(!reject.message.contains(&holder.job.to_string()), "{}", reject.message);
}
