// SPDX-License-Identifier: Apache-2.0
//! From every other row back to the job that is its reason.

use super::{Check, hex, pair};
use crate::body::Body;
use crate::id::JobNo;
use crate::index::{IndexRows, Place, rows_of};
use crate::job::Job;
use crate::request::{ChosenId, Forget, RequestKey};
use crate::tables::schema::{
    Bodies, Due, Finished, Forgets, Ids, Jobs, Leases, Ready, RequestRowKey, Requests, UniqueKeys, Waiting,
};
use crate::tables::{Table, Tables};

impl<T: Tables> Check<'_, T> {
    /// J1 and J2: no index row without its job.
    pub(super) fn indexes(&mut self) -> Result<(), T::Fault> {
        self.each::<Ready>(|c, key, ()| {
            c.belongs::<Ready>("J1", &key, key.job, |r| r.place == Place::Ready(key.clone()))
        })?;
        self.each::<Waiting>(|c, key, ()| {
            c.belongs::<Waiting>("J1", &key, key.job, |r| r.place == Place::Waiting(key.clone()))
        })?;
        self.each::<Leases>(|c, key, row| {
            c.belongs::<Leases>("J2", &key, key.job, |r| r.place == Place::Leased(key.clone(), row.clone()))
        })?;
        self.each::<Finished>(|c, key, ()| {
            c.belongs::<Finished>("J1", &key, key.job, |r| r.place == Place::Finished(key.clone()))
        })?;
        self.each::<Due>(|c, key, ()| {
            c.belongs::<Due>("J1", &key, key.job, |r| r.timers.contains(&Some(key)))
        })?;
        Ok(())
    }

    fn belongs<R: Table>(
        &mut self,
        name: &'static str,
        key: &R::Key,
        job: JobNo,
        has: impl FnOnce(&IndexRows) -> bool,
    ) -> Result<(), T::Fault> {
        let job = self.tables.get::<Jobs>(&job)?;
        self.expect(job.as_ref().is_some_and(|job| has(&rows_of(job))), name, || {
            let state = job.as_ref().map(|job| job.state.kind().name());
            format!("row {} of {} belongs to no job; job is {state:?}", hex(key), R::SPACE.name())
        });
        Ok(())
    }

    /// J6, second half: no body without its job.
    pub(super) fn bodies(&mut self) -> Result<(), T::Fault> {
        self.each::<Bodies>(|check, key, _| {
            let job = check.tables.get::<Jobs>(&key.job)?;
            let has = |job: &Job| {
                job.bodies().any(|(kind, body)| kind == key.kind && matches!(body, Body::Stored(_)))
            };
            check.expect(job.as_deref().is_some_and(has), "J6", || {
                format!("the {:?} of job {} belongs to no job", key.kind, key.job.0)
            });
            Ok(())
        })?;
        Ok(())
    }

    /// J5, second half: every held key has its holder. What the holder's state means, the jobs have said.
    pub(super) fn unique_keys(&mut self) -> Result<(), T::Fault> {
        self.each::<UniqueKeys>(|check, key, holder| {
            let job = check.tables.get::<Jobs>(&holder.job)?;
            let is_its = |job: &Job| {
                job.namespace == key.0
                    && job.options.unique.as_ref().is_some_and(|unique| unique.key == key.1)
            };
            check.expect(job.as_deref().is_some_and(is_its), "J5", || {
                format!("unique key {} points to job {}, which does not have it", pair(&key), holder.job.0)
            });
            Ok(())
        })?;
        Ok(())
    }

    /// J7, second half, and J8.
    pub(super) fn remembered(&mut self) -> Result<(), T::Fault> {
        let requests = self.each::<Requests>(|_, _, _| Ok(()))?;
        let mut without_job = 0u64;
        self.each::<Ids>(|check, key, row| {
            without_job += u64::from(!check.id_has_job(&key.0, &key.1, &row)?);
            Ok(())
        })?;
        let (mut of_requests, mut of_ids) = (0u64, 0u64);
        self.each::<Forgets>(|check, key, forget| {
            let in_order = key.at >= check.meta.forgets_from && key.number <= check.meta.last_forget;
            check.expect(in_order, "J8", || format!("{forget:?} is out of order"));
            let found = match &forget {
                Forget::Request(namespace, by, RequestKey { route, key }) => {
                    of_requests += 1;
                    let (namespace, by, key) = (namespace.clone(), by.clone(), key.clone());
                    check
                        .tables
                        .get::<Requests>(&RequestRowKey { namespace, by, route: *route, key })?
                        .is_some()
                }
                Forget::Id(namespace, id) => {
                    of_ids += 1;
                    let row = check.tables.get::<Ids>(&(namespace.clone(), id.clone()))?;
                    match row {
                        Some(row) => !check.id_has_job(namespace, id, &row)?,
                        None => false,
                    }
                }
            };
            check.expect(found, "J8", || format!("{forget:?} has nothing to forget"));
            Ok(())
        })?;
        self.expect(requests == of_requests, "J8", || {
            format!("{requests} remembered calls, {of_requests} of them to be forgotten")
        });
        self.expect(without_job == of_ids, "J7", || {
            format!("{without_job} chosen ids without a job, {of_ids} of them to be forgotten")
        });
        let forgets = self.meta.forgets;
        self.expect(forgets == of_requests + of_ids, "J8", || {
            format!("{forgets} rows of forgets are counted, {} are there", of_requests + of_ids)
        });
        Ok(())
    }

    fn id_has_job(
        &mut self,
        namespace: &crate::Name,
        id: &crate::Name,
        row: &ChosenId,
    ) -> Result<bool, T::Fault> {
        let job = self.tables.get::<Jobs>(&row.first.job.no)?;
        Ok(job.is_some_and(|job| job.namespace == *namespace && job.chosen_id.as_ref() == Some(id)))
    }
}
