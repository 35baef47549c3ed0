// SPDX-License-Identifier: Apache-2.0
//! Sends spans and metrics to an OpenTelemetry collector: OTLP over HTTP, encoded as protobuf.
//!
//! ```text
//! whoever answers ──try──► queue of 4,096 ──► thread `otlp`: batch, encode, POST ──► collector
//!                  full? counted, dropped           └─ every 15 s: what /metrics says
//! ```
//!
//! A collector that is away, slow or wrong costs a counter: the queue is bounded, nobody waits for it, and what does
//! not fit is dropped and counted in `jobbie_otlp_items_total`. All of it runs on one thread of its own.

mod points;
mod protobuf;
mod resource;
mod spans;

use std::io;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jobbie_actors::Ports;
use jobbie_actors::ports::{Caller, Metrics};
use jobbie_actors::trace::{Span, SpanSink, Tracer};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, timeout, timeout_at};

use crate::client::{Base, Conn};
use resource::Resource;

/// Spans that wait to be sent: a second of them at 4,000 a second, about 2 MB.
const QUEUE: usize = 4_096;
/// Spans in one request, as in OpenTelemetry's own libraries.
const BATCH: usize = 512;
/// How long the first span of a batch waits for others.
const GATHER: Duration = Duration::from_secs(1);
/// Between two reports of the metrics.
const REPORT: Duration = Duration::from_secs(15);
/// How long the collector may take to answer.
const ANSWER: Duration = Duration::from_secs(5);
/// Pauses before a request is tried again.
const AGAIN: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(2)];
/// What may be sent after the server has stopped.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// A collector's answer is short.
const MAX_ANSWER: usize = 64 << 10;

/// Where the spans of a server wait.
struct Sink {
    queue: mpsc::Sender<Span>,
    metrics: OnceLock<Arc<Metrics>>,
}

impl SpanSink for Sink {
    fn ended(&self, span: Span) {
        if self.queue.try_send(span).is_err()
            && let Some(metrics) = self.metrics.get()
        {
            metrics.exported("spans", "dropped", 1);
        }
    }
}

/// Telemetry that has a tracer but is not sent yet.
pub struct Prepared {
    endpoint: Base,
    sink: Arc<Sink>,
    spans: mpsc::Receiver<Span>,
}

/// Telemetry that is being sent.
pub struct Running {
    stop: watch::Sender<bool>,
    ended: watch::Receiver<bool>,
}

impl Prepared {
    /// The queue in front of a collector.
    pub fn new(endpoint: Base) -> Self {
        let (queue, spans) = mpsc::channel(QUEUE);
        Self { endpoint, sink: Arc::new(Sink { queue, metrics: OnceLock::new() }), spans }
    }

    /// The tracer that fills it with this share of the traces that begin here.
    pub fn tracer(&self, share: f64) -> Tracer {
        Tracer::new(self.sink.clone(), share)
    }

    /// Begins to send.
    ///
    /// # Errors
    /// If the operating system gives no thread.
    pub fn start(self, ports: Ports) -> io::Result<Running> {
        let Self { endpoint, sink, spans } = self;
        let _ = sink.metrics.set(ports.metrics().clone());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopping) = watch::channel(false);
        let (end, ended) = watch::channel(false);
        let exporter =
            Exporter { collector: Collector::new(endpoint), ports, spans, stopping, reachable: true };
        std::thread::Builder::new().name("otlp".to_owned()).spawn(move || {
            runtime.block_on(exporter.run());
            end.send_replace(true);
        })?;
        Ok(Running { stop, ended })
    }
}

impl Running {
    /// Sends what is left, and waits for that at most a second.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        // Out of time or a dead thread: what was not sent is lost, as it would be without a collector.
        let _ = timeout(LAST_WORDS, self.ended.wait_for(|ended| *ended)).await;
    }
}

struct Exporter {
    collector: Collector,
    ports: Ports,
    spans: mpsc::Receiver<Span>,
    stopping: watch::Receiver<bool>,
    /// Whether the last request arrived: only a change is worth a line in the log.
    reachable: bool,
}

impl Exporter {
    async fn run(mut self) {
        let Ok(info) = self.ports.info().await else {
            tracing::error!("no telemetry is sent: the node does not know its identity");
            return;
        };
        let resource = Resource { node_id: info.node_id };
        let mut report = tokio::time::interval(REPORT);
        report.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut stopping = self.stopping.clone();
        loop {
            let mut batch = Vec::with_capacity(BATCH);
            tokio::select! {
                biased;
                _ = stopping.wait_for(|stopping| *stopping) => break,
                _ = report.tick() => self.report(&resource).await,
                count = self.spans.recv_many(&mut batch, BATCH) => {
                    if count == 0 {
                        break;
                    }
                    self.gather(&mut batch).await;
                    self.send_spans(&resource, batch).await;
                }
            }
        }
        self.report(&resource).await;
        let mut rest = Vec::new();
        while let Ok(span) = self.spans.try_recv() {
            rest.push(span);
        }
        if !rest.is_empty() {
            self.send_spans(&resource, rest).await;
        }
    }

    /// Waits a moment for more spans, unless the server stops.
    async fn gather(&mut self, batch: &mut Vec<Span>) {
        let deadline = Instant::now() + GATHER;
        while batch.len() < BATCH && !*self.stopping.borrow() {
            let room = BATCH - batch.len();
            let more = async {
                tokio::select! {
                    count = self.spans.recv_many(batch, room) => count > 0,
                    _ = self.stopping.changed() => false,
                }
            };
            if !matches!(timeout_at(deadline, more).await, Ok(true)) {
                return;
            }
        }
    }

    async fn send_spans(&mut self, resource: &Resource, batch: Vec<Span>) {
        let body = spans::request(resource, &batch);
        self.send("spans", "/v1/traces", &body, batch.len() as u64).await;
    }

    async fn report(&mut self, resource: &Resource) {
        let Ok(text) = self.ports.metrics_text(&Caller::broker()).await else { return };
        let nanos = |time: SystemTime| {
            let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
            u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
        };
        let (began, now) = (nanos(self.ports.metrics().began()), nanos(SystemTime::now()));
        let (body, points) = points::request(resource, &text, began, now);
        self.send("metrics", "/v1/metrics", &body, points).await;
    }

    /// Sends a request, again if it failed in a way that may pass, and counts what became of it.
    async fn send(&mut self, signal: &'static str, path: &str, body: &[u8], items: u64) {
        let mut pauses = AGAIN.into_iter();
        let result = loop {
            match self.collector.post(path, body).await {
                Err(Failure::Passing(why)) => match pauses.next() {
                    Some(pause) if !*self.stopping.borrow() => {
                        let _ = timeout(pause, self.stopping.changed()).await;
                    }
                    _ => break Err(why),
                },
                Err(Failure::Lasting(why)) => break Err(why),
                Ok(()) => break Ok(()),
            }
        };
        let outcome = if result.is_ok() { "sent" } else { "dropped" };
        self.ports.metrics().exported(signal, outcome, items);
        let was_reachable = std::mem::replace(&mut self.reachable, result.is_ok());
        match result {
            Ok(()) if !was_reachable => tracing::info!("telemetry arrives at its collector again"),
            Err(why) if was_reachable => {
                tracing::warn!(error = why, "telemetry does not arrive and is dropped until it does");
            }
            _ => {}
        }
    }
}

/// Why a request did not arrive.
enum Failure {
    /// It may the next time.
    Passing(String),
    /// It will not.
    Lasting(String),
}

/// A collector, with a connection that is kept open.
struct Collector {
    at: Base,
    connection: Option<Conn>,
}

impl Collector {
    const fn new(at: Base) -> Self {
        Self { at, connection: None }
    }

    async fn post(&mut self, path: &str, body: &[u8]) -> Result<(), Failure> {
        let head = format!(
            "POST {}{path} HTTP/1.1\r\nhost: {}\r\nuser-agent: jobbie/{}\r\n\
             content-type: application/x-protobuf\r\ncontent-length: {}\r\n\r\n",
            self.at.prefix,
            self.at.authority(),
            env!("CARGO_PKG_VERSION"),
            body.len(),
        );
        let mut request = head.into_bytes();
        request.extend_from_slice(body);
        match timeout(ANSWER, self.exchange(&request)).await {
            Ok(Ok(200..300)) => Ok(()),
            // As the protocol says: these may pass, every other refusal will not.
            Ok(Ok(status @ (429 | 502 | 503 | 504))) => Err(Failure::Passing(format!("status {status}"))),
            Ok(Ok(status)) => Err(Failure::Lasting(format!("status {status}"))),
            Ok(Err(error)) => Err(Failure::Passing(error.to_string())),
            Err(_) => Err(Failure::Passing(format!("no answer within {ANSWER:?}"))),
        }
    }

    async fn exchange(&mut self, request: &[u8]) -> io::Result<u16> {
        let kept = self.connection.take();
        let mut connection = match kept {
            Some(connection) => connection,
            None => Conn::open(&self.at.host, self.at.port, None, ANSWER).await?,
        };
        let mut answer = Vec::new();
        let head = connection.roundtrip(request, &mut answer, MAX_ANSWER).await?;
        self.connection = connection.is_reusable().then_some(connection);
        Ok(head.status)
    }
}
