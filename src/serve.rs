// SPDX-License-Identifier: Apache-2.0
//! The wiring: open the store, start the tree, install the enterprise features, serve HTTP; and stop it all
//! in reverse.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use jobbie_actors::supervise::{ChildSpec, task};
use jobbie_actors::trace::Tracer;
use jobbie_actors::{Node, Ports, Settings};
use jobbie_enterprise::Wiring;
use jobbie_store::{Durability, Options};
use jobbie_web::{Limits, Seams, WebConfig};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::config::Config;
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
    let mut wiring = Wiring::default();
    jobbie_enterprise::install(&mut wiring);
    let Wiring { extensions, seams } = wiring;
    let web = web_config(&config);
    jobbie_web::check(&web, &seams)?;
    let store = Options { durability: config.durability, ..Options::new(&config.data_dir) };
    let telemetry = config.otlp_endpoint.clone().map(Prepared::new);
    let tracer = telemetry.as_ref().map_or_else(Tracer::default, |otlp| otlp.tracer(config.trace_share));
    let node = Node::open(&Settings { retention: config.retention, tracer, ..Settings::new(store) })
        .with_context(|| format!("the data directory {} cannot be opened", config.data_dir.display()))?;
    if config.durability == Durability::Relaxed {
        tracing::warn!(
            "durability is relaxed: a crash of the machine may lose the last 100 ms of acknowledged writes"
        );
    }
    let ports = node.ports().clone();
    let telemetry = telemetry.map(|otlp| otlp.start(ports.clone())).transpose()?;
    let (listening, bound) = watch::channel(None);
    let http = http(web, ports.clone(), seams, listening);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async move {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let tree = node.start(&extensions, http)?;
        let told = async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        let announce = async {
            if tree.ready().await.is_ok()
                && let Some(address) = *bound.borrow()
            {
                println!("listening on http://{address}");
                tracing::info!(%address, data_dir = %config.data_dir.display(), "ready");
            }
            std::future::pending::<()>().await;
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

/// The settings of the HTTP server.
fn web_config(config: &Config) -> WebConfig {
    WebConfig {
        bind: vec![config.bind],
        base_path: config.base_path.clone(),
        limits: Limits { payload: config.max_payload, ..Limits::default() },
        workers: config.http_workers,
        slow_request: config.slow_request,
        shutdown_grace: config.shutdown_grace,
        insecure_no_auth: config.insecure_no_auth,
        debug: config.debug_routes,
        ..WebConfig::default()
    }
}

/// The HTTP server as a child of the tree.
fn http(
    web: WebConfig,
    ports: Ports,
    seams: Seams,
    listening: watch::Sender<Option<std::net::SocketAddr>>,
) -> ChildSpec {
    let grace = web.shutdown_grace;
    task("http", move |start| {
        let (web, ports) = (web.clone(), ports.clone());
        let (seams, listening) = (seams.clone(), listening.clone());
        async move {
            // What is answered before this node has applied its log would be of the past.
            tokio::select! {
                () = ports.leading() => {}
                () = start.stopping() => return Ok(()),
            }
            let (server, addresses) = jobbie_web::bind(web, ports.clone(), seams)?;
            listening.send_replace(addresses.first().copied());
            let handle = server.handle();
            let stopping = start.stopping();
            start.ready();
            let serving = tokio::spawn(server);
            stopping.await;
            // Streams and long polls end by themselves when they are told, whatever it is that stops the server.
            ports.begin_stopping();
            handle.stop(true).await;
            serving.await.unwrap_or(Ok(()))
        }
    })
    .family("http")
    .start_timeout(RECOVERY)
    .stop_timeout(grace + REST)
}
