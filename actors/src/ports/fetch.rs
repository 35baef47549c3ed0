// SPDX-License-Identifier: Apache-2.0
//! Fetch with waiting: a claim in the log if there may be something to claim, else parked at the queues.
//!
//! An empty poll writes nothing. The claim of a parked fetch is put into the log by whoever has a job for it: the
//! proposer, in the entry that enqueues the job, or the queue's actor. A caller that goes away while its claim is
//! being committed, or before it has taken the answer, loses nothing: the jobs that it would have got are given
//! back.

use std::time::Duration;

use jobbie_broker::command::{Fetch, LeaseRef, Release, ReleaseItem};
use jobbie_broker::reply::LeasedJob;
use jobbie_broker::{JobRef, QueueKey, Reply, Submission};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{Caller, Decided, PortError, Ports};
use crate::queue::{Chance, Claiming, Parked, Waiter};
use crate::stream::Seat;
use crate::supervise;
use crate::trace;

/// How long to wait before parking again at a queue whose actor is restarting; it takes 2–10 ms.
const AGAIN: Duration = Duration::from_millis(10);

/// The outcome of a claim: jobs, or a reply that is none.
pub(crate) type Claim = Result<Decided<Result<Claimed, Reply>>, PortError>;

/// Jobs that were claimed and have not been taken by the caller yet: given back if nobody does.
pub(crate) struct Claimed {
    index: u64,
    jobs: Vec<LeasedJob>,
    owner: Owner,
}

impl Claimed {
    /// What a claim for `owner` was answered at `index`.
    pub fn of(index: u64, reply: Reply, owner: Owner) -> Result<Self, Reply> {
        match reply {
            Reply::Fetched(jobs) => Ok(Self { index, jobs, owner }),
            other => Err(other),
        }
    }
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
    /// As [`Ports::propose`], and [`PortError::Outside`].
    pub async fn fetch(&self, caller: &Caller, fetch: Fetch, wait: Duration) -> Result<Decided, PortError> {
        // Here too, because who waits proposes nothing.
        fetch.queues.iter().try_for_each(|queue| caller.may_touch(queue))?;
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
        let mut chance = self.is_remembered(&owner.caller, &fetch).await?.then_some(None);
        loop {
            chance = chance.or_else(|| self.inner().queues.try_claim(&keys, fetch.count));
            if let Some(claiming) = chance.take() {
                let span = self.tracer().child("propose");
                let (parked, answered) = parked(owner, &fetch);
                self.claim(parked, claiming);
                let decided = taken(answered).await;
                if let Some(mut span) = span {
                    span.set("jobbie.command", "Fetch");
                    self.tracer().proposed(span, &decided);
                }
                if let Some(decided) = self.delivered(decided?) {
                    return Ok(decided);
                }
            }
            let mut stopping = self.stopping();
            if *stopping.borrow_and_update() || Instant::now() >= deadline {
                return Ok(Decided { index: self.applied_index(), reply: Reply::Fetched(Vec::new()) });
            }
            let (parked, mut answered) = parked(owner, &fetch);
            let waiter = Waiter::new(parked);
            match self.park(&keys, &waiter, fetch.count).await? {
                Chance::Wait => {
                    let claim = trace::waiting(async {
                        tokio::select! {
                            biased;
                            claim = &mut answered => Some(claim),
                            () = tokio::time::sleep_until(deadline) => None,
                            _ = stopping.changed() => None,
                        }
                    });
                    if let Some(claim) = claim.await {
                        match self.delivered(take(claim)?) {
                            Some(decided) => return Ok(decided),
                            None => continue,
                        }
                    }
                    if waiter.withdraw().is_some() {
                        continue;
                    }
                }
                Chance::Claim(claiming) => {
                    if let Some(parked) = waiter.withdraw() {
                        self.claim(parked, Some(claiming));
                    }
                }
                Chance::Closed => {
                    if waiter.withdraw().is_some() {
                        tokio::time::sleep(AGAIN).await;
                        continue;
                    }
                }
            }
            // Its claim is in the log or about to be: what it brings is this call's.
            if let Some(decided) = self.delivered(taken(answered).await?) {
                return Ok(decided);
            }
        }
    }

    /// What a claim brought; `None` if there was no job.
    fn delivered(&self, decided: Decided) -> Option<Decided> {
        if let Reply::Fetched(jobs) = &decided.reply {
            if jobs.is_empty() {
                return None;
            }
            self.tracer().delivered(decided.index, jobs, self.now());
        }
        Some(decided)
    }

    /// Puts a claim into the log.
    fn claim(&self, parked: Parked, claiming: Option<Claiming>) {
        let claim = parked.into_proposal(claiming);
        self.inner().proposer.submit(claim.lane, claim.submission, claim.answer);
    }

    /// True if this call was answered before: the answer is in the log, whatever the queues hold now.
    async fn is_remembered(&self, caller: &Caller, fetch: &Fetch) -> Result<bool, PortError> {
        let Some(key) = fetch.request.clone() else { return Ok(false) };
        let Caller { by, namespace, .. } = caller.clone();
        self.read_everything(move |reader| reader.is_remembered(&namespace, &by, &key)).await
    }

    /// Waits at all of the queues, unless one of them has a chance; `Closed` if one of them is restarting.
    async fn park(&self, keys: &[QueueKey], waiter: &Waiter, count: u32) -> Result<Chance, PortError> {
        for key in keys {
            match self.inner().queues.park(key, waiter, count).await {
                Ok(Chance::Wait) => {}
                Ok(chance) => return Ok(chance),
                Err(supervise::PortError::Overloaded) => return Err(PortError::overloaded()),
                Err(_) => return Ok(Chance::Closed),
            }
        }
        Ok(Chance::Wait)
    }
}

/// A claim and where its outcome comes.
fn parked(owner: &Owner, fetch: &Fetch) -> (Parked, oneshot::Receiver<Claim>) {
    let Caller { by, namespace, scope, .. } = owner.caller.clone();
    let submission = Submission { by, namespace, scope, command: fetch.clone().into() };
    Parked::new(owner.clone(), submission, fetch.count)
}

/// The outcome of a claim that is on its way.
async fn taken(answered: oneshot::Receiver<Claim>) -> Result<Decided, PortError> {
    take(answered.await)
}

fn take(claim: Result<Claim, oneshot::error::RecvError>) -> Result<Decided, PortError> {
    let Decided { index, reply } = claim.unwrap_or(Err(PortError::Unknown))?;
    let reply = match reply {
        Ok(mut claimed) => Reply::Fetched(std::mem::take(&mut claimed.jobs)),
        Err(reply) => reply,
    };
    Ok(Decided { index, reply })
}
