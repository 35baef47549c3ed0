// SPDX-License-Identifier: Apache-2.0
//! Each invariant notices when its rows are tampered with.

use std::sync::Arc;

use super::check;
use crate::apply::testing::*;
use crate::body::{BodyKind, INLINE, Json};
use crate::command::*;
use crate::document::Document;
use crate::id::{JobNo, Name, QueueKey};
use crate::index::rows_of;
use crate::job::{Due, JobSpec};
use crate::request::{RequestKey, Route};
use crate::state::StateKind;
use crate::tables::mem::MemTables;
use crate::tables::schema::{self, *};
use crate::tables::{Table, Tables};
use crate::time::Timestamp;
use crate::unique::{Holder, Unique};

/// Something of everything: pending 1, scheduled 2, active 3 with a large payload, completed 4 with a key, deleted 5.
fn tables() -> MemTables {
    let mut bed = Bed::new();
    bed.enqueue(JobSpec { id: Some("one".into()), expire_after: Some(secs(99)), ..spec("q") });
    bed.enqueue(JobSpec { due: Due::After(secs(60)), ..spec("q") });
    bed.enqueue(JobSpec { payload: Json::from("1".repeat(INLINE + 1).as_str()), ..spec("a") });
    bed.fetch_one("a");
    let mut unique = spec("u");
    unique.options.unique = Some(Unique { key: "k".into(), period: secs(60) });
    bed.enqueue(unique);
    let lease = claim(&bed.fetch_one("u"));
    bed.run(ack(lease));
    let gone = bed.enqueue(JobSpec { id: Some("five".into()), ..spec("q") });
    bed.granted(Delete { job: job_ref(&gone) });
    let request = Some(RequestKey { route: Route::Enqueue, key: "r".into() });
    bed.run(Enqueue { jobs: vec![spec("q")], request });
    bed.tables
}

#[track_caller]
fn names_after(tamper: impl FnOnce(&mut MemTables)) -> Vec<&'static str> {
    let mut tables = tables();
    tamper(&mut tables);
    let mut names: Vec<_> = check(&mut tables).unwrap().into_iter().map(|found| found.name).collect();
    names.dedup();
    names
}

fn first<T: Table>(tables: &mut MemTables) -> (T::Key, T::Row) {
    tables.scan::<T>(&[], None, 1).unwrap().remove(0)
}

fn drop_first<T: Table>(tables: &mut MemTables) {
    let (key, _) = first::<T>(tables);
    tables.delete::<T>(&key).unwrap();
}

fn queue(name: &str) -> QueueKey {
    QueueKey { namespace: "default".into(), queue: name.into() }
}

fn change_job(tables: &mut MemTables, no: u64, change: impl FnOnce(&mut crate::Job)) {
    let mut job = tables.get::<Jobs>(&JobNo(no)).unwrap().unwrap();
    change(Arc::make_mut(&mut job));
    tables.put::<Jobs>(&JobNo(no), &job).unwrap();
}

#[test]
fn nothing_is_wrong_with_what_apply_wrote() {
    assert_eq!(check(&mut tables()).unwrap(), []);
    assert_eq!(check(&mut MemTables::new()).unwrap(), []);
}

#[test]
fn j1_index_rows() {
    assert_eq!(names_after(drop_first::<Ready>), ["J1"]);
    assert_eq!(names_after(drop_first::<Waiting>), ["J1"]);
    assert_eq!(names_after(drop_first::<Finished>), ["J1"]);
    assert_eq!(names_after(drop_first::<schema::Due>), ["J1"]);
    let stray = |t: &mut MemTables| t.put::<Ready>(&ReadyKey::new(queue("q"), 3, JobNo(1)), &()).unwrap();
    assert_eq!(names_after(stray), ["J1"]);
    let stray = DueKey { lane: Lane::Timers, at: Timestamp(1), timer: Timer::Expire, job: JobNo(99) };
    assert_eq!(names_after(|t| t.put::<schema::Due>(&stray, &()).unwrap()), ["J1"]);
}

#[test]
fn j2_leases() {
    assert_eq!(names_after(drop_first::<Leases>), ["J2"]);
    let stray = LeaseKey { namespace: "default".into(), worker: "w9".into(), job: JobNo(1) };
    let row = first::<Leases>(&mut tables()).1;
    assert_eq!(names_after(|t| t.put::<Leases>(&stray, &row).unwrap()), ["J2"]);
}

#[test]
fn j3_counters() {
    assert_eq!(names_after(drop_first::<Queues>), ["J3"]);
    let miscount = |t: &mut MemTables| {
        let mut row = t.get::<Queues>(&queue("q")).unwrap().unwrap();
        row.counts[StateKind::Dead as usize] += 1;
        t.put::<Queues>(&queue("q"), &row).unwrap();
    };
    assert_eq!(names_after(miscount), ["J3"]);
}

#[test]
fn j4_rows_that_make_no_sense() {
    assert_eq!(names_after(|t| change_job(t, 1, |job| job.ready_at = None)), ["J4"]);
    assert_eq!(names_after(|t| change_job(t, 3, |job| job.deliveries = 9)), ["J4"]);
    assert_eq!(names_after(|t| change_job(t, 4, |job| job.last_lease = None)), ["J4"]);
    assert_eq!(names_after(|t| change_job(t, 1, |job| job.created_at = Timestamp::MAX)), ["J4", "J7"]);
}

#[test]
fn j5_unique_keys() {
    assert_eq!(names_after(drop_first::<UniqueKeys>), ["J5"]);
    let key: (Name, Name) = ("default".into(), "other".into());
    let stray = Holder { job: JobNo(1), until: None };
    assert_eq!(names_after(|t| t.put::<UniqueKeys>(&key, &stray).unwrap()), ["J5"]);
}

#[test]
fn j6_bodies() {
    assert_eq!(names_after(drop_first::<Bodies>), ["J6"]);
    let stray = BodyKey { job: JobNo(1), kind: BodyKind::Result };
    assert_eq!(names_after(|t| t.put::<Bodies>(&stray, &Json::from("1")).unwrap()), ["J6"]);
}

#[test]
fn j7_chosen_ids() {
    let drop =
        |id: &'static str| move |t: &mut MemTables| t.delete::<Ids>(&("default".into(), id.into())).unwrap();
    assert_eq!(names_after(drop("one")), ["J7"]);
    assert_eq!(names_after(drop("five")), ["J8", "J7"]);
}

#[test]
fn j8_remembered_calls() {
    assert_eq!(names_after(drop_first::<Requests>), ["J8"]);
    assert!(names_after(drop_first::<Forgets>).contains(&"J8"));
}

#[test]
fn j9_requests_to_cancel() {
    assert_eq!(
        names_after(|t| change_job(t, 1, |job| job.cancel_requested_at = Some(job.created_at))),
        ["J9"]
    );
    let delete = |t: &mut MemTables| {
        let mut row = t.get::<Queues>(&queue("a")).unwrap().unwrap();
        row.deleting = true;
        t.put::<Queues>(&queue("a"), &row).unwrap();
    };
    assert_eq!(names_after(delete), ["J9"]);
}

#[test]
fn a_change_of_state_by_the_back_door_is_noticed() {
    let names = names_after(|t| change_job(t, 3, |job| job.state = crate::State::Pending));
    assert!(["J1", "J2", "J3"].iter().all(|name| names.contains(name)), "{names:?}");
    let job = tables().get::<Jobs>(&JobNo(3)).unwrap().unwrap();
    assert_eq!(rows_of(&job).timers.iter().flatten().count(), 1);
}

#[test]
fn j10_documents() {
    let put = |t: &mut MemTables, key: &str, version: u64| {
        let document =
            Document { value: Json::null(), version, put_at: Timestamp(1), put_by: "tester".into() };
        t.put::<Docs>(&("test".into(), key.into()), &document).unwrap();
    };
    assert_eq!(names_after(|t| put(t, "a", 1)), [""; 0]);
    assert_eq!(names_after(|t| put(t, "a", u64::MAX)), ["J10"]);
    assert_eq!(names_after(|t| put(t, "a", 0)), ["J10"]);
    assert_eq!(names_after(|t| ["a", "b"].iter().for_each(|key| put(t, key, 2))), ["J10"]);
}
