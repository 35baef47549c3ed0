// SPDX-License-Identifier: Apache-2.0
//! How the server is set up: flags over environment over configuration file over defaults.
//!
//! A value that this build cannot honour is refused, a key that it does not know is too: nothing is
//! silently ignored.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use jobbie_broker::Millis;
use jobbie_store::Durability;
use jobbie_store::fault_point::Plan;
use jobbie_web::TlsFiles;
use jobbie_web::forwarded::Network;
use serde::{Deserialize, Serialize};

use crate::cli::when::Span;
use crate::client::Base;
use crate::first_key;

mod listing;

pub use listing::Listing;
#[cfg(test)]
pub use listing::commands_settings;

/// Port of the API.
const PORT: u16 = 8080;
/// Finished jobs are kept for a week.
const RETENTION: Millis = Millis::from_secs(7 * 24 * 3600);
/// What a payload may take.
const MAX_PAYLOAD: usize = 256 * 1024;
/// A payload travels in one log entry; beyond this it would delay everybody else's.
const LARGEST_PAYLOAD: usize = 8 * 1024 * 1024;
/// What is kept free: acks, retries and deletes of minutes, and the snapshot of a state of usual size.
const DISK_RESERVE: u64 = 256 * 1024 * 1024;
/// `docker stop` kills after 10 s; this leaves room for what stops after HTTP.
const GRACE: Duration = Duration::from_secs(5);
/// A healthy call takes milliseconds; a second is what its caller notices.
const SLOW_REQUEST: Duration = Duration::from_secs(1);

/// Flags of `jobbie server`. Each is also an environment variable and a key of the configuration file.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ServerArgs {
    /// Read settings from this TOML file (keys are the flags' names)
    #[arg(long, env = "JOBBIE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    settings: Settings,
}

/// The settings, as flags and as keys of the file.
#[derive(Clone, Debug, Default, Deserialize, Serialize, clap::Args)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Settings {
    /// Address to listen on [default: 127.0.0.1:8080]
    #[arg(long, env = "JOBBIE_BIND", value_name = "ADDRESS:PORT")]
    bind: Option<String>,
    /// Directory for the data [default: ./jobbie-data]
    #[arg(long, env = "JOBBIE_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// fsync: acknowledged means on disk. relaxed: synced in the background, at most 100 ms behind; a crash
    /// of the machine may lose that much [default: fsync]
    #[arg(long, env = "JOBBIE_DURABILITY", value_name = "fsync|relaxed")]
    durability: Option<String>,
    /// Remove finished jobs after this long; `none` keeps them [default: 7d]
    #[arg(long, env = "JOBBIE_RETENTION", value_name = "SPAN")]
    retention: Option<String>,
    /// Keep only the newest N finished jobs of each queue and state; `none` does not count [default: none]
    #[arg(long, env = "JOBBIE_RETENTION_COUNT", value_name = "N")]
    retention_count: Option<String>,
    /// Refuse new jobs when less than this is free on the disk; ack, fail and delete still pass. 0 never
    /// refuses [default: 256MiB]
    #[arg(long, env = "JOBBIE_DISK_RESERVE", value_name = "SIZE")]
    disk_reserve: Option<String>,
    /// Largest payload of a job, 1KiB to 8MiB [default: 256KiB]
    #[arg(long, env = "JOBBIE_MAX_PAYLOAD", value_name = "SIZE")]
    max_payload: Option<String>,
    /// Serve everything below this path, behind a proxy [default: /]
    #[arg(long, env = "JOBBIE_BASE_PATH", value_name = "PATH")]
    base_path: Option<String>,
    /// Certificate for HTTPS in PEM, with those that lead to the root behind it; read again when it changes
    #[arg(long, env = "JOBBIE_TLS_CERT", value_name = "FILE")]
    tls_cert: Option<PathBuf>,
    /// Private key of the certificate in PEM
    #[arg(long, env = "JOBBIE_TLS_KEY", value_name = "FILE")]
    tls_key: Option<PathBuf>,
    /// Believe what proxies in this network say about their clients (X-Forwarded-For, Forwarded); repeatable
    #[arg(long, env = "JOBBIE_TRUSTED_PROXY", value_name = "CIDR", value_delimiter = ',')]
    #[serde(default)]
    trusted_proxy: Vec<String>,
    /// Threads that answer HTTP [default: one per core]
    #[arg(long, env = "JOBBIE_HTTP_WORKERS", value_name = "N")]
    http_workers: Option<usize>,
    /// How long calls that are under way may take to finish when the server stops [default: 5s]
    #[arg(long, env = "JOBBIE_SHUTDOWN_GRACE", value_name = "SPAN")]
    shutdown_grace: Option<String>,
    /// text or json [default: text]
    #[arg(long, env = "JOBBIE_LOG_FORMAT", value_name = "text|json")]
    log_format: Option<String>,
    /// Log a request that takes this long, without what its caller asked to wait; `none` logs none [default: 1s]
    #[arg(long, env = "JOBBIE_SLOW_REQUEST", value_name = "SPAN")]
    slow_request: Option<String>,
    /// Send spans and metrics to the OpenTelemetry collector at this address, as OTLP over HTTP [default: none]
    #[arg(long, env = "JOBBIE_OTLP_ENDPOINT", value_name = "URL")]
    otlp_endpoint: Option<String>,
    /// Share of the traces that begin here to be recorded, 0 to 1; a caller's trace is, if the caller records it
    /// [default: 1]
    #[arg(long, env = "JOBBIE_TRACE_SHARE", value_name = "SHARE")]
    trace_share: Option<f64>,
    /// Where to read the admin key from: it is made one at the start, in place of the one that it named before.
    /// JOBBIE_ADMIN_KEY is the key itself
    #[arg(long, env = "JOBBIE_ADMIN_KEY_FILE", value_name = "FILE")]
    admin_key_file: Option<PathBuf>,
    /// Show the metrics to everybody, also once there are API keys
    #[arg(long, env = "JOBBIE_PUBLIC_METRICS", value_name = "true|false", num_args = 0..=1, default_missing_value = "true")]
    public_metrics: Option<bool>,
    /// Listen on an address that others can reach without an API key, so that anybody who reaches it may do anything
    #[arg(long, env = "JOBBIE_INSECURE_NO_AUTH", value_name = "true|false", num_args = 0..=1, default_missing_value = "true")]
    insecure_no_auth: Option<bool>,
}

/// A checked configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Address to listen on; port 0 takes a free one.
    pub bind: SocketAddr,
    /// Directory for the data.
    pub data_dir: PathBuf,
    /// What acknowledged means.
    pub durability: Durability,
    /// Finished jobs are removed after this long; `None` keeps them.
    pub retention: Option<Millis>,
    /// Of each queue's finished jobs in each state that many stay; `None` does not count.
    pub retention_count: Option<u64>,
    /// Free bytes of the disk below which new jobs are refused; 0 never refuses.
    pub disk_reserve: u64,
    /// Largest payload in bytes.
    pub max_payload: usize,
    /// Everything is below this path; the HTTP server checks it.
    pub base_path: String,
    /// Certificate and key for HTTPS.
    pub tls: Option<TlsFiles>,
    /// Networks of proxies that are believed.
    pub trusted_proxies: Vec<Network>,
    /// Threads that answer HTTP.
    pub http_workers: usize,
    /// How long calls under way may take when the server stops.
    pub shutdown_grace: Duration,
    /// Log lines as JSON.
    pub json_logs: bool,
    /// Requests that take this long are logged; `None` logs none.
    pub slow_request: Option<Duration>,
    /// The collector that spans and metrics are sent to.
    pub otlp_endpoint: Option<Base>,
    /// Share of the traces that begin here to be recorded.
    pub trace_share: f64,
    /// Listen where others can reach it although there are no keys.
    pub insecure_no_auth: bool,
    /// Show the metrics to everybody.
    pub public_metrics: bool,
    /// The admin key that the environment or a file names.
    pub admin_key: Option<first_key::Chosen>,
    /// Routes for tests of crashes; only by an environment variable, never by file or flag.
    pub debug_routes: bool,
    /// Where the store fails from the start, for the same tests and by the same way only.
    pub fault: Option<Plan>,
}

impl ServerArgs {
    /// Puts flags, environment, file and defaults together and checks them.
    ///
    /// # Errors
    /// With a sentence that names the setting and what is allowed.
    pub fn load(self) -> Result<Config> {
        let file = match &self.config {
            Some(path) => read_file(path)?,
            None => Settings::default(),
        };
        let debug_routes = std::env::var("JOBBIE_DEBUG_ROUTES").is_ok_and(|value| value == "1");
        // By no flag: what a process was started with is there for all to see.
        let admin_key = std::env::var("JOBBIE_ADMIN_KEY").ok();
        let settings = self.settings.or(file);
        let admin_key = first_key::chosen(admin_key, settings.admin_key_file.as_deref())?;
        let fault = match std::env::var("JOBBIE_DEBUG_FAULT") {
            Ok(plan) if debug_routes => Some(plan.parse().map_err(anyhow::Error::msg)?),
            _ => None,
        };
        Ok(Config { debug_routes, admin_key, fault, ..settings.check()? })
    }
}

fn read_file(path: &Path) -> Result<Settings> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("the configuration file {} cannot be read", path.display()))?;
    toml::from_str(&text).with_context(|| format!("the configuration file {} is not valid", path.display()))
}

impl Settings {
    /// These settings, and the other's where these say nothing.
    fn or(self, other: Self) -> Self {
        Self {
            bind: self.bind.or(other.bind),
            data_dir: self.data_dir.or(other.data_dir),
            durability: self.durability.or(other.durability),
            retention: self.retention.or(other.retention),
            retention_count: self.retention_count.or(other.retention_count),
            disk_reserve: self.disk_reserve.or(other.disk_reserve),
            max_payload: self.max_payload.or(other.max_payload),
            base_path: self.base_path.or(other.base_path),
            tls_cert: self.tls_cert.or(other.tls_cert),
            tls_key: self.tls_key.or(other.tls_key),
            trusted_proxy: if self.trusted_proxy.is_empty() {
                other.trusted_proxy
            } else {
                self.trusted_proxy
            },
            http_workers: self.http_workers.or(other.http_workers),
            shutdown_grace: self.shutdown_grace.or(other.shutdown_grace),
            log_format: self.log_format.or(other.log_format),
            slow_request: self.slow_request.or(other.slow_request),
            otlp_endpoint: self.otlp_endpoint.or(other.otlp_endpoint),
            trace_share: self.trace_share.or(other.trace_share),
            insecure_no_auth: self.insecure_no_auth.or(other.insecure_no_auth),
            public_metrics: self.public_metrics.or(other.public_metrics),
            admin_key_file: self.admin_key_file.or(other.admin_key_file),
        }
    }

    fn check(self) -> Result<Config> {
        Ok(Config {
            bind: self.bind.as_deref().map_or(Ok((Ipv4Addr::LOCALHOST, PORT).into()), address)?,
            data_dir: self.data_dir.unwrap_or_else(|| "jobbie-data".into()),
            durability: match self.durability.as_deref() {
                None | Some("fsync") => Durability::Fsync,
                Some("relaxed") => Durability::Relaxed,
                Some(other) => bail!("durability is fsync or relaxed, not {other}"),
            },
            retention: match self.retention.as_deref() {
                None => Some(RETENTION),
                Some("none") => None,
                Some(text) => Some(Millis(u64::try_from(span("retention", text)?.as_millis())?)),
            },
            retention_count: match self.retention_count.as_deref() {
                None | Some("none") => None,
                Some(text) => match text.parse() {
                    Ok(count) => Some(count),
                    Err(_) => bail!("retention-count is a whole number of jobs or none, not {text}"),
                },
            },
            disk_reserve: self.disk_reserve.as_deref().map_or(Ok(DISK_RESERVE), disk_reserve)?,
            max_payload: self.max_payload.as_deref().map_or(Ok(MAX_PAYLOAD), payload_size)?,
            base_path: self.base_path.unwrap_or_else(|| "/".to_owned()),
            tls: match (self.tls_cert, self.tls_key) {
                (None, None) => None,
                (Some(cert), Some(key)) => Some(TlsFiles { cert, key }),
                (Some(_), None) => bail!("tls-cert needs tls-key, the private key of the certificate"),
                (None, Some(_)) => bail!("tls-key needs tls-cert, the certificate that it belongs to"),
            },
            trusted_proxies: networks(&self.trusted_proxy)?,
            http_workers: match self.http_workers {
                None => std::thread::available_parallelism().map_or(2, Into::into),
                Some(n @ 1..=256) => n,
                Some(n) => bail!("http-workers is from 1 to 256, not {n}"),
            },
            shutdown_grace: match self.shutdown_grace.as_deref() {
                None => GRACE,
                Some(text) => span("shutdown-grace", text)?,
            },
            json_logs: match self.log_format.as_deref() {
                None | Some("text") => false,
                Some("json") => true,
                Some(other) => bail!("log-format is text or json, not {other}"),
            },
            slow_request: match self.slow_request.as_deref() {
                None => Some(SLOW_REQUEST),
                Some("none") => None,
                Some(text) => Some(span("slow-request", text)?),
            },
            otlp_endpoint: self.otlp_endpoint.as_deref().map(collector).transpose()?,
            trace_share: match self.trace_share.unwrap_or(1.0) {
                share if (0.0..=1.0).contains(&share) => share,
                share => bail!("trace-share is from 0 to 1, not {share}"),
            },
            insecure_no_auth: self.insecure_no_auth.unwrap_or(false),
            public_metrics: self.public_metrics.unwrap_or(false),
            admin_key: None,
            debug_routes: false,
            fault: None,
        })
    }
}

fn address(text: &str) -> Result<SocketAddr> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let port = |port: &str| port.parse::<u16>().ok();
    match text.rsplit_once(':') {
        Some(("localhost", p)) if port(p).is_some() => {
            Ok((IpAddr::from(Ipv4Addr::LOCALHOST), port(p).unwrap_or(PORT)).into())
        }
        _ => bail!("bind is an address and a port, as in 127.0.0.1:8080 or [::1]:8080, not {text}"),
    }
}

fn collector(url: &str) -> Result<Base> {
    let expected = "otlp-endpoint is like http://127.0.0.1:4318";
    match url.split_once("://") {
        Some(("http", _)) => Base::parse(url).map_err(|_| anyhow::anyhow!("{expected}, not {url}")),
        Some(("https", _)) => {
            bail!("{expected}: no TLS is spoken to it; let a collector beside the server forward to {url}")
        }
        _ => bail!("{expected}, not {url}"),
    }
}

fn networks(texts: &[String]) -> Result<Vec<Network>> {
    let network =
        |text: &String| text.trim().parse().map_err(|error| anyhow::anyhow!("trusted-proxy: {error}"));
    texts.iter().map(network).collect()
}

fn span(name: &str, text: &str) -> Result<Duration> {
    text.parse::<Span>().map(Span::duration).map_err(|error| anyhow::anyhow!("{name}: {error}"))
}

/// Bytes: a number with B, KiB, MiB, GiB or TiB behind it.
fn bytes(text: &str) -> Option<u64> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let shift = match unit {
        "" | "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        "TiB" => 40,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(1 << shift)
}

fn payload_size(text: &str) -> Result<usize> {
    match bytes(text).and_then(|size| usize::try_from(size).ok()) {
        Some(size @ 1024..=LARGEST_PAYLOAD) => Ok(size),
        _ => bail!("max-payload is from 1KiB to 8MiB, as in 256KiB, not {text}"),
    }
}

fn disk_reserve(text: &str) -> Result<u64> {
    match bytes(text) {
        Some(size) => Ok(size),
        None => bail!("disk-reserve is a size, as in 256MiB, 2GiB or 0, not {text}"),
    }
}

#[cfg(test)]
#[path = "../tests/support/mutate.rs"]
mod mutate;

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(toml: &str) -> Result<Config> {
        toml::from_str::<Settings>(toml)?.check()
    }

    #[test]
    fn an_empty_file_gives_the_defaults() {
        let config = settings("").unwrap();
        assert_eq!(config.bind.to_string(), "127.0.0.1:8080");
        assert_eq!(config.durability, Durability::Fsync);
        assert_eq!(config.retention, Some(RETENTION));
        assert_eq!(config.disk_reserve, 256 << 20);
        assert_eq!(settings("disk-reserve = '2GiB'").unwrap().disk_reserve, 2 << 30);
        assert_eq!((config.max_payload, config.base_path.as_str()), (262_144, "/"));
        assert_eq!((config.otlp_endpoint, config.trace_share), (None, 1.0));
        assert_eq!(config.slow_request, Some(Duration::from_secs(1)));
        assert_eq!(settings("slow-request = 'none'").unwrap().slow_request, None);
    }

    #[test]
    fn the_defaults_that_the_help_states_are_the_defaults() {
        let mut stated = String::new();
        for arg in commands_settings() {
            // Whether it is a number or a text in the file, the types know: one of the two is taken.
            if let Some(default) =
                listing::default_of(&arg).filter(|text| text != "none" && text != "one per core")
            {
                let name = arg.get_long().unwrap();
                let plain = format!("{name} = {default}\n");
                let quoted = format!("{name} = \"{default}\"\n");
                stated += if toml::from_str::<Settings>(&plain).is_ok() { &plain } else { &quoted };
            }
        }
        assert!(stated.lines().count() > 5, "{stated}");
        let (mut given, default) = (settings(&stated).unwrap(), settings("").unwrap());
        // The directory is the same by another name.
        assert_eq!(given.data_dir, Path::new("./jobbie-data"));
        given.data_dir.clone_from(&default.data_dir);
        assert_eq!(given, default, "{stated}");
    }

    #[test]
    fn a_file_that_is_nearly_right_is_refused_or_means_the_same_when_it_is_written_again() {
        let full = "bind = '[::1]:80'\ndata-dir = '/x'\ndurability = 'relaxed'\nretention = 'none'\n\
                    max-payload = '1MiB'\nbase-path = '/a'\nhttp-workers = 4\nshutdown-grace = '250ms'\n\
                    log-format = 'json'\nslow-request = 1\ninsecure-no-auth = true\n";
        let full = full.replace("slow-request = 1", "slow-request = '1'");
        let words =
            ["\n", " = ", "'", "\"", "[", "]", "true", "KiB", "bind", "retention", "localhost:1", "7d"];
        mutate::fuzz("configuration file", &[b"", full.as_bytes()], &words, 20_000, |bytes| {
            let read = |text: &str| toml::from_str::<Settings>(text).map_err(anyhow::Error::from);
            let Ok(settings) = read(&String::from_utf8_lossy(bytes)) else { return false };
            let written = toml::to_string(&settings).unwrap();
            match (settings.check(), read(&written).and_then(Settings::check)) {
                (Ok(one), Ok(other)) => assert_eq!(one, other, "{written}"),
                (Err(one), Err(other)) => assert_eq!(one.to_string(), other.to_string(), "{written}"),
                (one, other) => panic!("{one:?} and {other:?} from {written}"),
            }
            true
        });
    }

    #[test]
    fn flags_win_over_the_file() {
        let file: Settings = toml::from_str("bind = '127.0.0.1:1'\nretention = '1h'").unwrap();
        let flags = Settings { bind: Some("127.0.0.1:2".into()), ..Settings::default() };
        let config = flags.or(file).check().unwrap();
        assert_eq!(config.bind.port(), 2);
        assert_eq!(config.retention, Some(Millis::from_secs(3600)));
    }

    #[test]
    fn what_cannot_be_honoured_is_refused_with_what_is_allowed() {
        for (toml, said) in [
            ("durability = 'none'", "fsync or relaxed"),
            ("bind = 'everywhere'", "127.0.0.1:8080"),
            ("retention = 'soon'", "retention"),
            ("max-payload = '1GiB'", "1KiB to 8MiB"),
            ("retention-count = '-1'", "whole number"),
            ("disk-reserve = '10%'", "256MiB, 2GiB or 0"),
            ("disk-reserve = '99999999TiB'", "256MiB, 2GiB or 0"),
            ("http-workers = 0", "1 to 256"),
            ("log-format = 'xml'", "text or json"),
            ("slow-request = 'x'", "slow-request"),
            ("otlp-endpoint = 'localhost:4318'", "http://127.0.0.1:4318"),
            ("otlp-endpoint = 'http://user@host'", "http://127.0.0.1:4318"),
            ("otlp-endpoint = 'https://collector'", "no TLS"),
            ("trace-share = 1.5", "from 0 to 1"),
            ("tls-cert = 'c.pem'", "tls-key"),
            ("tls-key = 'k.pem'", "tls-cert"),
            ("trusted-proxy = ['10.0.0.0/33']", "10.0.0.0/8"),
            ("durabilty = 'fsync'", "unknown field `durabilty`"),
        ] {
            let error = format!("{:#}", settings(toml).unwrap_err());
            assert!(error.contains(said), "{toml}: {error}");
        }
    }
}
