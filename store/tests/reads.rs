// SPDX-License-Identifier: Apache-2.0
//! Readers against a plain walk over all rows.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeSet;

use common::{apply, life, open};
use jobbie_broker::state::StateKind;
use jobbie_broker::tables::schema::{Due, Jobs, Lane, Queues};
use jobbie_broker::tables::{Pair, Tables};
use jobbie_broker::{Job, JobRef, Name, QueueKey, Timestamp};
use jobbie_store::Reader;
use jobbie_store::query::{Cursor, JobFilter};

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
        let all: Vec<Pair<Jobs>> = memory.scan::<Jobs>(&[], None, usize::MAX).unwrap();
        assert!(all.len() > 30, "{}", all.len());

        for namespace in ["default", "second", "third"].map(Name::from) {
            for queue in
                [None, Some("a"), Some("b"), Some("a-b"), Some("none")].map(|queue| queue.map(Name::from))
            {
                for state in std::iter::once(None).chain(StateKind::ALL.into_iter().map(Some)) {
                    let filter = JobFilter { namespace: namespace.clone(), queue: queue.clone(), state };
                    let means = |job: &&Job| {
                        job.namespace == namespace
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
            assert_eq!(held.into_iter().map(|held| held.job).collect::<Vec<_>>(), expected);
        }
        assert_eq!(reader.check().unwrap(), Vec::new());
        assert!(reader.disk().log_bytes > 0);
    }
}
