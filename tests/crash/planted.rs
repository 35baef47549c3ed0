// SPDX-License-Identifier: Apache-2.0
//! The oracle on histories with one planted fault each: an oracle that never says no is no evidence.

use crate::history::{Accepted, Grant, Item, Key, Listed, Op, Outcome, Verb, What};
use crate::oracle;
use crate::producer::LIMITED;

/// A history in the making; every entry takes a millisecond.
#[derive(Default)]
struct Story {
    ops: Vec<Op>,
    listed: Vec<Listed>,
    clock: u64,
}

fn key(number: u64) -> Key {
    Key { producer: 1, number }
}

impl Story {
    fn op(&mut self, what: What) -> &mut Self {
        let start = self.clock;
        self.clock += 1000;
        self.ops.push(Op { start, end: start + 900, what });
        self
    }

    fn enqueue(&mut self, number: u64, index: u64) -> &mut Self {
        self.enqueue_as(number, index, 50, None)
    }

    fn enqueue_as(&mut self, number: u64, index: u64, priority: u64, unique: Option<&str>) -> &mut Self {
        let item = Item {
            key: key(number),
            queue: LIMITED.0.into(),
            priority,
            immediate: true,
            unique: unique.map(Into::into),
            chosen: None,
            place: 0,
        };
        let accepted = Accepted { id: format!("j{number}"), existing: false, repeated: false };
        self.op(What::Enqueue(item, Outcome::Ok(accepted, index)))
    }

    fn grant(&mut self, number: u64, token: &str, index: u64) -> &mut Self {
        self.deliver(&format!("j{number}"), key(number), token, index, 1)
    }

    fn deliver(&mut self, job: &str, key: Key, token: &str, index: u64, attempt: u64) -> &mut Self {
        let payload = key.payload();
        self.op(What::Grant(Grant {
            job: job.into(),
            token: token.into(),
            queue: LIMITED.0.into(),
            index,
            attempt,
            max_retries: 1,
            payload,
            streamed: false,
            adopted: false,
            repeated: false,
        }))
    }

    fn settle(&mut self, verb: Verb, number: u64, token: &str, outcome: Outcome<()>) -> &mut Self {
        self.op(What::Settle { verb, job: format!("j{number}"), token: token.into(), again: false, outcome })
    }

    fn ack(&mut self, number: u64, token: &str, index: u64) -> &mut Self {
        self.settle(Verb::Ack, number, token, Outcome::Ok((), index))
    }

    fn end(&mut self, number: u64, state: &str) -> &mut Self {
        self.end_as(&format!("j{number}"), key(number), state)
    }

    fn end_as(&mut self, id: &str, key: Key, state: &str) -> &mut Self {
        let payload = Some(key.payload());
        self.listed.push(Listed {
            id: id.into(),
            queue: "q".into(),
            state: state.into(),
            unique: None,
            payload,
        });
        self
    }

    fn check(&self) -> Vec<String> {
        oracle::check(&self.ops, &self.listed)
    }

    #[track_caller]
    fn violates(&self, property: &str) {
        let wrong = self.check();
        assert!(wrong.iter().any(|text| text.starts_with(property)), "{property} was not seen: {wrong:?}");
    }
}

/// Two jobs from enqueue to ack.
fn good() -> Story {
    let mut story = Story::default();
    story.enqueue(1, 1).enqueue(2, 2).grant(1, "1.a", 3).grant(2, "1.b", 4).ack(1, "1.a", 5).ack(2, "1.b", 6);
    story.end(1, "completed").end(2, "completed");
    story
}

#[test]
fn a_good_history_passes() {
    assert_eq!(good().check(), Vec::<String>::new());
}

#[test]
fn a_lost_job_is_seen() {
    let mut story = good();
    story.enqueue(3, 7);
    story.violates("P1");
}

#[test]
fn an_invented_job_is_seen() {
    let mut story = good();
    story.end_as("j9", key(9), "completed");
    story.violates("P2");
    let mut story = good();
    // A second job from one enqueue.
    story.end_as("j1-again", key(1), "dead");
    story.violates("P2");
}

#[test]
fn an_altered_payload_is_seen() {
    let mut story = good();
    story.enqueue(3, 7).end(3, "dead");
    story.listed[2].payload = Some(serde_json::json!({"p": 1, "n": 3, "h": 0, "f": ""}));
    story.violates("P2");
}

#[test]
fn an_undone_ack_is_seen() {
    let mut story = good();
    story.listed[0].state = "dead".into();
    story.violates("P3");
    let mut story = good();
    story.grant(1, "2.c", 7);
    story.violates("P3");
    let mut story = good();
    story.op(What::Read { state: Outcome::Ok("pending".into(), 0) });
    story.violates("P3");
}

#[test]
fn two_leases_at_once_are_seen() {
    let mut story = Story::default();
    story.enqueue(1, 1).grant(1, "1.a", 2).grant(1, "2.b", 3).ack(1, "1.a", 4).end(1, "completed");
    story.violates("P4");
    let mut story = Story::default();
    story.enqueue(1, 1).grant(1, "1.a", 2).grant(1, "2.b", 2).end(1, "dead");
    story.violates("P4");
    let mut story = Story::default();
    story
        .enqueue(1, 1)
        .grant(1, "1.a", 2)
        .grant(1, "2.b", 3)
        .settle(Verb::Beat, 1, "1.a", Outcome::Ok((), 4))
        .end(1, "dead");
    story.violates("P4");
}

#[test]
fn a_lease_that_is_cut_short_is_seen() {
    let mut story = Story::default();
    let lost = Outcome::Refused("LEASE_LOST".into());
    story.enqueue(1, 1).grant(1, "1.a", 2).settle(Verb::Ack, 1, "1.a", lost.clone()).end(1, "dead");
    story.violates("P4");
    // Not if the worker itself may have ended it, nor if its time was over.
    let mut story = Story::default();
    story.enqueue(1, 1).grant(1, "1.a", 2).settle(Verb::Fail, 1, "1.a", Outcome::Unknown);
    story.settle(Verb::Ack, 1, "1.a", lost.clone()).end(1, "dead");
    assert_eq!(story.check(), Vec::<String>::new());
    let mut story = Story::default();
    story.enqueue(1, 1).grant(1, "1.a", 2);
    story.clock += (crate::worker::LEASE + 1) * 1_000_000;
    story.settle(Verb::Ack, 1, "1.a", lost).end(1, "dead");
    assert_eq!(story.check(), Vec::<String>::new());
}

#[test]
fn two_holders_of_a_key_are_seen() {
    let mut story = Story::default();
    story.enqueue_as(1, 1, 50, Some("k")).enqueue_as(2, 2, 50, Some("k")).grant(1, "1.a", 3).ack(1, "1.a", 4);
    story.end(1, "completed").end(2, "dead");
    story.violates("P5");
    let mut story = Story::default();
    story.enqueue_as(1, 1, 50, Some("k")).grant(1, "1.a", 2).ack(1, "1.a", 3).enqueue_as(2, 4, 50, Some("k"));
    story.end(1, "completed").end(2, "dead");
    assert_eq!(story.check(), Vec::<String>::new());
}

#[test]
fn a_job_out_of_order_is_seen() {
    let mut story = Story::default();
    story.enqueue(1, 1).enqueue(2, 2).grant(2, "1.b", 3).grant(1, "1.a", 4).end(1, "dead").end(2, "dead");
    story.violates("P12");
    let mut story = Story::default();
    story.enqueue_as(1, 1, 50, None).enqueue_as(2, 2, 75, None).grant(1, "1.a", 3).grant(2, "1.b", 4);
    story.end(1, "dead").end(2, "dead");
    story.violates("P12");
    // In one entry nobody can say what was first.
    let mut story = Story::default();
    story.enqueue(1, 1).enqueue(2, 1).grant(2, "1.b", 3).grant(1, "1.a", 4).end(1, "dead").end(2, "dead");
    assert_eq!(story.check(), Vec::<String>::new());
}

#[test]
fn a_log_against_the_clock_is_seen() {
    let mut story = good();
    story.enqueue(3, 4).end(3, "dead");
    story.violates("P14");
}

#[test]
fn too_many_attempts_are_seen() {
    let mut story = Story::default();
    story.enqueue(1, 1).deliver("j1", key(1), "3.c", 9, 3).end(1, "dead");
    story.violates("P17");
}

#[test]
fn too_many_active_jobs_are_seen() {
    let busy = |jobs: u64| {
        let mut story = Story::default();
        for n in 1..=jobs {
            story.enqueue(n, n);
        }
        for n in 1..=jobs {
            story.grant(n, &format!("1.{n}"), 100 + n);
        }
        for n in 1..=jobs {
            story.ack(n, &format!("1.{n}"), 200 + n).end(n, "completed");
        }
        story
    };
    assert_eq!(busy(LIMITED.1 as u64).check(), Vec::<String>::new());
    busy(LIMITED.1 as u64 + 1).violates("P6");
}
