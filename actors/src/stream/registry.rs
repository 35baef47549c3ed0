// SPDX-License-Identifier: Apache-2.0
//! Which worker has a stream open: the latest one counts.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use jobbie_broker::Name;
use tokio::sync::oneshot;

type Worker = (Name, Name);

/// The open streams of named workers.
#[derive(Clone, Default)]
pub(crate) struct Streams {
    open: Arc<Mutex<Open>>,
}

#[derive(Default)]
struct Open {
    next: u64,
    by_worker: HashMap<Worker, (u64, oneshot::Sender<()>)>,
}

/// A stream's entry; removed when dropped.
pub(crate) struct Registration {
    streams: Streams,
    worker: Worker,
    number: u64,
    /// Closes when a later stream of the same worker takes over.
    pub superseded: oneshot::Receiver<()>,
}

impl Streams {
    /// Enters a stream; an earlier one of the same worker is superseded.
    pub fn enter(&self, namespace: &Name, worker: &Name) -> Registration {
        let (sender, superseded) = oneshot::channel();
        let worker = (namespace.clone(), worker.clone());
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.next += 1;
        let number = open.next;
        open.by_worker.insert(worker.clone(), (number, sender));
        Registration { streams: self.clone(), worker, number, superseded }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut open = self.streams.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.by_worker.get(&self.worker).is_some_and(|(number, _)| *number == self.number) {
            open.by_worker.remove(&self.worker);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_stream_of_the_same_worker_supersedes_and_the_earlier_one_cannot_remove_it() {
        let streams = Streams::default();
        let (namespace, worker): (Name, Name) = ("default".into(), "w1".into());
        let mut first = streams.enter(&namespace, &worker);
        assert!(first.superseded.try_recv().is_err_and(|e| e == oneshot::error::TryRecvError::Empty));
        let mut second = streams.enter(&namespace, &worker);
        assert!(first.superseded.try_recv().is_err_and(|e| e == oneshot::error::TryRecvError::Closed));
        drop(first);
        assert!(second.superseded.try_recv().is_err_and(|e| e == oneshot::error::TryRecvError::Empty));
        drop(second);
        assert!(streams.open.lock().unwrap().by_worker.is_empty());
    }
}
