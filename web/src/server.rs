// SPDX-License-Identifier: Apache-2.0
//! The HTTP server: sockets, threads, and the application on every thread.
//!
//! ```text
//! listener ──accepts──► the thread with the fewest connections ──► a task per connection
//!    │ stops first                                                   TLS → HTTP/1.1 or HTTP/2 → application
//! ```
//!
//! It stops without leaving a request unanswered. Nothing new is accepted; whoever has connected is served;
//! every answer says `Connection: close`, or GOAWAY; what has been quiet for a moment is told that the server
//! stops and closed; and what is not finished within the grace is cut.

mod conn;
mod h2;
mod io;
mod listener;
mod service;
mod tls;
mod worker;

use std::io::Result;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use actix_web::{HttpMessage as _, HttpRequest};
use futures_util::future::join_all;
use jobbie_actors::Ports;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use self::conn::Conn;
use self::listener::Listener;
pub use self::tls::{Tls, TlsFiles};
use self::worker::{Accepted, Load, Served};
use crate::api::stats::Stats;
use crate::body::Bodies;
use crate::call::Web;
use crate::config::WebConfig;
use crate::docs::Docs;
use crate::forwarded::{Origin, Proxies};
use crate::guard::Guard;
use crate::keys::Gate;
use crate::routes::{self, Row};
use crate::seams::Seams;
use crate::shares::Shares;

/// How long threads may take to let go of what was cut.
const CUT: Duration = Duration::from_secs(1);
/// What a client reads for which there is no connection.
const NO_PLACE: &[u8] =
    b"HTTP/1.1 429 Too Many Requests\r\nconnection: close\r\nretry-after: 5\r\ncontent-length: 0\r\n\r\n";

/// What the server is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It serves.
    Serving,
    /// It serves what has begun.
    Stopping,
    /// It has ended; connections that are left are cut.
    Over,
}

/// A server that is bound and not running yet.
pub struct Server {
    web: Arc<Web>,
    rows: Arc<[Row]>,
    sockets: Vec<TcpListener>,
    tls: Option<Tls>,
}

/// Checks what [`bind`] would refuse whatever the machine: so that it can be said before anything is opened.
///
/// # Errors
/// If the base path is not plain, or the certificate cannot be used.
pub fn check(config: &WebConfig) -> Result<()> {
    config.base()?;
    if let Some(files) = &config.tls {
        Tls::load(files)?;
    }
    Ok(())
}

/// Binds the sockets; nothing is accepted before the server runs.
///
/// # Errors
/// If an address cannot be bound, the base path is not plain, the certificate cannot be used, or the server
/// would be open to everybody.
pub fn bind(config: WebConfig, ports: Ports, seams: Seams) -> Result<Server> {
    let base = config.base()?;
    let open = config.is_loopback() || config.insecure_no_auth;
    let keys = Gate::new(ports.clone(), open, config.public_metrics);
    if !open && keys.ring().is_empty() {
        return Err(std::io::Error::new(
            std::io::ErrorKind::InvalidInput,
            "without keys the server listens on loopback only; --insecure-no-auth is the loud way out",
        ));
    }
    let guard = if config.is_loopback() { Guard::Loopback } else { Guard::Anywhere };
    let authorizer = seams.authorizer.clone().unwrap_or_else(|| Arc::new(keys.clone()));
    let tls = config.tls.as_ref().map(Tls::load).transpose()?;
    let sockets = config.bind.iter().map(|address| listener::bind(*address)).collect::<Result<Vec<_>>>()?;
    let mut rows = routes::table();
    if config.debug {
        rows.extend(routes::debug_table());
    }
    rows.extend(seams.extensions.iter().flat_map(|extension| extension.rows()));
    let web = Arc::new(Web {
        docs: Docs::new(&base),
        streams: Shares::new(config.max_streams),
        answers: Shares::new(service::ANSWERS / service::UNIT),
        bodies: Bodies::default(),
        turn: AtomicU64::new(ports.now().0),
        stats: Stats::default(),
        proxies: Proxies::new(config.trusted_proxies.clone()),
        base,
        guard,
        keys,
        authorizer,
        ports,
        seams,
        config,
    });
    Ok(Server { web, rows: rows.into(), sockets, tls })
}

/// Where a request comes from.
#[must_use]
pub fn origin(web: &Web, request: &HttpRequest) -> Origin {
    let secure = conn_of(request).is_some_and(|conn| conn.secure);
    let peer = request.peer_addr().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip());
    web.proxies.origin(peer, secure, request.headers())
}

/// The number of the connection that a request came on.
#[must_use]
pub fn connection(request: &HttpRequest) -> u64 {
    conn_of(request).map_or(0, |conn| conn.id)
}

/// The connection that a request came on; `None` where there is none, as in tests.
fn conn_of(request: &HttpRequest) -> Option<Rc<Conn>> {
    request.conn_data::<Rc<Conn>>().cloned().or_else(|| request.extensions().get::<Rc<Conn>>().cloned())
}

impl Server {
    /// The addresses it listens on, which differ from those asked for where the port was 0.
    ///
    /// # Errors
    /// As the system says.
    pub fn addresses(&self) -> Result<Vec<SocketAddr>> {
        self.sockets.iter().map(TcpListener::local_addr).collect()
    }

    /// The certificate, to have it read again.
    #[must_use]
    pub fn tls(&self) -> Option<Tls> {
        self.tls.clone()
    }

    /// Serves until `stop` resolves, then until what has begun is answered, but no longer than the grace.
    ///
    /// # Errors
    /// If a thread cannot be started or ends by itself.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<()> {
        let grace = self.web.config.shutdown_grace;
        let (phase, watched) = watch::channel(Phase::Serving);
        let mut listeners = self.sockets.into_iter().map(Listener::new).collect::<Result<Vec<_>>>()?;
        let served = Served {
            tls: self.tls.as_ref().map(Tls::acceptor).transpose()?,
            web: self.web.clone(),
            rows: self.rows,
            phase: watched,
        };
        let (pool, mut ended) = Pool::start(&served)?;
        let accepting = join_all(listeners.iter_mut().map(async |listener| {
            loop {
                let (stream, peer) = listener.accept().await;
                pool.give(stream, peer);
            }
        }));
        let certificate = async {
            match &self.tls {
                Some(tls) => tls.watch().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = stop => {}
            end = ended.recv() => return end.unwrap_or(Ok(())).and_then(|()| Err(ended_by_itself())),
            _ = accepting => {}
            () = certificate => {}
        }
        phase.send_replace(Phase::Stopping);
        join_all(listeners.into_iter().map(|listener| listener.close(|s, peer| pool.give(s, peer)))).await;
        drop(pool);
        let all_ended = async {
            while let Some(end) = ended.recv().await {
                end?;
            }
            Ok(())
        };
        let mut all_ended = std::pin::pin!(all_ended);
        if let Ok(end) = timeout(grace, &mut all_ended).await {
            return end;
        }
        tracing::warn!(?grace, "some calls did not end within the grace and are cut");
        phase.send_replace(Phase::Over);
        timeout(CUT, all_ended).await.unwrap_or(Ok(()))
    }
}

fn ended_by_itself() -> std::io::Error {
    std::io::Error::other("a thread of the HTTP server ended by itself")
}

/// The threads.
struct Pool {
    web: Arc<Web>,
    threads: Vec<(mpsc::UnboundedSender<Accepted>, Arc<AtomicUsize>)>,
    places: Shares,
    next: AtomicU64,
    is_plain: bool,
}

impl Pool {
    /// Starts the threads; what is received is how each of them ended.
    fn start(served: &Served) -> Result<(Self, mpsc::UnboundedReceiver<Result<()>>)> {
        let config = &served.web.config;
        let (ended, ends) = mpsc::unbounded_channel();
        let mut threads = Vec::with_capacity(config.workers);
        for number in 0..config.workers.max(1) {
            let (give, incoming) = mpsc::unbounded_channel();
            let (served, end) = (served.clone(), End(Some(ended.clone())));
            std::thread::Builder::new()
                .name(format!("http {number}"))
                .spawn(move || end.say(worker::run(served, incoming)))?;
            threads.push((give, Arc::default()));
        }
        let places = Shares::new(config.max_connections);
        let (web, is_plain) = (served.web.clone(), served.tls.is_none());
        Ok((Self { web, threads, places, next: AtomicU64::new(1), is_plain }, ends))
    }

    /// Gives a connection to the thread that has the fewest.
    fn give(&self, stream: TcpStream, peer: SocketAddr) {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let client = (!self.web.proxies.trusts(peer.ip())).then(|| peer.ip());
        let Ok(place) = self.places.take(client, 1) else {
            if self.is_plain {
                // There is room for this in a buffer that nothing has been written to; if not, it is closed.
                let _ = std::io::Write::write(&mut &stream, NO_PLACE);
            }
            return;
        };
        // Equal ones in turn, so that connections that come and go do not all meet on the first thread.
        let start = usize::try_from(id).unwrap_or_default() % self.threads.len();
        let (later, sooner) = self.threads.split_at(start);
        let threads = sooner.iter().chain(later);
        if let Some((give, load)) = threads.min_by_key(|(_, load)| load.load(Ordering::Relaxed)) {
            // An error means that the thread has ended, which ends the server.
            let _ = give.send(Accepted { stream, peer, id, place, load: Load::one(load) });
        }
    }
}

/// Says how a thread ended, also when it panicked.
struct End(Option<mpsc::UnboundedSender<Result<()>>>);

impl End {
    fn say(mut self, end: Result<()>) {
        if let Some(ended) = self.0.take() {
            // Nobody listens when the server has been dropped.
            let _ = ended.send(end);
        }
    }
}

impl Drop for End {
    fn drop(&mut self) {
        if let Some(ended) = self.0.take() {
            let _ = ended.send(Err(ended_by_itself()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body;
    use crate::wire::limits;

    #[test]
    fn the_page_of_limits_has_the_numbers_of_the_code() {
        let page = include_str!("../../docs/limits.md");
        let seconds = |time: Duration| format!("| {} s |", time.as_secs());
        let row = |begin: &str| {
            page.lines().find(|line| line.starts_with(begin)).unwrap_or_else(|| panic!("{begin}"))
        };
        let config = WebConfig::default();
        for (begin, number) in [
            ("| TLS handshake", seconds(conn::HEAD_TIME)),
            ("| first request", seconds(conn::HEAD_TIME)),
            ("| head of a further", seconds(conn::HEAD_TIME)),
            ("| body of a request", seconds(body::BODY_TIME)),
            ("| idle", seconds(conn::IDLE_TIME)),
            ("| an answer of which", seconds(conn::WRITE_TIME)),
            ("| data that", seconds(listener::SILENCE)),
            ("| an HTTP/2 stream", seconds(conn::WRITE_TIME)),
            ("| closing", seconds(conn::CLOSE_TIME)),
            ("| silence", seconds(crate::sse::PING)),
            ("| head in HTTP/2", format!("| {} KiB |", h2::MAX_HEAD / 1024)),
            ("| HTTP/2 streams", format!("| {} |", h2::MAX_STREAMS)),
            ("| nesting", format!("| {} |", limits::MAX_DEPTH)),
            ("| connections", format!("| {},000,", config.max_connections / 1_000)),
            ("| event and job", format!("| {},000,", config.max_streams / 1_000)),
            ("| bodies being", format!("| {} MiB |", body::TOTAL >> 20)),
            ("| answers to reads", format!("| {} MiB |", service::ANSWERS >> 20)),
        ] {
            assert!(row(begin).contains(&number), "{begin}: {number} expected in {}", row(begin));
        }
    }
}
