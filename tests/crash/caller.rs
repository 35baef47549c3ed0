// SPDX-License-Identifier: Apache-2.0
//! A client that outlives servers: calls end in an outcome, never in a panic because a server is gone.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::gate::Gate;
use crate::history::{History, Outcome};
use crate::support::{Client, Random, Request, Response, SendError};

/// How long one call may take before its outcome counts as unknown; well above a long poll.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a call led to.
pub enum Called {
    /// An answer below 400.
    Done(Response),
    /// A definite no.
    Refused(String),
    /// No answer, or one that says that it is not known.
    Unknown,
    /// Nobody was there, or the server said that it cannot do it now: nothing was done.
    Nothing,
}

/// One client.
pub struct Caller {
    /// Where servers are announced.
    pub gate: Arc<Gate>,
    /// What it saw.
    pub history: History,
    /// Its randomness.
    pub random: Random,
    /// True if it asks again when it got no answer.
    pub repeats: bool,
    client: Option<Client>,
    addr: Option<SocketAddr>,
    generation: u64,
}

impl Caller {
    /// A client that has met no server yet.
    pub fn new(gate: &Arc<Gate>, epoch: Instant, random: Random) -> Self {
        let history = History::new(epoch);
        Self { gate: gate.clone(), history, random, repeats: true, client: None, addr: None, generation: 0 }
    }

    /// Makes sure that there is a server to talk to; `None` if this client should end.
    pub fn ready(&mut self) -> Option<SocketAddr> {
        if self.gate.stopping() {
            return None;
        }
        if self.client.is_none() {
            let (addr, generation) = self.gate.wait(self.generation)?;
            (self.client, self.addr, self.generation) = (Some(Client::keeping(addr)), Some(addr), generation);
        }
        self.addr
    }

    /// Forgets the server: it is gone.
    pub fn lost(&mut self) {
        self.client = None;
    }

    /// Sends a request to the present server.
    pub fn call(&mut self, request: Request) -> Called {
        let Some(client) = &mut self.client else { return Called::Nothing };
        let answer = client.send(&request.within(PATIENCE));
        self.gate.answered();
        match answer {
            Ok(response) => sort(response),
            Err(SendError::Refused(_)) => {
                self.lost();
                Called::Nothing
            }
            Err(SendError::Unknown(error)) => {
                if std::env::var_os("VERBOSE").is_some() {
                    eprintln!("no answer: {error} ({:?})", error.kind());
                }
                self.lost();
                Called::Unknown
            }
        }
    }

    /// Sends a request again and again, to later servers too, until its outcome is known; with the time at
    /// which the last try began and whether an earlier one may have been the one that counted. `None` if this
    /// client should end before that.
    pub fn until_known(&mut self, request: &Request) -> Option<(Called, u64, bool)> {
        let mut again = false;
        loop {
            self.ready()?;
            let start = self.history.now();
            match self.call(request.clone()) {
                Called::Unknown if !self.repeats => return Some((Called::Unknown, start, again)),
                Called::Unknown => again = true,
                Called::Nothing => {}
                known => return Some((known, start, again)),
            }
        }
    }
}

fn sort(response: Response) -> Called {
    match response.status() {
        ..400 => Called::Done(response),
        503 if response.code() == "OUTCOME_UNKNOWN" => {
            if std::env::var_os("VERBOSE").is_some() {
                eprintln!("{}", response.text());
            }
            Called::Unknown
        }
        429 | 503 => Called::Nothing,
        400..500 => Called::Refused(response.code()),
        status => panic!("status {status}: {}", response.text()),
    }
}

impl Called {
    /// As an outcome with what the answer says; nothing done is a refusal.
    pub fn outcome<T>(self, read: impl FnOnce(&Value) -> T) -> Outcome<T> {
        match self {
            Self::Done(response) => {
                let index = response.index().unwrap_or_else(|| panic!("no index in {}", response.text()));
                Outcome::Ok(read(&response.json()), index)
            }
            Self::Refused(code) => Outcome::Refused(code),
            Self::Unknown => Outcome::Unknown,
            Self::Nothing => Outcome::Refused("nobody there".into()),
        }
    }
}
