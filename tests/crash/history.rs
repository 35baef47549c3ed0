// SPDX-License-Identifier: Apache-2.0
//! What clients saw: one entry per call or delivery, with its time and the log index in the answer.
//!
//! A time limit or a broken connection means *unknown*: it may have happened, before or after anything else.

use std::time::Instant;

use serde_json::Value;

/// Who made a job and as which of its: what every payload carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The producer.
    pub producer: u64,
    /// Its counter.
    pub number: u64,
}

impl Key {
    /// The payload of this key; the hash makes an altered one visible.
    pub fn payload(self) -> Value {
        let hash =
            self.producer.wrapping_mul(0x9E37_79B9).wrapping_add(self.number.wrapping_mul(0x85EB_CA6B))
                % 0xFFFF_FFFF;
        // Some are large enough to be kept apart from their rows.
        let filler = if self.number.is_multiple_of(17) { "y".repeat(6_000) } else { String::new() };
        serde_json::json!({"p": self.producer, "n": self.number, "h": hash, "f": filler})
    }

    /// The key in a payload.
    pub fn of(payload: &Value) -> Option<Self> {
        Some(Self { producer: payload["p"].as_u64()?, number: payload["n"].as_u64()? })
    }
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome<T> {
    /// It was done, at that log index.
    Ok(T, u64),
    /// It was refused with that code: nothing was done.
    Refused(String),
    /// It may have been done.
    Unknown,
}

impl<T> Outcome<T> {
    /// The value and index of what was done.
    pub const fn ok(&self) -> Option<(&T, u64)> {
        match self {
            Self::Ok(value, index) => Some((value, *index)),
            _ => None,
        }
    }
}

/// What an enqueue asked for.
#[derive(Clone, Debug)]
pub struct Item {
    /// Whose it is.
    pub key: Key,
    /// The queue.
    pub queue: String,
    /// Larger first.
    pub priority: u64,
    /// True if it is ready at once.
    pub immediate: bool,
    /// Its unique key.
    pub unique: Option<String>,
    /// The id the producer chose.
    pub chosen: Option<String>,
    /// Where in its batch.
    pub place: usize,
}

/// A job's id, and whether it was there already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The id.
    pub id: String,
    /// True if the unique key was held.
    pub existing: bool,
    /// True if it took more than one try, so that the index may be that of a repeat.
    pub repeated: bool,
}

/// A lease as it was delivered.
#[derive(Clone, Debug)]
pub struct Grant {
    /// The job.
    pub job: String,
    /// The token.
    pub token: String,
    /// The queue it came from.
    pub queue: String,
    /// The log index.
    pub index: u64,
    /// The number of the execution.
    pub attempt: u64,
    /// Retries after the first attempt.
    pub max_retries: u64,
    /// What was to be done.
    pub payload: Value,
    /// True if it came on a stream, at some time after it was granted.
    pub streamed: bool,
    /// True if the stream took it over from an earlier one.
    pub adopted: bool,
    /// True if the fetch took more than one try, so that the index may be that of a repeat.
    pub repeated: bool,
}

/// A worker's word on a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verb {
    /// Done.
    Ack,
    /// Failed.
    Fail,
    /// Given back.
    Release,
    /// Alive, with a checkpoint.
    Beat,
}

/// One call or delivery.
#[derive(Clone, Debug)]
pub enum What {
    /// A job was sent.
    Enqueue(Item, Outcome<Accepted>),
    /// A job was delivered.
    Grant(Grant),
    /// A worker said something of a lease; `again` if it had said so before and got no answer.
    Settle { verb: Verb, job: String, token: String, again: bool, outcome: Outcome<()> },
    /// A job was called off.
    Cancel { outcome: Outcome<String> },
    /// A job was copied; the copy's id.
    Clone { of: String, outcome: Outcome<String> },
    /// A queue was paused or resumed.
    Queue { outcome: Outcome<()> },
    /// A job that had been acked was read; its state.
    Read { state: Outcome<String> },
}

/// One entry.
#[derive(Clone, Debug)]
pub struct Op {
    /// When the call began, in microseconds since the run did.
    pub start: u64,
    /// When its answer was there.
    pub end: u64,
    /// What it was.
    pub what: What,
}

/// What one thread saw.
pub struct History {
    epoch: Instant,
    /// The entries in the order of their ends.
    pub ops: Vec<Op>,
}

impl History {
    /// A history whose times count from `epoch`.
    pub const fn new(epoch: Instant) -> Self {
        Self { epoch, ops: Vec::new() }
    }

    /// Now.
    pub fn now(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_micros()).expect("a short run")
    }

    /// Notes what began at `start` and has just ended.
    pub fn note(&mut self, start: u64, what: What) {
        let end = self.now();
        self.ops.push(Op { start, end, what });
    }
}

/// A job as the server lists it in the end.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Its id.
    pub id: String,
    /// Its queue.
    pub queue: String,
    /// Its state.
    pub state: String,
    /// Its unique key.
    pub unique: Option<String>,
    /// Its payload; `None` if the listing left it out.
    pub payload: Option<Value>,
}

impl Listed {
    /// Reads a job of a listing.
    pub fn read(job: &Value) -> Self {
        let text = |name: &str| job[name].as_str().unwrap_or_else(|| panic!("no {name}: {job}")).to_owned();
        let omitted =
            job["omitted"].as_array().is_some_and(|names| names.iter().any(|name| name == "payload"));
        Self {
            id: text("id"),
            queue: text("queue"),
            state: text("state"),
            unique: job["unique_key"].as_str().map(ToOwned::to_owned),
            payload: (!omitted).then(|| job["payload"].clone()),
        }
    }

    /// True if nothing more happens to it.
    pub fn is_terminal(&self) -> bool {
        matches!(self.state.as_str(), "completed" | "dead" | "cancelled")
    }
}
