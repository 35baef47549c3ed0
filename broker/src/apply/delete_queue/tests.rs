// SPDX-License-Identifier: Apache-2.0
use crate::apply::STEP_AT_ONCE;
use crate::apply::testing::*;
use crate::command::*;
use crate::job::{Due, JobSpec};
use crate::reject::Code;
use crate::reply::Swept;
use crate::state::StateKind;
use crate::time::Timestamp;

fn delete() -> DeleteQueue {
    DeleteQueue { queue: "q".into() }
}

#[test]
fn a_small_queue_is_gone_at_once_with_all_its_jobs() {
    let mut bed = Bed::new();
    bed.enqueue_n("q", 2);
    bed.enqueue(JobSpec { due: Due::After(secs(5)), ..spec("q") });
    let lease = claim(&bed.fetch_one("q"));
    assert_eq!(bed.refused(delete()), Code::Conflict, "refused while active");
    bed.run(ack(lease));
    assert_eq!(bed.granted(delete()), None);
    let news = ["queue.deleting", "job.deleted", "job.deleted", "job.deleted", "queue.deleted"];
    assert_eq!(bed.news(), news);
    assert_eq!(bed.queue("q"), None);
    assert_eq!(bed.refused(delete()), Code::NotFound);
    bed.enqueue(spec("q"));
    assert_eq!(bed.news(), ["queue.created", "job.enqueued"]);
}

#[test]
fn a_large_one_goes_in_steps_and_accepts_nothing_meanwhile() {
    let mut bed = Bed::new();
    let jobs = bed.enqueue_n("q", STEP_AT_ONCE as usize + 10);
    let other = bed.enqueue(spec("other"));
    let scheduled = bed.enqueue(JobSpec { due: Due::After(secs(1)), ..spec("q") });
    bed.granted(delete());
    let queue = bed.queue("q").unwrap();
    assert!(queue.deleting && queue.wants_purge());
    assert_eq!(queue.count(StateKind::Pending), 10);
    let last = job_ref(jobs.last().unwrap());
    assert_eq!(bed.refused(enqueue([spec("other"), spec("q")])), Code::Conflict);
    assert_eq!(bed.refused(Move { job: job_ref(&other), queue: "q".into() }), Code::Conflict);
    assert_eq!(bed.refused(SetQueue { queue: "q".into(), setting: QueueSetting::Pause }), Code::Conflict);
    assert_eq!(bed.refused(ClearQueue { queue: "q".into() }), Code::Conflict);
    assert_eq!(bed.refused(CloneJob { job: last.clone() }), Code::NotFound);
    assert_eq!(bed.refused(Delete { job: last }), Code::NotFound);
    assert_eq!(bed.fetched(fetch("q", 9)), []);
    bed.wait(secs(1));
    assert_eq!(bed.promote().done, 1);
    assert!(!bed.exists(&scheduled));
    let purge = Purge { queue: "q".into(), finished_before: Timestamp(0), limit: 6, keep: u64::MAX };
    assert_eq!(bed.swept(purge.clone()), Swept { done: 6, more: true });
    assert_eq!(bed.swept(purge.clone()), Swept { done: 4, more: false });
    assert_eq!(bed.news().last(), Some(&"queue.deleted"));
    assert_eq!((bed.queue("q"), bed.swept(purge)), (None, Swept::default()));
}

#[test]
fn finished_jobs_go_with_it_whatever_their_age() {
    let mut bed = Bed::new();
    for _ in 0..3 {
        bed.enqueue(spec("q"));
        let lease = claim(&bed.fetch_one("q"));
        bed.run(ack(lease));
    }
    bed.granted(delete());
    assert_eq!(bed.queue("q"), None);
}
