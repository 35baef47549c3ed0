// SPDX-License-Identifier: Apache-2.0
//! Fetch with waiting: a claim in the log if there may be something to claim, else parked at the queues.
//!
//! An empty poll writes nothing. A caller that goes away while its claim is being committed loses nothing
//! either: the jobs that it would have got are given back.

use std::time::Duration;

use jobbie_broker::command::{Fetch, LeaseRef, Release, ReleaseItem};
use jobbie_broker::{JobRef, QueueKey, Reply, StateKind};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{Caller, Decided, PortError, Ports};
use crate::queue::Waiter;

/// How long to wait before parking again at a queue whose actor is restarting; it takes 2–10 ms.
const AGAIN: Duration = Duration::from_millis(10);

impl Ports {
    /// Leases jobs for a worker; waits up to `wait` for the first one. The reply is `Fetched`, empty when
    /// the time is over or the process stops, or `Rejected`.
    ///
    /// # Errors
    /// As [`Ports::propose`].
    pub async fn fetch(&self, caller: &Caller, fetch: Fetch, wait: Duration) -> Result<Decided, PortError> {
        let deadline = Instant::now() + wait;
        let keys: Vec<QueueKey> =
            fetch.queues.iter().map(|queue| QueueKey::new(&caller.namespace, queue)).collect();
        let mut stopping = self.stopping();
        // A repeatable call may have its answer in the log already, whatever the queues hold now.
        let mut claim = fetch.request.is_some();
        // Keeps the queue that woke this call from waking another one for the same job, until the claim is
        // decided.
        let mut woken = None;
        loop {
            if claim || keys.iter().any(|key| self.may_hand_out(key)) {
                let decided = self.claim(caller, fetch.clone()).await?;
                if !matches!(&decided.reply, Reply::Fetched(jobs) if jobs.is_empty()) {
                    return Ok(decided);
                }
            }
            claim = false;
            drop(woken.take());
            if *stopping.borrow_and_update() || Instant::now() >= deadline {
                let index = self.inner().reader.applied_index();
                return Ok(Decided { index, reply: Reply::Fetched(Vec::new()) });
            }
            let (waiter, waking) = Waiter::new(fetch.count);
            let mut parked = true;
            for key in &keys {
                parked = parked && self.inner().queues.park(key, &waiter).await.is_ok();
            }
            if !parked {
                tokio::time::sleep(AGAIN).await;
                continue;
            }
            tokio::select! {
                wake = waking => woken = wake.ok(),
                () = tokio::time::sleep_until(deadline) => {}
                _ = stopping.changed() => {}
            }
        }
    }

    /// True if a claim on that queue may succeed.
    fn may_hand_out(&self, key: &QueueKey) -> bool {
        self.queue(key)
            .is_some_and(|queue| queue.count(StateKind::Pending) > 0 && queue.admit(self.now()).is_ok())
    }

    /// Claims jobs in a task of its own, so that a caller who goes away cannot take the answer with them.
    async fn claim(&self, caller: &Caller, fetch: Fetch) -> Result<Decided, PortError> {
        let (answer, answered) = oneshot::channel();
        let (ports, caller) = (self.clone(), caller.clone());
        tokio::spawn(async move {
            let decided = ports.propose(&caller, fetch).await;
            if let Err(Ok(Decided { reply: Reply::Fetched(jobs), .. })) = answer.send(decided) {
                ports.give_back(&caller, jobs).await;
            }
        });
        answered.await.unwrap_or(Err(PortError::Unknown))
    }

    /// Releases leases that did not reach their worker.
    pub(crate) async fn give_back(&self, caller: &Caller, jobs: Vec<jobbie_broker::reply::LeasedJob>) {
        let items: Vec<ReleaseItem> = jobs
            .iter()
            .filter_map(|leased| {
                let token = Some(leased.job.state.lease()?.token);
                let lease = LeaseRef { job: JobRef::from(&leased.job.id()), token, worker: None };
                Some(ReleaseItem { lease, delay: None })
            })
            .collect();
        if !items.is_empty()
            && let Err(error) = self.propose(caller, Release { items }).await
        {
            tracing::warn!(%error, "jobs that did not reach their worker wait for the end of their lease");
        }
    }
}
