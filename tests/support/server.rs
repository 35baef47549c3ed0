// SPDX-License-Identifier: Apache-2.0
//! The built binary as a server process on a directory of its own.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use super::disk::SmallDisk;
use super::http::{Client, Request, Response};
use super::output::Output;
use super::sse::Stream;

/// How long a start may take: reading a few segments and electing oneself, with two cores shared.
const START: Duration = Duration::from_secs(30);

/// How a server is started; can be started again on the same directory.
#[derive(Clone)]
pub struct Launch {
    dir: Arc<TempDir>,
    args: Vec<String>,
    env: Vec<(String, String)>,
    may_panic: bool,
    disk: Option<Arc<SmallDisk>>,
    data: Option<std::path::PathBuf>,
    ready: &'static str,
    is_secure: bool,
    files: Option<u64>,
    bind: &'static str,
}

/// A process that ended instead of serving.
#[derive(Debug)]
pub struct Exited {
    /// How.
    pub status: ExitStatus,
    /// What it printed.
    pub output: String,
}

impl Launch {
    /// A server on a fresh directory.
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("jobbie-test-").tempdir().expect("a temporary directory");
        Self {
            dir: Arc::new(dir),
            args: Vec::new(),
            env: Vec::new(),
            may_panic: false,
            disk: None,
            data: None,
            ready: "/readyz",
            is_secure: false,
            files: None,
            bind: "127.0.0.1:0",
        }
    }

    /// With another argument.
    pub fn arg(mut self, arg: impl Into<String>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// With an environment variable.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// With `POST /debug/crash`, so panics in its output are no surprise.
    pub fn crashable(mut self) -> Self {
        self.may_panic = true;
        self.env("JOBBIE_DEBUG_ROUTES", "1")
    }

    /// With another address for readiness.
    pub const fn ready_at(mut self, path: &'static str) -> Self {
        self.ready = path;
        self
    }

    /// With TLS, so that the line with the address has to do for readiness.
    pub fn secure(mut self, cert: &Path, key: &Path) -> Self {
        self.is_secure = true;
        self.arg("--tls-cert")
            .arg(cert.to_str().expect("text"))
            .arg("--tls-key")
            .arg(key.to_str().expect("text"))
    }

    /// With so many files that it may open.
    pub const fn files(mut self, files: u64) -> Self {
        self.files = Some(files);
        self
    }

    /// Listening elsewhere than on a free port of loopback.
    pub const fn bind(mut self, address: &'static str) -> Self {
        self.bind = address;
        self
    }

    /// On a data directory that is somewhere else.
    pub fn in_dir(mut self, data: &Path) -> Self {
        self.data = Some(data.to_owned());
        self
    }

    /// On a disk of its own, as seen from its mount namespace.
    pub fn on(mut self, disk: &Arc<SmallDisk>) -> Self {
        self.disk = Some(disk.clone());
        self
    }

    /// The data directory.
    pub fn data(&self) -> std::path::PathBuf {
        match (&self.data, &self.disk) {
            (Some(data), _) => data.clone(),
            (None, Some(disk)) => disk.mount().join("data"),
            (None, None) => self.dir.path().join("data"),
        }
    }

    fn command(&self) -> Command {
        let binary = env!("CARGO_BIN_EXE_jobbie");
        let mut command = match (self.files, &self.disk) {
            (None, None) => Command::new(binary),
            (None, Some(disk)) => disk.command(binary),
            (Some(files), _) => {
                let mut shell = Command::new("sh");
                shell.args(["-c", &format!("ulimit -n {files} && exec \"$0\" \"$@\""), binary]);
                shell
            }
        };
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("JOBBIE_")) {
            command.env_remove(name);
        }
        let data = self.data();
        let args: [&OsStr; 5] =
            ["server".as_ref(), "--bind".as_ref(), self.bind.as_ref(), "--data-dir".as_ref(), data.as_ref()];
        command.args(args).args(&self.args).envs(self.env.iter().map(|(name, value)| (name, value)));
        command
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Starts it and waits until it is ready; the end if it ended first.
    pub fn try_start(&self) -> Result<Server, Exited> {
        let mut child = self.command().spawn().expect("the binary starts");
        let output = Output::default();
        output.follow(child.stdout.take().expect("piped"));
        output.follow(child.stderr.take().expect("piped"));
        let bound = output.wait(START, |lines| lines.iter().find_map(|line| bound_address(line)));
        let Some(addr) = bound else {
            let ended = output.wait_end(Duration::from_secs(1));
            if !ended {
                let _ = child.kill();
            }
            let status = child.wait().expect("a child can be waited for");
            assert!(ended, "no line with the address within {START:?}:\n{}", output.text());
            return Err(Exited { status, output: output.text() });
        };
        let server = Server { child: Some(child), addr, output, launch: self.clone() };
        if !self.is_secure {
            server.wait_ready();
        }
        Ok(server)
    }

    /// Starts it and kills it at that moment, however far it has come.
    pub fn start_and_kill(&self, after: Duration) {
        let mut child =
            self.command().stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the binary starts");
        // Not to wait for anything: the moment is what is random.
        std::thread::sleep(after);
        let _ = child.kill();
        let _ = child.wait();
    }

    /// Starts it and waits until it is ready.
    #[track_caller]
    pub fn start(&self) -> Server {
        match self.try_start() {
            Ok(server) => server,
            Err(exited) => panic!("the server ended with {}:\n{}", exited.status, exited.output),
        }
    }
}

fn bound_address(line: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once("listening on http")?;
    let (_, rest) = rest.split_once("://")?;
    rest.split(|c: char| c.is_whitespace() || c == '/' || c == '"').next()?.parse().ok()
}

/// A running server; killed when dropped.
pub struct Server {
    child: Option<Child>,
    addr: SocketAddr,
    output: Output,
    launch: Launch,
}

impl Server {
    /// Where it listens.
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// How it was started.
    pub const fn launch(&self) -> &Launch {
        &self.launch
    }

    /// Its data directory.
    pub fn data(&self) -> std::path::PathBuf {
        self.launch.data()
    }

    /// What it has printed.
    pub const fn output(&self) -> &Output {
        &self.output
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    fn wait_ready(&self) {
        let deadline = Instant::now() + START;
        let mut pause = Duration::from_millis(2);
        loop {
            let answer = Client::new(self.addr).send(&Request::new("GET", self.launch.ready));
            match &answer {
                Ok(response) if response.status() == 200 => return,
                _ => {}
            }
            assert!(
                Instant::now() < deadline,
                "not ready within {START:?}: {answer:?}\n{}",
                self.output.tail(40)
            );
            // A process that starts has no event to wait for from outside.
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(50));
        }
    }

    /// Sends a request on a connection of its own.
    #[track_caller]
    pub fn send(&self, request: &Request) -> Response {
        match Client::new(self.addr).send(request) {
            Ok(response) => response,
            Err(e) => panic!("{} {}: {e}\n{}", request.method, request.path, self.output.tail(40)),
        }
    }

    /// `GET` below `/api/v1`.
    #[track_caller]
    pub fn get(&self, path: &str) -> Response {
        self.send(&Request::get(path))
    }

    /// `POST` of JSON below `/api/v1`.
    #[track_caller]
    pub fn post(&self, path: &str, body: &Value) -> Response {
        self.send(&Request::json("POST", path, body))
    }

    /// A request without a body below `/api/v1`.
    #[track_caller]
    pub fn call(&self, method: &str, path: &str) -> Response {
        self.send(&Request::new(method, &format!("/api/v1{path}")))
    }

    /// Opens an event stream below `/api/v1`.
    #[track_caller]
    pub fn stream(&self, path: &str) -> Stream {
        self.stream_with(path, &[])
    }

    /// Opens an event stream with headers.
    #[track_caller]
    pub fn stream_with(&self, path: &str, headers: &[(&str, &str)]) -> Stream {
        match Stream::open(self.addr, path, headers).expect("the server answers") {
            Ok(stream) => stream,
            Err(response) => panic!("no stream: {} {}", response.status(), response.text()),
        }
    }

    /// Ends the process at once, as SIGKILL does.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Asks the process to stop.
    pub fn terminate(&self) {
        self.signal("-TERM");
    }

    /// Sends a signal, such as `-HUP`.
    pub fn signal(&self, signal: &str) {
        let pid = self.pid().to_string();
        let status = Command::new("kill").args([signal, &pid]).status().expect("kill runs");
        assert!(status.success(), "kill {signal} {pid}: {status}");
    }

    /// Bytes of memory that it has now.
    pub fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line with VmRSS");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
    }

    /// Waits for the end of the process.
    #[track_caller]
    pub fn wait_exit(&mut self, within: Duration) -> ExitStatus {
        assert!(self.output.wait_end(within), "still running after {within:?}:\n{}", self.output.tail(60));
        let mut child = self.child.take().expect("it was running");
        child.wait().expect("a child can be waited for")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        let text = self.output.text();
        if std::thread::panicking() {
            eprintln!("--- the server's last lines ---\n{}", self.output.tail(40));
        } else if !self.launch.may_panic {
            assert!(!text.contains("panicked at"), "the server panicked:\n{}", self.output.tail(80));
        }
    }
}

/// All files below a directory, in order of their paths.
pub fn files(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            found.extend(files(&entry.path()));
        } else {
            found.push(entry.path());
        }
    }
    found.sort();
    found
}
