// SPDX-License-Identifier: Apache-2.0
//! The wiring: open the store, start the tree, install the enterprise features, serve HTTP; and stop it all
//! in reverse.

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use jobbie_actors::supervise::{ChildSpec, task};
use jobbie_actors::trace::Tracer;
use jobbie_actors::{Node, Ports, Settings};
use jobbie_enterprise::Wiring;
use jobbie_store::{Durability, Options};
use jobbie_web::{Limits, Seams, Tls, WebConfig};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::config::Config;
use crate::first_key;
use crate::telemetry::{self, otlp::Prepared};

/// How long applying a log that the state is far behind may take: minutes for the largest one.
const RECOVERY: Duration = Duration::from_secs(600);
/// What stops after HTTP (actors, Raft, the log) takes a fraction of this. All of it together gets four times as
/// much, so that with the default grace a server is gone before `docker stop` kills it after 10 s.
const REST: Duration = Duration::from_secs(1);

/// Runs a server until it is told to stop, or cannot go on.
///
/// # Errors
/// If it cannot be started.
pub fn run(config: Config) -> Result<ExitCode> {
    telemetry::log::to_stderr(config.json_logs);
    without_huge_pages();
    let mut wiring = Wiring::default();
    jobbie_enterprise::install(&mut wiring);
    let Wiring { extensions, seams } = wiring;
    let web = web_config(&config);
    jobbie_web::check(&web)?;
    let store = Options { durability: config.durability, ..Options::new(&config.data_dir) };
    if let Some(plan) = config.fault {
        jobbie_store::fault_point::arm(Some(plan));
    }
    let telemetry = config.otlp_endpoint.clone().map(Prepared::new);
    let tracer = telemetry.as_ref().map_or_else(Tracer::default, |otlp| otlp.tracer(config.trace_share));
    let settings = Settings {
        retention: config.retention,
        retention_count: config.retention_count,
        disk_reserve: config.disk_reserve,
        tracer,
        ..Settings::new(store)
    };
    let node = Node::open(&settings)
        .with_context(|| format!("the data directory {} cannot be opened", config.data_dir.display()))?;
    if config.durability == Durability::Relaxed {
        tracing::warn!(
            "durability is relaxed: a crash of the machine may lose the last 100 ms of acknowledged writes"
        );
    }
    let ports = node.ports().clone();
    let telemetry = telemetry.map(|otlp| otlp.start(ports.clone())).transpose()?;
    let (listening, bound) = watch::channel(None);
    let http = http(web, config.clone(), ports.clone(), seams, listening);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async move {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut hangup = signal(SignalKind::hangup())?;
        let tree = node.start(&extensions, http)?;
        let told = async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        let announce = async {
            let ready = tree.ready().await.is_ok();
            if let Some(door) = bound.borrow().as_ref().filter(|_| ready) {
                let (scheme, address) = (if door.tls.is_some() { "https" } else { "http" }, door.address);
                println!("listening on {scheme}://{address}");
                tracing::info!(%address, data_dir = %config.data_dir.display(), "ready");
            }
            loop {
                hangup.recv().await;
                match bound.borrow().as_ref().and_then(|door| door.tls.clone()) {
                    Some(tls) => tls.reload(),
                    None => tracing::info!("SIGHUP reads certificates again, and this server has none"),
                }
            }
        };
        let exit = tokio::select! {
            exit = tree.wait() => exit,
            () = announce => unreachable!("announcing goes on for ever"),
            () = told => {
                tracing::info!(grace = ?config.shutdown_grace, "stopping");
                match tokio::time::timeout(config.shutdown_grace + REST * 4, tree.stop()).await {
                    Ok(exit) => exit,
                    Err(_) => {
                        tracing::error!("something does not stop and is left behind; what was acknowledged is safe");
                        return Ok(ExitCode::FAILURE);
                    }
                }
            }
        };
        if let Some(telemetry) = telemetry {
            telemetry.stop().await;
        }
        if exit.code != 0 {
            tracing::error!(reason = %exit.reason, "the server cannot go on; what was acknowledged is safe");
        }
        Ok(ExitCode::from(exit.code))
    })
}

/// The allocator asks for huge pages, and the kernel gives 2 MiB at once for the first byte that is touched. That is half
/// of an idle server's memory and a sixth of a busy one's, and none of its speed (docs/performance.md).
#[cfg(target_os = "linux")]
fn without_huge_pages() {
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        tracing::debug!(%error, "huge pages stay on: more memory is used than needed");
    }
}

#[cfg(not(target_os = "linux"))]
fn without_huge_pages() {}

/// The settings of the HTTP server.
fn web_config(config: &Config) -> WebConfig {
    WebConfig {
        bind: vec![config.bind],
        base_path: config.base_path.clone(),
        limits: Limits { payload: config.max_payload, retention: config.retention, ..Limits::default() },
        workers: config.http_workers,
        slow_request: config.slow_request,
        max_connections: connections(),
        // The rest of the API works while every stream that may be open is.
        max_streams: (connections() / 4 * 3).min(10_000),
        tls: config.tls.clone(),
        trusted_proxies: config.trusted_proxies.clone(),
        shutdown_grace: config.shutdown_grace,
        insecure_no_auth: config.insecure_no_auth,
        public_metrics: config.public_metrics,
        debug: config.debug_routes,
    }
}

/// Files that everything but connections may need: the database's tables and journals, the log's segments.
const OTHER_FILES: u64 = 1_024;
/// Connections that are worth having on one node.
const MOST_CONNECTIONS: u64 = 25_000;

/// How many connections there may be, so that files do not run out: a server that cannot open its log is down.
/// The process may open as many as the system lets it.
fn connections() -> usize {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // If that is refused, what was allowed before counts.
    let _ = setrlimit(Resource::Nofile, limit);
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let connections = files.saturating_sub(OTHER_FILES).max(files / 2).min(MOST_CONNECTIONS);
    usize::try_from(connections).unwrap_or(usize::MAX)
}

/// Where the server can be reached.
#[derive(Clone)]
struct Door {
    address: std::net::SocketAddr,
    tls: Option<Tls>,
}

/// The HTTP server as a child of the tree.
fn http(
    web: WebConfig,
    config: Config,
    ports: Ports,
    seams: Seams,
    listening: watch::Sender<Option<Door>>,
) -> ChildSpec {
    let grace = web.shutdown_grace;
    task("http", move |start| {
        let (web, config, ports) = (web.clone(), config.clone(), ports.clone());
        let (seams, listening) = (seams.clone(), listening.clone());
        async move {
            // What is answered before this node has applied its log would be of the past.
            tokio::select! {
                () = ports.leading() => {}
                () = start.stopping() => return Ok(()),
            }
            first_key::provide(&ports, &config)
                .await
                .map_err(|error| io::Error::other(format!("{error:#}")))?;
            let server = jobbie_web::bind(web, ports.clone(), seams)?;
            let address = server.addresses()?.first().copied();
            listening.send_replace(address.map(|address| Door { address, tls: server.tls() }));
            let stopping = start.stopping();
            start.ready();
            let stop = async {
                stopping.await;
                // Streams and long polls end by themselves when they are told, whatever it is that stops the server.
                ports.begin_stopping();
            };
            server.run(stop).await
        }
    })
    .family("http")
    .start_timeout(RECOVERY)
    .stop_timeout(grace + REST)
}
