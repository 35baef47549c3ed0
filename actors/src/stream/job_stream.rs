// SPDX-License-Identifier: Apache-2.0
//! One open stream.

use std::collections::{BTreeMap, VecDeque};
use std::future::{Future, pending};
use std::pin::Pin;
use std::time::Duration;

use jobbie_broker::command::{Fetch, HeartbeatItem};
use jobbie_broker::event::JobEvent;
use jobbie_broker::reply::LeasedJob;
use jobbie_broker::{Change, Event, Job, Name, Reply};
use tokio::sync::watch;
use tokio::time::Instant;

use super::out::{Out, alive};
use super::registry::Registration;
use super::{StreamNews, StreamRequest};
use crate::dispatch::Topic;
use crate::dispatch::subscription::{News, Subscription};
use crate::ports::{Caller, Decided, Owner, PortError, Ports};

/// How long one fetch waits before the next; the stream itself has no end.
const WAIT: Duration = Duration::from_secs(60);
/// After a fetch that was refused because something restarts or is full.
const AGAIN: Duration = Duration::from_millis(100);
/// No job goes out in one piece with others beyond this many bytes of payload.
const MAX_BYTES: u32 = 16 * 1024 * 1024;

/// Events that are heeded before anything else gets its turn; as many as a subscription holds.
const AT_ONCE: usize = 1024;

type Fetching = Pin<Box<dyn Future<Output = Result<Decided, PortError>> + Send>>;

/// One open stream. Dropping it gives back what was not delivered.
pub struct JobStream {
    ports: Ports,
    caller: Caller,
    request: StreamRequest,
    subscription: Subscription,
    registration: Option<Registration>,
    stopping: watch::Receiver<bool>,
    out: Out,
    /// Claimed and not delivered yet, and other news.
    ready: VecDeque<StreamNews>,
    fetching: Option<Fetching>,
    /// News of leases that are not out yet: it may have come before the answer to the fetch they belong to.
    early: VecDeque<JobEvent>,
    /// Events were lost and what they said could not be read yet.
    compare_due: bool,
    fetch_not_before: Instant,
    keep_alive_at: Instant,
    draining: bool,
    ended: bool,
}

/// What a stream deals with next.
enum Turn {
    End,
    Fetched(Result<Decided, PortError>),
    News(News),
    KeepAlive,
    /// A fetch may be tried again.
    Credit,
}

impl JobStream {
    pub(crate) async fn open(
        ports: Ports,
        caller: Caller,
        request: StreamRequest,
    ) -> Result<Self, PortError> {
        let named = !request.worker.is_empty();
        // A worker without a name gets one for the length of this stream: its events are found by it.
        let request = StreamRequest {
            worker: if named { request.worker } else { anonymous() },
            prefetch: request.prefetch.max(1),
            concurrency: request.concurrency.max(1),
            ..request
        };
        let topic = Topic::Worker { namespace: caller.namespace.clone(), worker: request.worker.clone() };
        let subscription = ports.subscribe_to_all(vec![topic], None);
        let registration = named.then(|| ports.inner().streams.enter(&caller.namespace, &request.worker));
        let now = Instant::now();
        let mut stream = Self {
            stopping: ports.stopping(),
            keep_alive_at: now + third(&request),
            fetch_not_before: now,
            ports,
            caller,
            request,
            subscription,
            registration,
            out: Out::default(),
            ready: VecDeque::new(),
            fetching: None,
            early: VecDeque::new(),
            compare_due: false,
            draining: false,
            ended: false,
        };
        stream.adopt().await?;
        Ok(stream)
    }

    /// Takes over the leases of an earlier stream of this worker.
    async fn adopt(&mut self) -> Result<(), PortError> {
        let Some(registration) = &self.registration else { return Ok(()) };
        self.ports.inner().streams.settled().await;
        let index = self.ports.applied_index();
        let mine = self.leases().await?;
        registration.adopted(index);
        let mut beats = Vec::new();
        for leased in mine {
            if self.out.add(&leased, self.request.concurrency as usize) {
                beats.extend(leased.job.state.lease().map(|lease| alive(&leased.job.id(), lease.token)));
                self.ready.push_back(StreamNews::Job { index, leased: Box::new(leased), adopted: true });
            }
        }
        // Connecting is a sign of life.
        self.beat(beats).await;
        Ok(())
    }

    /// The leases of this worker that were granted to a stream of these queues.
    async fn leases(&self) -> Result<Vec<LeasedJob>, PortError> {
        let (namespace, worker) = (self.caller.namespace.clone(), self.request.worker.clone());
        let (queues, limit) = (self.request.queues.clone(), self.request.prefetch as usize);
        let of_these = move |job: &Job| {
            let of_stream = job.state.lease().is_some_and(|lease| lease.stream_concurrency.is_some());
            of_stream && queues.contains(&job.queue)
        };
        self.ports.read_everything(move |reader| reader.leases_of(&namespace, &worker, limit, of_these)).await
    }

    /// Signs of life for jobs on this stream. Not heard, they are said again long before the leases end, or
    /// the leases end as they would have.
    async fn beat(&self, beats: Vec<HeartbeatItem>) {
        if !beats.is_empty() {
            let _ = self.ports.heartbeat(&self.caller, beats).await;
        }
    }

    /// The next piece of news; `None` at the end. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<StreamNews> {
        loop {
            if let Some(news) = self.ready.pop_front() {
                return Some(news);
            }
            if self.draining {
                return (!std::mem::replace(&mut self.ended, true)).then_some(StreamNews::Drain);
            }
            self.fetch_if_credit();
            match self.turn().await {
                Turn::End => self.draining = true,
                Turn::Fetched(decided) => self.fetched(decided),
                Turn::News(news) => self.heed(news).await,
                Turn::KeepAlive => self.keep_alive().await,
                Turn::Credit => {}
            }
        }
    }

    /// Waits for whatever comes first. Answers to fetches go before events, which may be about them.
    async fn turn(&mut self) -> Turn {
        let Self { stopping, registration, fetching, subscription, .. } = self;
        let (fetch_not_before, keep_alive_at) = (self.fetch_not_before, self.keep_alive_at);
        let superseded = async {
            match registration {
                Some(registration) => drop((&mut registration.superseded).await),
                None => pending().await,
            }
        };
        let fetched = async {
            match fetching {
                Some(fetching) => Turn::Fetched(fetching.await),
                None if fetch_not_before > Instant::now() => {
                    tokio::time::sleep_until(fetch_not_before).await;
                    Turn::Credit
                }
                None => pending().await,
            }
        };
        tokio::select! {
            biased;
            _ = stopping.wait_for(|stopping| *stopping) => Turn::End,
            () = superseded => Turn::End,
            turn = fetched => turn,
            news = subscription.next() => Turn::News(news),
            () = tokio::time::sleep_until(keep_alive_at) => Turn::KeepAlive,
        }
    }

    fn fetch_if_credit(&mut self) {
        let credit = (self.request.prefetch as usize).saturating_sub(self.out.len());
        if self.fetching.is_some() || credit == 0 || Instant::now() < self.fetch_not_before {
            return;
        }
        let fetch = Fetch {
            queues: self.request.queues.clone(),
            worker: self.request.worker.clone(),
            hostname: self.request.hostname.clone(),
            count: u32::try_from(credit).unwrap_or(u32::MAX),
            max_bytes: MAX_BYTES,
            lease: self.request.lease,
            stream_concurrency: Some(self.request.concurrency),
            request: None,
        };
        let owner = self.owner();
        self.fetching = Some(Box::pin(async move { owner.ports.fetch_for(&owner, fetch, WAIT).await }));
    }

    fn fetched(&mut self, decided: Result<Decided, PortError>) {
        self.fetching = None;
        match decided {
            Ok(Decided { index, reply: Reply::Fetched(jobs) }) => {
                for leased in jobs {
                    if self.out.add(&leased, self.request.concurrency as usize) {
                        self.ready.push_back(StreamNews::Job {
                            index,
                            leased: Box::new(leased),
                            adopted: false,
                        });
                    }
                }
            }
            Ok(_) | Err(_) => self.fetch_not_before = Instant::now() + AGAIN,
        }
        for event in std::mem::take(&mut self.early) {
            self.ready.extend(self.out.heed(&event));
        }
    }

    /// Heeds what has come, and whatever has come with it: credit comes back for many jobs at once, and one claim
    /// uses it.
    async fn heed(&mut self, news: News) {
        let mut next = Some(news);
        for _ in 0..AT_ONCE {
            match next {
                Some(News::Event(numbered)) => self.heed_event(&numbered.event),
                Some(News::Resync) => self.compare().await,
                None => break,
            }
            next = self.subscription.try_next();
        }
        let begun = self.out.begun(self.request.concurrency as usize);
        self.beat(begun).await;
    }

    fn heed_event(&mut self, event: &Event) {
        let Event::Job(event) = event else { return };
        if self.fetching.is_some() && event.change != Change::Started && !self.out.knows(event) {
            // What one claim can bring is at most the prefetch; older news is of other leases.
            if self.early.len() >= self.request.prefetch as usize {
                self.early.pop_front();
            }
            self.early.push_back(event.clone());
        }
        self.ready.extend(self.out.heed(event));
    }

    /// Asks the state itself what has become of the jobs that are out.
    async fn compare(&mut self) {
        let (namespace, jobs) = (self.caller.namespace.clone(), self.out.jobs());
        let rows = self.ports.read_everything(move |reader| {
            jobs.iter().map(|job| reader.job_row(&namespace, job)).collect::<Result<Vec<_>, _>>()
        });
        match rows.await {
            Ok(rows) => self.ready.extend(self.out.compare(&rows)),
            Err(error) => {
                tracing::warn!(%error, "a stream lost events and tries again to see what it missed");
                self.compare_due = true;
            }
        }
    }

    /// Keeps the leases of buffered jobs alive: they have not begun, so nobody else can.
    async fn keep_alive(&mut self) {
        self.keep_alive_at = Instant::now() + third(&self.request);
        if std::mem::take(&mut self.compare_due) {
            self.compare().await;
        }
        self.beat(self.out.buffered(self.request.concurrency as usize)).await;
    }

    fn owner(&self) -> Owner {
        let seat = self.registration.as_ref().map(Registration::seat);
        Owner { ports: self.ports.clone(), caller: self.caller.clone(), seat }
    }
}

impl Drop for JobStream {
    fn drop(&mut self) {
        let mut undelivered: BTreeMap<u64, Vec<LeasedJob>> = BTreeMap::new();
        for news in self.ready.drain(..) {
            if let StreamNews::Job { index, leased, adopted: false } = news {
                undelivered.entry(index).or_default().push(*leased);
            }
        }
        for (index, jobs) in undelivered {
            self.owner().give_back_soon(index, jobs);
        }
    }
}

fn third(request: &StreamRequest) -> Duration {
    Duration::from_millis((request.lease.0 / 3).max(1))
}

/// A name that no worker chooses: a job of a stream without a name can still be told apart.
fn anonymous() -> Name {
    format!("stream-{:016x}", fastrand::u64(..)).into()
}
