// SPDX-License-Identifier: Apache-2.0
//! What holds for every sequence of commands.

#![allow(clippy::unwrap_used)]

mod bed;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bed::{Bed, Op, ops};
use jobbie_broker::apply::{Entry, apply, apply_proposal};
use jobbie_broker::backoff::{Backoff, RetryPolicy};
use jobbie_broker::command::*;
use jobbie_broker::id::{JobNo, JobRef, LeaseToken, QueueKey, mix};
use jobbie_broker::job::{Due, JobSpec, Options};
use jobbie_broker::reply::Settled;
use jobbie_broker::tables::mem::MemTables;
use jobbie_broker::tables::schema::{Jobs, Queues};
use jobbie_broker::throttle::Throttle;
use jobbie_broker::unique::Unique;
use jobbie_broker::{
    Change, Command, Event, Job, Json, Millis, Name, Outcome, Queue, Reply, Scope, StateKind, Tables,
    Timestamp, invariant,
};
use proptest::prelude::*;

/// So many times the usual number of cases, which is 256 or what `PROPTEST_CASES` says.
fn config(times: u32) -> ProptestConfig {
    let usual = ProptestConfig::default();
    ProptestConfig { cases: usual.cases * times, failure_persistence: None, ..usual }
}

fn jobs(tables: &mut MemTables) -> BTreeMap<JobNo, Arc<Job>> {
    tables.scan::<Jobs>(&[], None, usize::MAX).unwrap().into_iter().collect()
}

fn queues(tables: &mut MemTables) -> BTreeMap<QueueKey, Queue> {
    tables.scan::<Queues>(&[], None, usize::MAX).unwrap().into_iter().collect()
}

/// What must be true between the state before a command and the one after it.
struct Watch {
    acked: BTreeSet<JobNo>,
}

impl Watch {
    fn look(&mut self, bed: &mut Bed, before: &mut MemTables, command: &Command, outcome: &Outcome) {
        assert_eq!(invariant::check(&mut bed.tables).unwrap(), [], "after {command:?}");
        if matches!(outcome.reply, Reply::Rejected(_)) {
            assert_eq!(outcome.events, [], "{command:?}");
        }
        let after = jobs(&mut bed.tables);
        for event in &outcome.events {
            let Event::Job(event) = event else { continue };
            match event.change {
                Change::Completed => assert!(self.acked.insert(event.job.no), "completed twice"),
                Change::Started => assert!(!self.acked.contains(&event.job.no), "handed out after its ack"),
                _ => {}
            }
        }
        for no in &self.acked {
            let kind = after.get(no).map(|job| job.state.kind());
            assert!(matches!(kind, None | Some(StateKind::Completed)), "acked job {} is {kind:?}", no.0);
        }
        let mut keys = BTreeSet::new();
        for job in after.values().filter(|job| !job.state.kind().is_terminal()) {
            if let Some(unique) = &job.options.unique {
                assert!(keys.insert(&unique.key), "two live jobs have the key {}", unique.key);
            }
        }
        if matches!(command, Command::Fetch(_)) {
            self.look_at_fetch(bed, before, &after, outcome);
        }
    }

    fn look_at_fetch(
        &self,
        bed: &mut Bed,
        before: &mut MemTables,
        after: &BTreeMap<JobNo, Arc<Job>>,
        outcome: &Outcome,
    ) {
        let (was, now_queues) = (queues(before), queues(&mut bed.tables));
        let started: Vec<&Arc<Job>> = outcome
            .events
            .iter()
            .filter_map(|event| match event {
                Event::Job(event) if event.change == Change::Started => after.get(&event.job.no),
                _ => None,
            })
            .collect();
        for job in &started {
            let key = job.queue_key();
            let (old, new) = (&was[&key], &now_queues[&key]);
            assert!(old.paused_at.is_none() && !old.deleting, "handed out by a queue that hands out nothing");
            if let Some(limit) = old.concurrency {
                assert!(new.count(StateKind::Active) <= u64::from(limit), "more active than {limit}");
            }
            assert!(job.expire_at.is_none_or(|at| at > bed.now), "expired, and started all the same");
            assert!(!old.has_cleared(jobs(before)[&job.no].entered), "cleared, and started all the same");
            // Nobody who still waits should have been before it in line.
            for waiting in after.values().filter(|other| other.state.kind() == StateKind::Pending) {
                let ahead = (waiting.options.priority, std::cmp::Reverse(waiting.no))
                    > (job.options.priority, std::cmp::Reverse(job.no));
                assert!(waiting.queue != job.queue || !ahead, "{} was ahead of {}", waiting.no.0, job.no.0);
            }
        }
    }
}

proptest! {
    #![proptest_config(config(4))]

    #[test]
    fn invariants_hold_after_every_command(ops in ops(120)) {
        let mut bed = Bed::new();
        let mut watch = Watch { acked: BTreeSet::new() };
        for op in &ops {
            let mut before = bed.tables.clone();
            if let Some((command, outcome)) = bed.run(op) {
                watch.look(&mut bed, &mut before, &command, &outcome);
            }
        }
    }
}

proptest! {
    #![proptest_config(config(2))]

    #[test]
    fn the_same_log_makes_the_same_state_and_a_snapshot_does_as_well_as_its_log(
        ops in ops(150),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bed = Bed::new();
        ops.iter().for_each(|op| drop(bed.run(op)));
        let mut replayed = MemTables::new();
        let mut restored = MemTables::new();
        let cut = cut.index(bed.log.len() + 1);
        for (i, proposal) in bed.log.iter().enumerate() {
            if i == cut {
                for (space, key, row) in replayed.rows() {
                    restored.put_raw(space, key.to_vec(), row.to_vec());
                }
            }
            let index = i as u64 + 1;
            let outcome = apply_proposal(&mut replayed, index, proposal).unwrap();
            if i >= cut {
                prop_assert_eq!(outcome, apply_proposal(&mut restored, index, proposal).unwrap());
            }
        }
        prop_assert!(replayed == bed.tables, "the same log, another state");
        let rows = |tables: &MemTables| -> Vec<_> {
            tables.rows().map(|(space, key, row)| (space, key.to_vec(), row.to_vec())).collect()
        };
        prop_assert!(cut >= bed.log.len() || rows(&replayed) == rows(&restored), "snapshot and tail differ");
    }

    #[test]
    fn one_entry_of_many_commands_does_what_many_entries_of_one_do(before in ops(60), group in ops(12)) {
        let mut bed = Bed::new();
        before.iter().for_each(|op| drop(bed.run(op)));
        let commands: Vec<Command> = group.iter().filter_map(|op| bed.command(op)).collect();
        prop_assume!(!commands.is_empty());
        let mut alone = bed.tables.clone();
        let together = bed.propose(commands);
        let proposal = bed.log.last().unwrap();
        for (i, (submission, outcome)) in proposal.submissions.iter().zip(together).enumerate() {
            let entry = Entry {
                index: bed.log.len() as u64,
                at: proposal.at,
                seed: mix(proposal.seed ^ i as u64),
                by: &submission.by,
                namespace: &submission.namespace,
                scope: &submission.scope,
                command: &submission.command,
            };
            prop_assert_eq!(apply(&mut alone, &entry).unwrap(), outcome);
        }
        prop_assert!(alone == bed.tables, "rows kept at hand within an entry show in the tables");
        prop_assert_eq!(invariant::check(&mut alone).unwrap(), []);
    }

    #[test]
    fn a_batch_does_what_its_items_do_one_by_one(before in ops(60), batch in batch(), seed in any::<u64>()) {
        let mut bed = Bed::new();
        before.iter().for_each(|op| drop(bed.run(op)));
        let Some(command) = bed.command(&batch) else { return Ok(()) };
        let (by, namespace): (Name, Name) = ("tester".into(), "default".into());
        let at = bed.now;
        let run = |tables: &mut MemTables, command: &Command| {
            let scope = &Scope::ALL;
            apply(tables, &Entry { index: 9, at, seed, by: &by, namespace: &namespace, scope, command }).unwrap()
        };
        let mut singly = bed.tables.clone();
        let whole = run(&mut bed.tables, &command);
        let singles = singles(&command);
        if matches!(whole.reply, Reply::Rejected(_)) || singles.is_empty() {
            return Ok(());
        }
        let (mut parts, mut events) = (Vec::new(), Vec::new());
        for single in &singles {
            let outcome = run(&mut singly, single);
            parts.push(outcome.reply);
            events.extend(outcome.events);
        }
        prop_assert_eq!(joined(parts), whole.reply);
        prop_assert_eq!(events, whole.events);
        prop_assert!(singly == bed.tables, "the same replies, another state");
    }
}

/// Numbers at the edges of what fits.
fn edge() -> impl Strategy<Value = u64> {
    prop::sample::select(vec![0, 1, 999, 1_800_000_000_000, u64::from(u32::MAX), u64::MAX - 1, u64::MAX])
}

fn edge32() -> impl Strategy<Value = u32> {
    prop::sample::select(vec![0, 1, 3, u32::MAX - 1, u32::MAX])
}

fn extreme_spec() -> impl Strategy<Value = JobSpec> {
    let due = prop_oneof![
        Just(Due::Now),
        edge().prop_map(|ms| Due::After(Millis(ms))),
        edge().prop_map(|ms| Due::At(Timestamp(ms)))
    ];
    let backoff =
        prop::sample::select(vec![Backoff::None, Backoff::Fixed, Backoff::Linear, Backoff::Exponential]);
    let retry =
        (edge32(), backoff, edge(), edge(), any::<u16>()).prop_map(|(max_retries, backoff, base, max, j)| {
            RetryPolicy { max_retries, backoff, base: Millis(base), max: Millis(max), jitter_permille: j }
        });
    let options = (any::<u8>(), retry, prop::option::of(edge()), prop::option::of(edge()), edge32());
    (due, prop::option::of(edge()), options).prop_map(
        |(due, expire, (priority, retry, timeout, period, max_crashes))| JobSpec {
            due,
            expire_after: expire.map(Millis),
            options: Options {
                priority,
                retry,
                timeout: timeout.map(Millis),
                unique: period.map(|ms| Unique { key: "k".into(), period: Millis(ms) }),
                retention: period.map(Millis),
                max_crashes,
                ..Options::default()
            },
            ..JobSpec::new("q0", Json::from(""))
        },
    )
}

/// Commands that no edge would let through.
fn extreme() -> impl Strategy<Value = Command> {
    let queue = || Name::from("q0");
    let pair = || {
        (1u64..9, edge32(), edge())
            .prop_map(|(no, delivery, salt)| (JobNo(no), LeaseToken { delivery, salt }))
    };
    let throttle = (edge32(), edge()).prop_map(|(count, ms)| Throttle { count, period: Millis(ms) });
    prop_oneof![
        4 => prop::collection::vec(extreme_spec(), 0..4).prop_map(|jobs| Enqueue { jobs, request: None }.into()),
        4 => (edge32(), edge32(), edge(), prop::option::of(edge32())).prop_map(move |(count, max_bytes, ms, stream)| {
            let (lease, queues) = (Millis(ms), vec![queue(), queue(), "nowhere".into()]);
            let fetch = Fetch { lease, count, max_bytes, stream_concurrency: stream, ..one(&[]) };
            Fetch { queues, ..fetch }.into()
        }),
        2 => edge32().prop_map(|limit| Promote { limit }.into()),
        1 => edge32().prop_map(|limit| ForgetRequests { limit }.into()),
        1 => (edge(), edge32()).prop_map(move |(at, limit)| {
            Purge { queue: queue(), finished_before: Timestamp(at), limit, keep: at }.into()
        }),
        1 => prop::collection::vec(pair(), 0..4).prop_map(|leases| Reclaim { leases }.into()),
        1 => (pair(), edge()).prop_map(|((job, token), at)| {
            Renew { items: vec![Renewal { job, token, heard_at: Timestamp(at), progress: None }] }.into()
        }),
        2 => throttle.prop_map(move |throttle| {
            SetQueue { queue: queue(), setting: QueueSetting::Throttle(Some(throttle)) }.into()
        }),
        1 => Just(TermStarted {}.into()),
    ]
}

proptest! {
    #![proptest_config(config(2))]

    #[test]
    fn no_command_however_odd_makes_it_panic(
        steps in prop::collection::vec(prop_oneof![
            3 => extreme().prop_map(Ok),
            3 => bed::op().prop_map(Err),
            1 => edge().prop_map(|at| Ok(Command::from(Purge { queue: "time".into(), finished_before: Timestamp(at), limit: 0, keep: u64::MAX }))),
        ], 1..40),
    ) {
        let mut bed = Bed::new();
        for step in &steps {
            match step {
                // Time jumps to wherever, backwards too.
                Ok(Command::Purge(purge)) if &*purge.queue == "time" => bed.now = purge.finished_before,
                Ok(command) => drop(bed.propose(vec![command.clone()])),
                Err(op) => drop(bed.run(op)),
            }
            prop_assert_eq!(invariant::check(&mut bed.tables).unwrap(), []);
        }
    }
}

/// Without this, the properties above could hold because nothing much happens.
#[test]
fn the_random_commands_reach_every_transition_and_every_change() {
    use jobbie_broker::state::TRANSITIONS;
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let (mut moves, mut changes, mut refused) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for _ in 0..400 {
        let mut bed = Bed::new();
        for op in &ops(120).new_tree(&mut runner).unwrap().current() {
            let Some((command, outcome)) = bed.run(op) else { continue };
            if let Reply::Rejected(_) = outcome.reply {
                refused.insert(command.name());
            }
            for event in &outcome.events {
                changes.insert(event.name());
                if let Event::Job(event) = event {
                    moves.insert((event.from, event.state));
                }
            }
        }
    }
    for (from, to, by) in TRANSITIONS {
        assert!(moves.contains(&(Some(*from), *to)), "{from:?} → {to:?} ({by}) never happened");
    }
    for change in Change::ALL {
        assert!(changes.contains(change.name()), "{} never happened", change.name());
    }
    for news in ["queue.created", "queue.limited", "queue.cleared", "queue.deleting", "queue.deleted"] {
        assert!(changes.contains(news), "{news} never happened");
    }
    for name in ["Enqueue", "Fetch", "Retry", "Cancel", "Move", "Delete", "Patch", "CloneJob", "DeleteQueue"]
    {
        assert!(refused.contains(name), "{name} was never refused");
    }
}

/// A batch of one of the kinds that are loops.
fn batch() -> impl Strategy<Value = Op> {
    let enqueue = prop::collection::vec(bed::spec(), 1..6);
    let picks =
        prop::collection::vec(
            (any::<u8>(), prop::bool::weighted(0.8), any::<u8>())
                .prop_map(|(lease, token, flavour)| bed::Pick { lease, token, flavour }),
            1..8,
        );
    (0u8..5, enqueue, picks).prop_map(|(kind, jobs, picks)| match kind {
        0 => Op::Ack(picks),
        1 => Op::Fail(picks),
        2 => Op::Release(picks),
        3 => Op::Heartbeat(picks),
        _ => Op::Do(Enqueue { jobs, request: None }.into()),
    })
}

fn singles(command: &Command) -> Vec<Command> {
    match command.clone() {
        Command::Ack(c) => c.items.into_iter().map(|item| Ack { items: vec![item] }.into()).collect(),
        Command::Fail(c) => c.items.into_iter().map(|item| Fail { items: vec![item] }.into()).collect(),
        Command::Release(c) => c.items.into_iter().map(|item| Release { items: vec![item] }.into()).collect(),
        Command::Heartbeat(c) => {
            c.items.into_iter().map(|item| Heartbeat { items: vec![item] }.into()).collect()
        }
        Command::Enqueue(c) => {
            c.jobs.into_iter().map(|job| Enqueue { jobs: vec![job], request: None }.into()).collect()
        }
        other => panic!("{other:?} is no batch"),
    }
}

fn joined(replies: Vec<Reply>) -> Reply {
    let (mut enqueued, mut settled) = (Vec::new(), Vec::new());
    for reply in replies {
        match reply {
            Reply::Enqueued(items) => enqueued.extend(items),
            Reply::Settled(items) => settled.extend(items),
            other => panic!("{other:?} is not the reply of a batch"),
        }
    }
    if settled.is_empty() { Reply::Enqueued(enqueued) } else { Reply::Settled(settled) }
}

fn one(queues: &[&str]) -> Fetch {
    Fetch {
        queues: queues.iter().map(|name| Name::from(*name)).collect(),
        worker: "w".into(),
        hostname: "h".into(),
        count: 1,
        max_bytes: 1 << 20,
        lease: Millis::from_secs(60),
        stream_concurrency: None,
        request: None,
    }
}

/// Runs a job through all its attempts and answers with how long that took and how many there were.
fn run_out(retry: RetryPolicy) -> (Millis, u32) {
    let mut bed = Bed::new();
    let options = Options { retry, ..Options::default() };
    let spec = JobSpec { options, ..JobSpec::new("q", Json::from("1")) };
    bed.propose(vec![Enqueue { jobs: vec![spec], request: None }.into()]);
    for attempt in 1.. {
        let Reply::Fetched(jobs) = bed.propose(vec![one(&["q"]).into()]).remove(0).reply else {
            panic!("fetched")
        };
        assert_eq!(jobs.len(), 1, "attempt {attempt} is ready when it is due");
        let (id, token, _) = bed.leases.last().unwrap();
        let lease = LeaseRef { job: JobRef::from(id), token: Some(*token), worker: None };
        let Reply::Settled(settled) = bed.propose(vec![bed::fail(&[(lease, 1)]).into()]).remove(0).reply
        else {
            panic!("settled")
        };
        let Ok(Settled::Failed(told)) = &settled[0] else { panic!("{settled:?}") };
        if told.state == StateKind::Dead {
            return (bed.now.since(bed::START), attempt);
        }
        if let Some(at) = told.next_attempt_at {
            // One moment earlier it is not ready.
            bed.now = Timestamp(at.0 - 1);
            bed.propose(vec![Promote { limit: 9 }.into()]);
            let Reply::Fetched(jobs) = bed.propose(vec![one(&["q"]).into()]).remove(0).reply else {
                panic!()
            };
            assert_eq!(jobs, []);
            bed.now = at;
            bed.propose(vec![Promote { limit: 9 }.into()]);
        }
    }
    unreachable!("a job does not fail for ever")
}

#[test]
fn the_total_retry_window_is_pinned() {
    let policy = |backoff, max_retries| RetryPolicy {
        backoff,
        max_retries,
        jitter_permille: 0,
        ..RetryPolicy::default()
    };
    let window = |backoff, retries| {
        let (took, attempts) = run_out(policy(backoff, retries));
        assert_eq!(attempts, retries + 1);
        took.0 / 1000
    };
    assert_eq!(window(Backoff::Exponential, 3), 5 + 10 + 20, "the default policy");
    assert_eq!(window(Backoff::Exponential, 10), 5 + 10 + 20 + 40 + 80 + 160 + 320 + 600 * 3);
    assert_eq!(window(Backoff::Linear, 3), 5 + 10 + 15);
    assert_eq!(window(Backoff::Fixed, 3), 15);
    assert_eq!(window(Backoff::None, 3), 0);
    let (jittered, _) = run_out(RetryPolicy::default());
    assert!((35_000..=38_500).contains(&jittered.0), "at most a tenth more: {jittered}");
}
