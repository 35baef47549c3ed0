// SPDX-License-Identifier: Apache-2.0
//! HTTPS: which protocol, whose certificate, and what happens when it is renewed, well or badly.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Launch, Request, SOON, Server, h2};

/// An authority, and the files of a server whose certificate comes from it.
struct Files {
    dir: TempDir,
    authority: CertifiedIssuer<'static, KeyPair>,
}

impl Files {
    fn new() -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let files = Self { dir: tempfile::tempdir().unwrap(), authority };
        fs::write(files.path("ca.pem"), files.authority.pem()).unwrap();
        files.issue();
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn cert(&self) -> PathBuf {
        self.path("cert.pem")
    }

    fn key(&self) -> PathBuf {
        self.path("key.pem")
    }

    /// Writes a new certificate and its key; the certificate.
    fn issue(&self) -> CertificateDer<'static> {
        let key = KeyPair::generate().unwrap();
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let cert = CertificateParams::new(names).unwrap().signed_by(&key, &self.authority).unwrap();
        fs::write(self.cert(), cert.pem()).unwrap();
        fs::write(self.key(), key.serialize_pem()).unwrap();
        fs::set_permissions(self.key(), fs::Permissions::from_mode(0o600)).unwrap();
        cert.der().clone()
    }

    fn launch(&self) -> Launch {
        Launch::new().secure(&self.cert(), &self.key())
    }

    fn connect(&self, addr: SocketAddr, protocols: &[&str]) -> StreamOwned<ClientConnection, TcpStream> {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        let socket = TcpStream::connect(addr).unwrap();
        socket.set_read_timeout(Some(SOON)).unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let mut stream = StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), socket);
        stream.conn.complete_io(&mut stream.sock).unwrap();
        stream
    }

    /// The certificate that the server shows now.
    fn shown(&self, server: &Server) -> CertificateDer<'static> {
        self.connect(server.addr(), &[]).conn.peer_certificates().unwrap()[0].clone().into_owned()
    }
}

fn says(server: &Server, text: &str) {
    let said = server.output().wait(SOON, |lines| lines.iter().any(|line| line.contains(text)).then_some(()));
    assert!(said.is_some(), "no {text:?} in:\n{}", server.output().text());
}

fn jobbie(server: &Server, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_jobbie"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("JOBBIE_")) {
        command.env_remove(name);
    }
    let url = format!("https://localhost:{}", server.addr().port());
    command.args(["--url", &url, "--output", "json"]).args(more).output().unwrap()
}

#[test]
fn both_protocols_are_spoken_over_tls() {
    let files = Files::new();
    let server = files.launch().start();
    let mut http1 = files.connect(server.addr(), &["http/1.1"]);
    assert_eq!(http1.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
    let request = Request::json("POST", "/enqueue", &json!({"queue": "q"}));
    http1.write_all(&request.bytes(server.addr(), false)).unwrap();
    let mut answer = String::new();
    http1.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");

    let stream = files.connect(server.addr(), &["h2", "http/1.1"]);
    assert_eq!(stream.conn.alpn_protocol(), Some(&b"h2"[..]));
    let socket = stream.sock.try_clone().unwrap();
    let mut http2 = h2::Conn::over(Box::new(stream), socket, &[]).unwrap();
    let call = http2.call("GET", "/api/v1/queues/q", None).unwrap();
    let (status, body) = http2.answer(call, Instant::now() + SOON).unwrap();
    let queue: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((status, &queue["counts"]["pending"]), (Some(200), &json!(1)));
    // Without a word about the protocol it is the older one.
    assert_eq!(files.connect(server.addr(), &[]).conn.alpn_protocol(), None);
}

#[test]
fn the_command_line_speaks_https_and_believes_whom_it_is_told_to() {
    let files = Files::new();
    let server = files.launch().start();
    let ca = files.path("ca.pem");
    let authority = ["--ca-cert", ca.to_str().unwrap()];
    let enqueued = jobbie(&server, &[&authority[..], &["enqueue", "q", "1"]].concat());
    assert!(enqueued.status.success(), "{}", String::from_utf8_lossy(&enqueued.stderr));
    let fetched = jobbie(&server, &[&authority[..], &["fetch", "q"]].concat());
    let job: Value = serde_json::from_slice(&fetched.stdout).unwrap();
    assert_eq!(job["payload"], json!(1), "{}", String::from_utf8_lossy(&fetched.stderr));
    let stranger = jobbie(&server, &["status"]);
    let said = String::from_utf8_lossy(&stranger.stderr).into_owned();
    assert!(!stranger.status.success() && said.contains("--ca-cert"), "{said}");
}

#[test]
fn a_renewed_certificate_is_shown_without_a_restart() {
    let files = Files::new();
    let server = files.launch().start();
    let mut open = files.connect(server.addr(), &[]);
    let first = files.shown(&server);
    let second = files.issue();
    assert_ne!(first, second);
    server.signal("-HUP");
    says(&server, "the certificate was read again");
    assert_eq!(files.shown(&server), second);
    // And without a signal.
    let third = files.issue();
    let deadline = Instant::now() + SOON;
    while files.shown(&server) != third {
        assert!(Instant::now() < deadline, "{}", server.output().text());
    }
    open.write_all(&Request::get("/info").bytes(server.addr(), false)).unwrap();
    let mut answer = String::new();
    open.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "a connection outlives its certificate's renewal: {answer}");
}

#[test]
fn a_bad_renewal_keeps_the_old_certificate_and_says_so() {
    let files = Files::new();
    let server = files.launch().start();
    let first = files.shown(&server);
    fs::write(files.cert(), "-----BEGIN CERTIFICATE-----\nbroken").unwrap();
    server.signal("-HUP");
    says(&server, "the old one stays");
    assert_eq!(files.shown(&server), first);
    fs::remove_file(files.cert()).unwrap();
    server.signal("-HUP");
    says(&server, "cannot be read");
    assert_eq!(files.shown(&server), first);
    let second = files.issue();
    server.signal("-HUP");
    says(&server, "the certificate was read again");
    assert_eq!(files.shown(&server), second);
}

fn refused(cert: &Path, key: &Path) -> String {
    let exited = Launch::new().secure(cert, key).try_start().err().expect("it does not start");
    assert!(!exited.status.success());
    exited.output
}

#[test]
fn files_that_cannot_be_used_are_named_at_the_start() {
    let (files, other) = (Files::new(), Files::new());
    let nothing = files.path("nothing.pem");
    let said = refused(&nothing, &files.key());
    assert!(said.contains("nothing.pem cannot be read"), "{said}");
    let said = refused(&files.key(), &files.key());
    assert!(said.contains("key.pem has no certificate in it"), "{said}");
    let said = refused(&files.cert(), &files.cert());
    assert!(said.contains("cert.pem has no private key in it"), "{said}");
    let said = refused(&files.cert(), &other.key());
    assert!(said.contains("does not belong to"), "{said}");
    let alone = Launch::new().arg("--tls-cert").arg(files.cert().to_str().unwrap());
    let said = alone.try_start().err().expect("it does not start").output;
    assert!(said.contains("tls-cert needs tls-key"), "{said}");
}

#[test]
fn a_private_key_that_others_can_read_is_warned_of() {
    let files = Files::new();
    let server = files.launch().start();
    assert!(!server.output().text().contains("others can read the private key"));
    fs::set_permissions(files.key(), fs::Permissions::from_mode(0o644)).unwrap();
    server.signal("-HUP");
    says(&server, "others can read the private key");
}

#[test]
fn what_is_no_tls_is_cut_off_and_a_silent_handshake_too() {
    let files = Files::new();
    let server = files.launch().start();
    let mut plain = TcpStream::connect(server.addr()).unwrap();
    plain.set_read_timeout(Some(SOON)).unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    let mut rest = Vec::new();
    // An alert of TLS, or a reset.
    let _ = plain.read_to_end(&mut rest);
    assert!(!rest.starts_with(b"HTTP"), "{rest:?}");
    let mut silent = TcpStream::connect(server.addr()).unwrap();
    silent.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    assert_eq!(silent.read(&mut [0; 1]).unwrap_or(0), 0, "closed when its time is over");
    files.connect(server.addr(), &[]);
}
