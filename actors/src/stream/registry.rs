// SPDX-License-Identifier: Apache-2.0
//! Which worker has a stream open: the latest one counts.
//!
//! A stream that ends gives back what it had claimed and not delivered. If its worker comes back at that
//! moment, a lease must not be adopted by the new stream and given back by the old one. So a stream keeps its
//! seat until everything it gives back is decided; the new one waits for that in [`Streams::settled`], and
//! from then on the old one gives back only what was claimed too late to be adopted.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jobbie_broker::Name;
use tokio::sync::{OwnedRwLockReadGuard, RwLock, oneshot};

type Worker = (Name, Name);

/// The streams of named workers.
#[derive(Clone, Default)]
pub(crate) struct Streams {
    open: Arc<Mutex<Open>>,
    giving_back: Arc<RwLock<()>>,
}

#[derive(Default)]
struct Open {
    next: u64,
    by_worker: HashMap<Worker, Latest>,
}

struct Latest {
    number: u64,
    superseded: oneshot::Sender<()>,
    succession: Arc<Mutex<Succession>>,
}

/// What has become of a stream's leases.
#[derive(Default)]
struct Succession {
    /// A later stream of the worker has entered.
    superseded: bool,
    /// It has adopted what was claimed up to this log index.
    adopted: Option<u64>,
}

/// A stream's entry.
pub(crate) struct Registration {
    seat: Seat,
    predecessor: Option<Arc<Mutex<Succession>>>,
    /// Closes when a later stream of the same worker takes over.
    pub superseded: oneshot::Receiver<()>,
}

/// Which stream of a worker it is, for those who act for it. The entry stays as long as any of them.
#[derive(Clone)]
pub(crate) struct Seat(Arc<Taken>);

struct Taken {
    streams: Streams,
    worker: Worker,
    number: u64,
    succession: Arc<Mutex<Succession>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Streams {
    /// Enters a stream; an earlier one of the same worker is superseded.
    pub fn enter(&self, namespace: &Name, worker: &Name) -> Registration {
        let (sender, superseded) = oneshot::channel();
        let worker = (namespace.clone(), worker.clone());
        let succession: Arc<Mutex<Succession>> = Arc::default();
        let mut open = lock(&self.open);
        open.next += 1;
        let number = open.next;
        let latest = Latest { number, superseded: sender, succession: succession.clone() };
        let predecessor = open.by_worker.insert(worker.clone(), latest).map(|earlier| {
            lock(&earlier.succession).superseded = true;
            drop(earlier.superseded);
            earlier.succession
        });
        let seat = Seat(Arc::new(Taken { streams: self.clone(), worker, number, succession }));
        Registration { seat, predecessor, superseded }
    }

    /// Waits until everything that earlier streams are giving back is decided.
    pub async fn settled(&self) {
        drop(self.giving_back.write().await);
    }
}

impl Registration {
    pub fn seat(&self) -> Seat {
        self.seat.clone()
    }

    /// The leases that were granted up to this log index are this stream's now.
    pub fn adopted(&self, index: u64) {
        if let Some(predecessor) = &self.predecessor {
            lock(predecessor).adopted = Some(index);
        }
    }
}

impl Seat {
    /// A guard under which jobs that were claimed at `index` may be given back, or `None` if a later stream
    /// has adopted them or is about to.
    pub async fn may_give_back(&self, index: u64) -> Option<OwnedRwLockReadGuard<()>> {
        let guard = self.0.streams.giving_back.clone().read_owned().await;
        let succession = lock(&self.0.succession);
        let mine = !succession.superseded || succession.adopted.is_some_and(|adopted| index > adopted);
        mine.then_some(guard)
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let mut open = lock(&self.streams.open);
        if open.by_worker.get(&self.worker).is_some_and(|latest| latest.number == self.number) {
            open.by_worker.remove(&self.worker);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_open(registration: &mut Registration) -> bool {
        registration.superseded.try_recv() == Err(oneshot::error::TryRecvError::Empty)
    }

    fn enter(streams: &Streams) -> Registration {
        streams.enter(&"default".into(), &"w1".into())
    }

    #[test]
    fn a_later_stream_of_the_same_worker_supersedes_and_the_earlier_one_cannot_remove_it() {
        let streams = Streams::default();
        let mut first = enter(&streams);
        assert!(is_open(&mut first));
        let mut second = enter(&streams);
        assert!(!is_open(&mut first));
        drop(first);
        assert!(is_open(&mut second));
        drop(second);
        assert!(lock(&streams.open).by_worker.is_empty());
    }

    /// Else a job that the new stream has handed to its worker would be handed to somebody else too.
    #[tokio::test]
    async fn what_a_new_stream_adopts_the_old_one_does_not_give_back() {
        let streams = Streams::default();
        let old = enter(&streams).seat();
        let giving_back = old.may_give_back(5).await.expect("there is no later stream");
        let new = enter(&streams);
        let mut settled = Box::pin(streams.settled());
        assert!(futures_util::poll!(&mut settled).is_pending());
        drop(giving_back);
        settled.await;
        assert!(old.may_give_back(6).await.is_none(), "it is about to be adopted");
        new.adopted(7);
        assert!(old.may_give_back(7).await.is_none());
        assert!(old.may_give_back(8).await.is_some(), "claimed too late to be adopted");
        assert!(new.seat().may_give_back(7).await.is_some());
        drop(new);
        assert!(old.may_give_back(7).await.is_none(), "not even when the new one has ended");
    }
}
