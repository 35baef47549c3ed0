// SPDX-License-Identifier: Apache-2.0
//! Fetch with waiting: a claim in the log if there may be something to claim, else parked at the queues.
//!
//! An empty poll writes nothing. A caller that goes away while its claim is being committed, or before it has
//! taken the answer, loses nothing either: the jobs that it would have got are given back.

use std::time::Duration;

use jobbie_broker::command::{Fetch, LeaseRef, Release, ReleaseItem};
use jobbie_broker::reply::LeasedJob;
use jobbie_broker::{JobRef, QueueKey, Reply, StateKind};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{Caller, Decided, PortError, Ports};
use crate::queue::Waiter;
use crate::stream::Seat;
use crate::supervise;
use crate::trace;

/// How long to wait before parking again at a queue whose actor is restarting; it takes 2–10 ms.
const AGAIN: Duration = Duration::from_millis(10);

/// Jobs that were claimed and have not been taken by the caller yet: given back if nobody does.
struct Claimed {
    index: u64,
    jobs: Vec<LeasedJob>,
    owner: Owner,
}

/// For whom jobs are claimed, and how they are given back.
#[derive(Clone)]
pub(crate) struct Owner {
    pub ports: Ports,
    pub caller: Caller,
    /// The stream, if the jobs go out on one.
    pub seat: Option<Seat>,
}

impl Drop for Claimed {
    fn drop(&mut self) {
        self.owner.give_back_soon(self.index, std::mem::take(&mut self.jobs));
    }
}

impl Owner {
    /// Gives back leases that were claimed at `index` and did not reach their worker, in the background.
    pub fn give_back_soon(&self, index: u64, jobs: Vec<LeasedJob>) {
        // Without a runtime the process is at its end, and the leases run out.
        if let (false, Ok(runtime)) = (jobs.is_empty(), tokio::runtime::Handle::try_current()) {
            let owner = self.clone();
            runtime.spawn(async move { owner.give_back(index, jobs).await });
        }
    }

    async fn give_back(self, index: u64, jobs: Vec<LeasedJob>) {
        let item = |leased: &LeasedJob| {
            let token = Some(leased.job.state.lease()?.token);
            let lease = LeaseRef { job: JobRef::from(&leased.job.id()), token, worker: None };
            Some(ReleaseItem { lease, delay: None })
        };
        let items = jobs.iter().filter_map(item).collect();
        // A later stream of the same worker has the leases now, or waits here until they are gone.
        let _seated = match &self.seat {
            Some(seat) => match seat.may_give_back(index).await {
                Some(guard) => Some(guard),
                None => return,
            },
            None => None,
        };
        if let Err(error) = self.ports.propose(&self.caller, Release { items }).await {
            tracing::warn!(%error, "jobs that did not reach their worker wait for the end of their lease");
        }
    }
}

impl Ports {
    /// Leases jobs for a worker; waits up to `wait` for the first one. The reply is `Fetched`, empty when
    /// the time is over or the process stops, or `Rejected`.
    ///
    /// # Errors
    /// As [`Ports::propose`].
    pub async fn fetch(&self, caller: &Caller, fetch: Fetch, wait: Duration) -> Result<Decided, PortError> {
        let owner = Owner { ports: self.clone(), caller: caller.clone(), seat: None };
        self.fetch_for(&owner, fetch, wait).await
    }

    /// As [`Ports::fetch`], for somebody in particular.
    pub(crate) async fn fetch_for(
        &self,
        owner: &Owner,
        fetch: Fetch,
        wait: Duration,
    ) -> Result<Decided, PortError> {
        let deadline = Instant::now() + wait;
        let namespace = &owner.caller.namespace;
        let keys: Vec<QueueKey> = fetch.queues.iter().map(|queue| QueueKey::new(namespace, queue)).collect();
        let mut stopping = self.stopping();
        let mut claim = self.is_remembered(&owner.caller, &fetch).await?;
        // Keeps the queue that woke this call from waking another one for the same job, until the claim is
        // decided.
        let mut woken = None;
        loop {
            if claim || keys.iter().any(|key| self.may_hand_out(key)) {
                let decided = claim_now(owner, fetch.clone()).await?;
                match &decided.reply {
                    Reply::Fetched(jobs) if jobs.is_empty() => {}
                    reply => {
                        if let Reply::Fetched(jobs) = reply {
                            self.tracer().delivered(decided.index, jobs, self.now());
                        }
                        return Ok(decided);
                    }
                }
            }
            claim = false;
            drop(woken.take());
            if *stopping.borrow_and_update() || Instant::now() >= deadline {
                return Ok(Decided { index: self.applied_index(), reply: Reply::Fetched(Vec::new()) });
            }
            let (waiter, waking) = Waiter::new(fetch.count);
            if !self.park(&keys, &waiter).await? {
                tokio::time::sleep(AGAIN).await;
                continue;
            }
            let wake = trace::waiting(async {
                tokio::select! {
                    wake = waking => wake.ok(),
                    () = tokio::time::sleep_until(deadline) => None,
                    _ = stopping.changed() => None,
                }
            });
            woken = wake.await;
        }
    }

    /// True if this call was answered before: the answer is in the log, whatever the queues hold now.
    async fn is_remembered(&self, caller: &Caller, fetch: &Fetch) -> Result<bool, PortError> {
        let Some(key) = fetch.request.clone() else { return Ok(false) };
        let Caller { by, namespace, .. } = caller.clone();
        self.read(move |reader| reader.is_remembered(&namespace, &by, &key)).await
    }

    /// Waits at all of the queues; false if one of them is restarting.
    async fn park(&self, keys: &[QueueKey], waiter: &Waiter) -> Result<bool, PortError> {
        for key in keys {
            match self.inner().queues.park(key, waiter).await {
                Ok(()) => {}
                Err(supervise::PortError::Overloaded) => return Err(PortError::overloaded()),
                Err(_) => return Ok(false),
            }
        }
        Ok(true)
    }

    /// True if a claim on that queue may succeed.
    fn may_hand_out(&self, key: &QueueKey) -> bool {
        self.queue(key)
            .is_some_and(|queue| queue.count(StateKind::Pending) > 0 && queue.admit(self.now()).is_ok())
    }
}

/// Claims jobs in a task of its own, so that a caller who goes away cannot take the answer with them.
async fn claim_now(owner: &Owner, fetch: Fetch) -> Result<Decided, PortError> {
    let (answer, answered) = oneshot::channel();
    let owner = owner.clone();
    let claim = async move {
        let decided = owner.ports.propose(&owner.caller, fetch).await;
        let claimed = decided.map(|Decided { index, reply }| match reply {
            Reply::Fetched(jobs) => Decided { index, reply: Ok(Claimed { index, jobs, owner }) },
            other => Decided { index, reply: Err(other) },
        });
        // Refused or unread, the claim is dropped, which gives the jobs back.
        drop(answer.send(claimed));
    };
    tokio::spawn(trace::carry(claim));
    let Decided { index, reply } = answered.await.unwrap_or(Err(PortError::Unknown))?;
    Ok(match reply {
        Ok(mut claimed) => Decided { index, reply: Reply::Fetched(std::mem::take(&mut claimed.jobs)) },
        Err(reply) => Decided { index, reply },
    })
}
