// SPDX-License-Identifier: Apache-2.0
//! Readers against a plain walk over all rows.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeSet;
use std::sync::Arc;

use common::{apply, life, open};
use jobbie_broker::request::RequestKey;
use jobbie_broker::state::StateKind;
use jobbie_broker::tables::mem::MemTables;
use jobbie_broker::tables::schema::{Due, Forgets, Jobs, Lane, Meta, MetaRow, Queues, Requests};
use jobbie_broker::tables::{Pair, Tables};
use jobbie_broker::{Body, Job, JobNo, JobRef, Name, QueueKey, Scope, State, Timestamp};
use jobbie_store::Reader;
use jobbie_store::query::{Cursor, JobFilter};

/// What callers may see.
fn scopes() -> [Scope; 3] {
    [Scope::ALL, Scope::of(["a*".into()]), Scope::NOTHING]
}

fn all_jobs(memory: &mut MemTables) -> Vec<(JobNo, Job)> {
    let all = memory.scan::<Jobs>(&[], None, usize::MAX).unwrap().into_iter();
    all.map(|(no, job)| (no, Arc::unwrap_or_clone(job))).collect()
}

/// Everything a filter means, by walking through pages of a size.
fn listed(reader: &Reader, filter: &JobFilter, size: usize) -> Vec<Job> {
    let (mut jobs, mut cursor): (Vec<Job>, Option<Cursor>) = (Vec::new(), None);
    loop {
        let page = reader.jobs(filter, cursor, size).unwrap();
        assert!(page.jobs.len() <= size);
        jobs.extend(page.jobs.into_iter().map(|detail| detail.job));
        cursor = page.next;
        if cursor.is_none() {
            return jobs;
        }
    }
}

#[tokio::test]
async fn listings_leases_and_ages_are_those_of_the_rows() {
    for seed in [11, 12, 13] {
        let dir = tempfile::tempdir().unwrap();
        let (mut opened, _) = open(dir.path()).unwrap();
        let (entries, mut memory) = life(500, seed);
        apply(&mut opened.machine, entries).await.unwrap();
        let reader = &opened.reader;
        let all = all_jobs(&mut memory);
        assert!(all.len() > 30, "{}", all.len());

        for namespace in ["default", "second", "third"].map(Name::from) {
            for queue in
                [None, Some("a"), Some("b"), Some("a-b"), Some("none")].map(|queue| queue.map(Name::from))
            {
                let states = std::iter::once(None).chain(StateKind::ALL.into_iter().map(Some));
                for (state, scope) in states.flat_map(|state| scopes().map(|scope| (state, scope))) {
                    let filter = JobFilter {
                        namespace: namespace.clone(),
                        scope: scope.clone(),
                        queue: queue.clone(),
                        state,
                    };
                    let means = |job: &&Job| {
                        job.namespace == namespace
                            && scope.allows(&job.queue)
                            && queue.as_ref().is_none_or(|queue| *queue == job.queue)
                            && state.is_none_or(|state| state == job.state.kind())
                    };
                    let mut expected: Vec<Job> =
                        all.iter().map(|(_, job)| job).filter(means).cloned().collect();
                    let time = |job: &Job| if state.is_some() { job.state.finished_at() } else { None };
                    expected.sort_by_key(|job| std::cmp::Reverse((time(job), job.no)));
                    for size in [1, 7, 1000] {
                        assert_eq!(listed(reader, &filter, size), expected, "{filter:?} by {size}");
                    }
                }
            }
        }

        for (no, job) in &all {
            assert_eq!(reader.job_row(&job.namespace, &JobRef::from(&job.id())).unwrap().as_ref(), Some(job));
            let detail = reader.job(&job.namespace, &JobRef::Given(*no, job.created_at)).unwrap().unwrap();
            assert_eq!(detail.payload.len(), job.payload.len());
            assert_eq!(detail.result.is_some(), job.result.is_some());
            assert!(reader.job(&Name::from("third"), &JobRef::Given(*no, job.created_at)).unwrap().is_none());
            assert!(reader.job(&job.namespace, &JobRef::Given(*no, Timestamp(1))).unwrap().is_none());
        }

        let queues: Vec<Pair<Queues>> = memory.scan::<Queues>(&[], None, usize::MAX).unwrap();
        let shown: Vec<_> =
            reader.all_queues().into_iter().map(|(key, queue)| (key, (*queue).clone())).collect();
        assert_eq!(shown, queues);
        for (key, queue) in &queues {
            assert_eq!(reader.queue(key).as_deref(), Some(queue));
            let pending = all
                .iter()
                .map(|(_, job)| job)
                .find(|job| job.queue_key() == *key && job.state.kind() == StateKind::Pending);
            assert_eq!(reader.oldest_pending(key).unwrap().is_some(), pending.is_some());
            let finished: BTreeSet<_> = all
                .iter()
                .filter(|(_, job)| job.queue_key() == *key)
                .filter_map(|(_, job)| job.state.finished_at())
                .collect();
            if !queue.wants_purge() && queue.sweep.is_none() {
                let first = finished.first().copied();
                assert_eq!(reader.finished_before(key, Timestamp::MAX).unwrap(), first.is_some());
                assert!(first.is_none_or(|at| !reader.finished_before(key, at).unwrap()));
            }
        }
        assert!(reader.queues(&Name::from("third")).is_empty());
        assert_eq!(reader.queue(&QueueKey::new(&Name::from("default"), &Name::from("none"))), None);

        for lane in [Lane::Timers, Lane::Leases] {
            let due: Vec<Pair<Due>> = memory.scan::<Due>(&[lane as u8], None, usize::MAX).unwrap();
            let first = if lane == Lane::Timers { reader.first_due() } else { reader.first_lease_due() };
            assert_eq!(first.unwrap(), due.first().map(|(key, ())| key.at));
            if lane == Lane::Leases {
                let mut found = Vec::new();
                while let page = reader.leases_due(Timestamp::MAX, found.last().copied(), 2).unwrap()
                    && !page.is_empty()
                {
                    found.extend(page.iter().map(jobbie_store::query::DueLease::key));
                }
                assert_eq!(found, due.into_iter().map(|(key, ())| key).collect::<Vec<_>>());
            }
        }
        for worker in ["w1", "w2", ""].map(Name::from) {
            let held = reader.leases_of(&Name::from("default"), &worker, 100, |_| true).unwrap();
            let granted = |job: &Job| job.state.lease().map(|lease| (lease.granted_at, job.no));
            let mut expected: Vec<Job> = all
                .iter()
                .map(|(_, job)| job.clone())
                .filter(|job| {
                    &*job.namespace == "default"
                        && job.state.lease().is_some_and(|lease| lease.worker == worker)
                })
                .collect();
            expected.sort_by_key(granted);
            assert_eq!(
                held.into_iter().map(|held| Arc::unwrap_or_clone(held.job)).collect::<Vec<_>>(),
                expected
            );
        }
        assert_eq!(reader.check().unwrap(), Vec::new());
        assert!(reader.disk().log_bytes > 0);
    }
}

/// What workers and the scheduler ask all the time is answered from memory: nothing is written for it.
#[tokio::test]
async fn what_is_asked_all_the_time_writes_nothing() {
    for seed in [21, 22] {
        let dir = tempfile::tempdir().unwrap();
        let (mut opened, _) = open(dir.path()).unwrap();
        let (entries, mut memory) = life(400, seed);
        let mut entries = entries.into_iter();
        apply(&mut opened.machine, entries.by_ref().take(200).collect()).await.unwrap();
        let reader = &opened.reader;
        reader.write().unwrap();
        assert_eq!(reader.unwritten(), 0);
        apply(&mut opened.machine, entries.collect()).await.unwrap();
        let unwritten = reader.unwritten();
        assert!(unwritten > 0);

        let all = all_jobs(&mut memory);
        for (no, job) in &all {
            assert_eq!(reader.job_row(&job.namespace, &JobRef::from(&job.id())).unwrap().as_ref(), Some(job));
            let detail = reader.job(&job.namespace, &JobRef::Given(*no, job.created_at)).unwrap().unwrap();
            assert_eq!(detail.payload.len(), job.payload.len());
            assert_eq!(detail.checkpoint.map(|json| json.len()), job.checkpoint.as_ref().map(Body::len));
        }
        let gone = JobRef::Given(JobNo(memory_meta(&mut memory).last_job.0 + 1), Timestamp(1));
        assert_eq!(reader.job_row(&Name::from("default"), &gone).unwrap(), None);
        for (lane, first) in [(Lane::Timers, reader.first_due()), (Lane::Leases, reader.first_lease_due())] {
            let due = memory.scan::<Due>(&[lane as u8], None, 1).unwrap();
            assert_eq!(first.unwrap(), due.first().map(|(key, ())| key.at));
            if let (Lane::Leases, Some((key, ()))) = (lane, due.first()) {
                assert!(reader.leases_due(Timestamp(key.at.0 - 1), None, 10).unwrap().is_empty());
            }
        }
        for (key, queue) in memory.scan::<Queues>(&[], None, usize::MAX).unwrap() {
            let pending = all.iter().any(|(_, job)| job.queue_key() == key && job.state == State::Pending);
            assert_eq!(reader.oldest_pending(&key).unwrap().is_some(), pending);
            let finished = StateKind::TERMINAL.iter().any(|state| queue.count(*state) > 0);
            let due = finished || queue.wants_purge() || queue.sweep.is_some();
            assert_eq!(reader.finished_before(&key, Timestamp::MAX).unwrap(), due);
        }
        let forgets = memory.scan::<Forgets>(&[], None, 1).unwrap();
        let (first, _) = forgets.first().unwrap();
        assert!(
            reader.forget_due(first.at).unwrap() && !reader.forget_due(Timestamp(first.at.0 - 1)).unwrap()
        );
        for (row, _) in memory.scan::<Requests>(&[], None, usize::MAX).unwrap() {
            let request = RequestKey { route: row.route, key: row.key };
            assert!(reader.is_remembered(&row.namespace, &row.by, &request).unwrap());
        }
        assert_eq!(reader.unwritten(), unwritten);

        // A listing writes what has changed, and sees it.
        let filter =
            JobFilter { namespace: Name::from("default"), scope: Scope::ALL, queue: None, state: None };
        let mine = all.iter().filter(|(_, job)| *job.namespace == *"default").count();
        assert_eq!(listed(reader, &filter, 1000).len(), mine);
        assert_eq!(reader.unwritten(), 0);
    }
}

fn memory_meta(memory: &mut MemTables) -> MetaRow {
    memory.get::<Meta>(&()).unwrap().unwrap()
}
