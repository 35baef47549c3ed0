// SPDX-License-Identifier: Apache-2.0
//! The jobs that are running, and the way to stop them. The heartbeat reads it, so being in it keeps a lease alive.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

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
    /// What the child has saved.
    pub checkpoint: Arc<Mutex<Checkpoint>>,
}

impl Registry {
    /// Adds a job. If an earlier lease of the same job is still here it is lost, or this one could not exist.
    pub fn enter(&self, id: &str, token: &str, checkpoint_file: PathBuf) -> Entry<'_> {
        let (stop, stopped) = watch::channel(Stop::No);
        let checkpoint = Arc::new(Mutex::new(Checkpoint::new(checkpoint_file)));
        let running = Running { token: token.to_owned(), checkpoint: checkpoint.clone(), stop };
        if let Some(old) = self.lock().insert(id.to_owned(), running) {
            raise(&old.stop, Stop::Lost);
        }
        Entry { registry: self, id: id.to_owned(), token: token.to_owned(), stop: stopped, checkpoint }
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
    use super::*;

    #[test]
    fn a_new_lease_of_the_same_job_ends_the_old_one() {
        let registry = Registry::default();
        let old = registry.enter("j", "t1", PathBuf::new());
        let new = registry.enter("j", "t2", PathBuf::new());
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
        let entry = registry.enter("j", "t", PathBuf::new());
        registry.stop_all(Stop::Shutdown);
        registry.stop("j", "t", Stop::Cancelled);
        assert_eq!(*entry.stop.borrow(), Stop::Shutdown);
        registry.stop("j", "t", Stop::Lost);
        assert_eq!(*entry.stop.borrow(), Stop::Lost);
    }
}
