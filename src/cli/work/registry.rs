// SPDX-License-Identifier: Apache-2.0
//! The jobs that are running, until when each is ours, and the way to stop them. The heartbeat reads it, so being in
//! it keeps a lease alive.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tokio::time::Instant;

use super::checkpoint::Checkpoint;

/// Why a child is told to end; a later one overrules an earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stop {
    /// It is not.
    No,
    /// The job was cancelled.
    Cancelled,
    /// The worker ends.
    Shutdown,
    /// The lease is gone; somebody else may have the job.
    Lost,
    /// The worker ends at once.
    Now,
}

/// One running job, as the heartbeat sees it.
pub struct Running {
    /// Proof of the lease.
    pub token: String,
    /// What the child has saved.
    pub checkpoint: Arc<Mutex<Checkpoint>>,
    stop: watch::Sender<Stop>,
    until: watch::Sender<Instant>,
}

/// All running jobs, by id.
#[derive(Default)]
pub struct Registry {
    jobs: Mutex<BTreeMap<String, Running>>,
}

/// Keeps a job in the registry until dropped.
pub struct Entry<'a> {
    registry: &'a Registry,
    id: String,
    token: String,
    /// When and why to stop.
    pub stop: watch::Receiver<Stop>,
    until: watch::Receiver<Instant>,
    /// What the child has saved.
    pub checkpoint: Arc<Mutex<Checkpoint>>,
}

impl Registry {
    /// Adds a job that is ours until then. If an earlier lease of the same job is still here it is lost, or this
    /// one could not exist.
    pub fn enter(&self, id: &str, token: &str, checkpoint_file: PathBuf, until: Instant) -> Entry<'_> {
        let (stop, stopped) = watch::channel(Stop::No);
        let (extended, until) = watch::channel(until);
        let checkpoint = Arc::new(Mutex::new(Checkpoint::new(checkpoint_file)));
        let running =
            Running { token: token.to_owned(), checkpoint: checkpoint.clone(), stop, until: extended };
        if let Some(old) = self.lock().insert(id.to_owned(), running) {
            raise(&old.stop, Stop::Lost);
        }
        Entry { registry: self, id: id.to_owned(), token: token.to_owned(), stop: stopped, until, checkpoint }
    }

    /// Tells that the server has extended one lease of a job. It never ends earlier than was known.
    pub fn extend(&self, id: &str, token: &str, until: Instant) {
        if let Some(running) = self.lock().get(id).filter(|r| r.token == token) {
            running.until.send_if_modified(|now| {
                let is_later = until > *now;
                *now = until.max(*now);
                is_later
            });
        }
    }

    /// Tells one lease of a job to stop.
    pub fn stop(&self, id: &str, token: &str, why: Stop) {
        if let Some(running) = self.lock().get(id).filter(|r| r.token == token) {
            raise(&running.stop, why);
        }
    }

    /// Tells every job to stop.
    pub fn stop_all(&self, why: Stop) {
        for running in self.lock().values() {
            raise(&running.stop, why);
        }
    }

    /// How many jobs there are.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// What the heartbeat needs: id, token and checkpoint of each job.
    pub fn beats(&self) -> Vec<(String, String, Arc<Mutex<Checkpoint>>)> {
        self.lock().iter().map(|(id, r)| (id.clone(), r.token.clone(), r.checkpoint.clone())).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Running>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry<'_> {
    /// Whether the job is not ours any more.
    pub fn is_lost(&self) -> bool {
        *self.stop.borrow() == Stop::Lost || *self.until.borrow() <= Instant::now()
    }

    /// Stops the job when its lease is over and nobody could be asked for more. Never returns.
    pub async fn guard(&self) -> std::convert::Infallible {
        let mut until = self.until.clone();
        loop {
            let end = *until.borrow_and_update();
            tokio::select! {
                biased;
                extended = until.changed() => match extended {
                    Ok(()) => continue,
                    // A later lease of the same job has taken its place.
                    Err(_) => break,
                },
                () = tokio::time::sleep_until(end) => break,
            }
        }
        self.registry.stop(&self.id, &self.token, Stop::Lost);
        std::future::pending().await
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        let mut jobs = self.registry.lock();
        if jobs.get(&self.id).is_some_and(|running| running.token == self.token) {
            jobs.remove(&self.id);
        }
    }
}

fn raise(stop: &watch::Sender<Stop>, why: Stop) {
    stop.send_if_modified(|now| {
        let is_more = why > *now;
        *now = (*now).max(why);
        is_more
    });
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn later() -> Instant {
        Instant::now() + Duration::from_secs(600)
    }

    #[test]
    fn a_new_lease_of_the_same_job_ends_the_old_one() {
        let registry = Registry::default();
        let old = registry.enter("j", "t1", PathBuf::new(), later());
        let new = registry.enter("j", "t2", PathBuf::new(), later());
        assert_eq!((*old.stop.borrow(), *new.stop.borrow()), (Stop::Lost, Stop::No));
        // What the server says about the old token does not concern the new one.
        registry.stop("j", "t1", Stop::Cancelled);
        assert_eq!(*new.stop.borrow(), Stop::No);
        drop(old);
        assert_eq!(registry.len(), 1);
        drop(new);
        assert_eq!(registry.len(), 0);
    }

    #[test]
    fn reasons_only_get_stronger() {
        let registry = Registry::default();
        let entry = registry.enter("j", "t", PathBuf::new(), later());
        registry.stop_all(Stop::Shutdown);
        registry.stop("j", "t", Stop::Cancelled);
        assert_eq!(*entry.stop.borrow(), Stop::Shutdown);
        registry.stop("j", "t", Stop::Lost);
        assert_eq!(*entry.stop.borrow(), Stop::Lost);
    }

    #[tokio::test]
    async fn a_lease_that_nobody_extends_ends_by_the_workers_own_clock() {
        let registry = Registry::default();
        let entry = registry.enter("j", "t", PathBuf::new(), Instant::now());
        assert!(entry.is_lost());
        registry.extend("j", "old", later());
        assert!(entry.is_lost(), "another lease's extension");
        registry.extend("j", "t", later());
        registry.extend("j", "t", Instant::now());
        assert!(!entry.is_lost(), "never shorter");

        let over = registry.enter("k", "t", PathBuf::new(), Instant::now());
        let mut stop = over.stop.clone();
        tokio::select! {
            _ = over.guard() => {}
            why = stop.wait_for(|why| *why != Stop::No) => assert_eq!(*why.unwrap(), Stop::Lost),
        }
        assert_eq!(*entry.stop.borrow(), Stop::No);
    }
}
