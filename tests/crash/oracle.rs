// SPDX-License-Identifier: Apache-2.0
//! Whether a history is one that a correct broker can produce.
//!
//! Every answer carries the log index at which it was decided, so most checks compare indexes. Commands of
//! one log entry share an index, so only a strictly smaller one means earlier. What is unknown excuses:
//! a check only speaks where the answers leave no room.
//!
//! | | property |
//! |---|---|
//! | P1 | no acknowledged enqueue is lost |
//! | P2 | no job, payload or copy that nobody asked for |
//! | P3 | a job whose ack was answered is not delivered again, and reads as completed |
//! | P4 | one live lease per job, and none is cut short |
//! | P5 | one live job per unique key |
//! | P6 | not more active jobs of a queue than its limit |
//! | P12 | in order within queue and priority, higher priority first |
//! | P14 | what was answered before a call began lies before it in the log |
//! | P16 | an enqueue that is repeated with its id is one job |
//! | P17 | not more attempts than allowed |

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::Value;

use crate::history::{Grant, Item, Key, Listed, Op, Outcome, Verb, What};
use crate::{limits, order};

/// Allowed between the clock of the test and that of the server, in microseconds.
const CLOCK: u64 = 150_000;

/// Everything that is known about one job.
#[derive(Default)]
pub struct JobFacts<'h> {
    /// Its leases, by index; each token once.
    pub grants: Vec<(u64, &'h Grant)>,
    /// The lowest index at which an answered ack, not repeated, took effect, and when its answer was there.
    pub acked: Option<(u64, u64)>,
    /// True if any ack was answered.
    pub was_acked: bool,
}

/// A history, sorted by what it is about.
pub struct Facts<'h> {
    /// All entries.
    pub ops: &'h [Op],
    /// By job id.
    pub jobs: HashMap<&'h str, JobFacts<'h>>,
    /// The enqueues, with index and id if they are known.
    pub items: Vec<(&'h Item, &'h Outcome<crate::history::Accepted>)>,
    /// Violations found so far.
    pub wrong: Vec<String>,
}

/// All violations in a history that ended with these jobs.
pub fn check(ops: &[Op], listed: &[Listed]) -> Vec<String> {
    let mut facts = Facts::new(ops);
    facts.nothing_lost(listed);
    facts.nothing_invented(listed);
    facts.done_is_done(listed);
    facts.one_lease();
    facts.unique_keys();
    facts.attempts();
    limits::concurrency(&mut facts);
    order::fifo(&mut facts);
    order::real_time(&mut facts);
    facts.wrong
}

/// The most jobs of the limited queue that were certainly active at once.
pub fn peak(ops: &[Op]) -> usize {
    limits::concurrency(&mut Facts::new(ops))
}

impl<'h> Facts<'h> {
    fn new(ops: &'h [Op]) -> Self {
        let mut facts = Self { ops, jobs: HashMap::new(), items: Vec::new(), wrong: Vec::new() };
        facts.gather();
        facts
    }

    fn gather(&mut self) {
        for op in self.ops {
            match &op.what {
                What::Enqueue(item, outcome) => self.items.push((item, outcome)),
                What::Grant(grant) => {
                    let job = self.jobs.entry(&grant.job).or_default();
                    // A repeated fetch and an adopting stream deliver the same lease once more.
                    match job.grants.iter_mut().find(|(_, seen)| seen.token == grant.token) {
                        Some((start, seen))
                            if !grant.adopted && (seen.adopted || grant.index < seen.index) =>
                        {
                            *seen = grant;
                            *start = (*start).min(op.start);
                        }
                        Some(_) => {}
                        None => job.grants.push((op.start, grant)),
                    }
                }
                What::Settle { verb: Verb::Ack, job, again, outcome: Outcome::Ok((), index), .. } => {
                    let job = self.jobs.entry(job).or_default();
                    job.was_acked = true;
                    if !again && job.acked.is_none_or(|(known, _)| *index < known) {
                        job.acked = Some((*index, op.end));
                    }
                }
                _ => {}
            }
        }
        for job in self.jobs.values_mut() {
            job.grants.sort_by_key(|(_, grant)| grant.index);
        }
    }

    fn nothing_lost(&mut self, listed: &[Listed]) {
        let there: BTreeSet<&str> = listed.iter().map(|job| job.id.as_str()).collect();
        for (item, outcome) in &self.items {
            if let Some((accepted, index)) = outcome.ok()
                && !there.contains(accepted.id.as_str())
            {
                let what = if accepted.existing { "the holder of its key" } else { "the job" };
                self.wrong.push(format!(
                    "P1: {:?} was accepted at {index}, {what} {} is gone",
                    item.key, accepted.id
                ));
            }
        }
        for op in self.ops {
            if let What::Clone { outcome: Outcome::Ok(id, index), .. } = &op.what
                && !there.contains(id.as_str())
            {
                self.wrong.push(format!("P1: the copy {id} was made at {index} and is gone"));
            }
        }
    }

    fn nothing_invented(&mut self, listed: &[Listed]) {
        let mut by_key: BTreeMap<Key, BTreeSet<&str>> = BTreeMap::new();
        let delivered = self.ops.iter().filter_map(|op| match &op.what {
            What::Grant(grant) => Some((&grant.job, &grant.payload)),
            _ => None,
        });
        let stored = listed.iter().filter_map(|job| Some((&job.id, job.payload.as_ref()?)));
        let mut wrong = Vec::new();
        for (id, payload) in delivered.chain(stored) {
            match Key::of(payload) {
                Some(key) if key.payload() == *payload => drop(by_key.entry(key).or_default().insert(id)),
                _ => wrong.push(format!("P2: job {id} has an altered payload {}", short(payload))),
            }
        }
        let mut allowed: BTreeMap<Key, (BTreeSet<&str>, usize)> = BTreeMap::new();
        let mut origin: HashMap<&str, Key> = HashMap::new();
        for (item, outcome) in &self.items {
            let (ids, unknown) = allowed.entry(item.key).or_default();
            match outcome {
                Outcome::Ok(accepted, _) if !accepted.existing => {
                    ids.insert(&accepted.id);
                    origin.insert(&accepted.id, item.key);
                    if item.chosen.as_ref().is_some_and(|chosen| *chosen != accepted.id) {
                        wrong.push(format!("P16: {:?} chose an id and got {}", item.key, accepted.id));
                    }
                }
                Outcome::Unknown => *unknown += 1,
                _ => {}
            }
        }
        for op in self.ops {
            let What::Clone { of, outcome } = &op.what else { continue };
            // A copy of a copy counts for the same key; what was copied may only be known from its delivery.
            let key = origin.get(of.as_str()).copied().or_else(|| key_of(&by_key, of));
            let (Some(key), false) = (key, matches!(outcome, Outcome::Refused(_))) else { continue };
            let (ids, unknown) = allowed.entry(key).or_default();
            match outcome {
                Outcome::Ok(id, _) => drop(ids.insert(id)),
                _ => *unknown += 1,
            }
        }
        for (key, ids) in &by_key {
            let (known, unknown) = allowed.get(key).cloned().unwrap_or_default();
            let extra: Vec<&&str> = ids.difference(&known).collect();
            if extra.len() > unknown {
                wrong.push(format!("P2: {key:?} is there as {extra:?} besides {known:?}, {unknown} may be"));
            }
        }
        self.wrong.extend(wrong);
    }

    fn done_is_done(&mut self, listed: &[Listed]) {
        for job in listed {
            if self.jobs.get(job.id.as_str()).is_some_and(|facts| facts.was_acked) && job.state != "completed"
            {
                self.wrong.push(format!("P3: job {} was acked and is {}", job.id, job.state));
            }
        }
        for (id, job) in &self.jobs {
            let Some((acked, end)) = job.acked else { continue };
            for (start, grant) in &job.grants {
                if grant.index > acked && !grant.adopted {
                    self.wrong
                        .push(format!("P3: job {id} was acked at {acked} and delivered at {}", grant.index));
                }
                if !grant.streamed && *start > end {
                    self.wrong
                        .push(format!("P3: job {id} was delivered to a fetch that began after its ack"));
                }
            }
        }
        for op in self.ops {
            if let What::Read { state: Outcome::Ok(state, _) } = &op.what
                && state != "completed"
            {
                self.wrong.push(format!("P3: an acked job was read as {state}"));
            }
            if let What::Read { state: Outcome::Refused(code) } = &op.what
                && code == "NOT_FOUND"
            {
                self.wrong.push("P1: an acked job was not found".into());
            }
        }
    }

    fn one_lease(&mut self) {
        let mut wrong = Vec::new();
        for (id, job) in &self.jobs {
            let granted: Vec<&Grant> =
                job.grants.iter().map(|(_, grant)| *grant).filter(|grant| !grant.adopted).collect();
            for pair in granted.windows(2) {
                if pair[0].index == pair[1].index {
                    wrong.push(format!("P4: job {id} was leased twice at {}", pair[0].index));
                }
            }
        }
        for op in self.ops {
            let What::Settle { verb, job, token, again, outcome } = &op.what else { continue };
            let facts = &self.jobs[job.as_str()];
            let Some(at) = facts.grants.iter().position(|(_, grant)| grant.token == *token) else {
                wrong.push(format!("P4: a token of job {job} that was never given out"));
                continue;
            };
            let (start, grant) = facts.grants[at];
            let next =
                facts.grants[at + 1..].iter().find(|(_, grant)| !grant.adopted).map(|(_, grant)| grant.index);
            match outcome {
                Outcome::Ok((), index) if !again => {
                    if !grant.adopted && *index < grant.index {
                        wrong.push(format!(
                            "P4: {verb:?} of job {job} at {index}, before its lease at {}",
                            grant.index
                        ));
                    }
                    if next.is_some_and(|next| *index > next) {
                        wrong.push(format!(
                            "P4: {verb:?} of job {job} at {index} by a lease that ended before {next:?}"
                        ));
                    }
                }
                Outcome::Refused(code) if code == "LEASE_LOST" && !again && !grant.streamed => {
                    let lease = crate::worker::LEASE * 1_000_000;
                    if op.end < start + lease - CLOCK && !self.settled_before(job, token, op.start) {
                        wrong
                            .push(format!("P4: the lease of job {job} was lost after {} µs", op.end - start));
                    }
                }
                _ => {}
            }
        }
        self.wrong.extend(wrong);
    }

    /// True if something else that the worker said of the lease, answered or not, may have ended it.
    fn settled_before(&self, job: &str, token: &str, before: u64) -> bool {
        self.ops.iter().any(|op| match &op.what {
            What::Settle { verb, job: of, token: with, outcome, .. } => {
                of == job
                    && with == token
                    && *verb != Verb::Beat
                    && op.start < before
                    && !matches!(outcome, Outcome::Refused(_))
            }
            _ => false,
        })
    }

    fn unique_keys(&mut self) {
        let mut made: BTreeMap<&str, Vec<(u64, &str)>> = BTreeMap::new();
        let mut held: Vec<(&str, u64, &str)> = Vec::new();
        for (item, outcome) in &self.items {
            let (Some(unique), Some((accepted, index))) = (&item.unique, outcome.ok()) else { continue };
            if accepted.repeated {
                continue;
            }
            if accepted.existing {
                held.push((unique, index, &accepted.id));
            } else {
                made.entry(unique).or_default().push((index, &accepted.id));
            }
        }
        let mut wrong = Vec::new();
        for (key, jobs) in &mut made {
            jobs.sort_unstable();
            for pair in jobs.windows(2) {
                let ((_, first), (next, second)) = (pair[0], pair[1]);
                let alive = self.last_sign(first);
                if alive > next {
                    wrong.push(format!("P5: {first} held {key} at {alive}, and {second} got it at {next}"));
                }
            }
        }
        for (key, index, id) in held {
            if let Some((acked, _)) = self.jobs.get(id).and_then(|job| job.acked)
                && acked < index
            {
                wrong.push(format!(
                    "P5: {key} was answered at {index} with {id}, which had been acked at {acked}"
                ));
            }
        }
        self.wrong.extend(wrong);
    }

    /// The last index at which a job was certainly live: a lease was granted or, by its first word, ended.
    fn last_sign(&self, id: &str) -> u64 {
        let Some(job) = self.jobs.get(id) else { return 0 };
        let granted =
            job.grants.iter().filter(|(_, grant)| !grant.adopted).map(|(_, grant)| grant.index).max();
        granted.unwrap_or(0).max(job.acked.map_or(0, |(index, _)| index))
    }

    fn attempts(&mut self) {
        for (id, job) in &self.jobs {
            for (_, grant) in &job.grants {
                if grant.attempt > grant.max_retries + 1 {
                    self.wrong.push(format!(
                        "P17: job {id} was delivered as attempt {} of {}",
                        grant.attempt,
                        grant.max_retries + 1
                    ));
                }
            }
            // Attempts never go back.
            for pair in job.grants.windows(2) {
                if pair[1].1.attempt < pair[0].1.attempt {
                    self.wrong.push(format!("P17: job {id} went back to attempt {}", pair[1].1.attempt));
                }
            }
        }
    }
}

fn key_of(by_key: &BTreeMap<Key, BTreeSet<&str>>, id: &str) -> Option<Key> {
    by_key.iter().find(|(_, ids)| ids.contains(id)).map(|(key, _)| *key)
}

fn short(payload: &Value) -> String {
    payload.to_string().chars().take(120).collect()
}
