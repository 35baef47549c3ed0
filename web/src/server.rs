// SPDX-License-Identifier: Apache-2.0
//! The HTTP server: sockets, time limits, and the application on every worker.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use actix_web::dev::Server;
use actix_web::{App, HttpServer};
use jobbie_actors::Ports;
use jobbie_actors::ports::forbid_blocking;
use tokio::sync::Semaphore;

use crate::api::stats::Stats;
use crate::body::Bodies;
use crate::call::Web;
use crate::config::WebConfig;
use crate::dispatch;
use crate::docs::Docs;
use crate::guard::Guard;
use crate::routes::{self, Row};
use crate::seams::Seams;

/// How long the head of a request may take to arrive: slow senders are cut off.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// How long a connection may be idle between requests: longer than the minute that proxies keep theirs.
const IDLE_TIME: Duration = Duration::from_secs(75);
/// How long a client may take to read the end of an answer when the connection closes.
const CLOSE_TIME: Duration = Duration::from_secs(3);
/// Connections that wait to be accepted; the kernel lowers it to `net.core.somaxconn`.
const BACKLOG: u32 = 4_096;

/// Checks what [`bind`] would refuse whatever the machine: so that it can be said before anything is opened.
///
/// # Errors
/// If the base path is not plain, or the server would be open to everybody.
pub fn check(config: &WebConfig, seams: &Seams) -> io::Result<()> {
    config.base()?;
    guard(config, seams).map(drop)
}

/// Binds the sockets and builds the server; it answers once the returned future is polled. Also returns the
/// addresses it listens on, which differ from those asked for where the port was 0.
///
/// # Errors
/// If an address cannot be bound, the base path is not plain, or the server would be open to everybody.
pub fn bind(config: WebConfig, ports: Ports, seams: Seams) -> io::Result<(Server, Vec<SocketAddr>)> {
    let base = config.base()?;
    let guard = guard(&config, &seams)?;
    let mut rows = routes::table();
    if config.debug {
        rows.extend(routes::debug_table());
    }
    rows.extend(seams.extensions.iter().flat_map(|extension| extension.rows()));
    let web = Arc::new(Web {
        docs: Docs::new(&base),
        streams: Arc::new(Semaphore::new(config.max_streams.min(Semaphore::MAX_PERMITS))),
        bodies: Bodies::default(),
        turn: AtomicU64::new(ports.now().0),
        stats: Stats::default(),
        base,
        guard,
        ports,
        seams,
        config,
    });
    listen(&web, rows)
}

fn guard(config: &WebConfig, seams: &Seams) -> io::Result<Guard> {
    match (seams.authorizer.is_open(), config.is_loopback()) {
        (false, _) => Ok(Guard::Keys),
        (true, true) => Ok(Guard::Loopback),
        (true, false) if config.insecure_no_auth => Ok(Guard::Anywhere),
        (true, false) => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "without keys the server listens on loopback only; --insecure-no-auth is the loud way out",
        )),
    }
}

fn listen(web: &Arc<Web>, rows: Vec<Row>) -> io::Result<(Server, Vec<SocketAddr>)> {
    let rows: Arc<[Row]> = rows.into();
    let shared = web.clone();
    let app = move || {
        let (web, rows) = (shared.clone(), rows.clone());
        // Called once on each thread that serves connections.
        forbid_blocking("http");
        App::new().configure(move |config| dispatch::mount(config, &web, &rows))
    };
    let mut server = HttpServer::new(app)
        .workers(web.config.workers.max(1))
        .backlog(BACKLOG)
        .tcp_nodelay(true)
        .keep_alive(IDLE_TIME)
        .client_request_timeout(HEAD_TIME)
        .client_disconnect_timeout(CLOSE_TIME)
        // A worker that hangs up in the middle of a stream is gone at once, and so are its undelivered jobs.
        .h1_allow_half_closed(false)
        .shutdown_timeout(web.config.shutdown_grace.as_secs())
        .disable_signals();
    for address in &web.config.bind {
        server = server.bind_auto_h2c(address)?;
    }
    let addresses = server.addrs();
    Ok((server.run(), addresses))
}
