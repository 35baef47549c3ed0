// SPDX-License-Identifier: Apache-2.0
//! Where the server is at the moment: clients wait here while there is none.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

#[derive(Default)]
struct State {
    addr: Option<SocketAddr>,
    generation: u64,
    stopping: bool,
    calls: u64,
    backlog: i64,
    recent: VecDeque<String>,
    acked: VecDeque<String>,
}

/// Shared by the nemesis and all clients.
#[derive(Default)]
pub struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

/// Ids kept for those who pick one.
const RECENT: usize = 256;

impl Gate {
    fn change<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        let value = f(&mut self.state.lock().unwrap());
        self.changed.notify_all();
        value
    }

    /// A server is there.
    pub fn open(&self, addr: SocketAddr) {
        self.change(|state| {
            state.addr = Some(addr);
            state.generation += 1;
        });
    }

    /// The server is gone.
    pub fn shut(&self) {
        self.change(|state| state.addr = None);
    }

    /// Clients finish what they do and end.
    pub fn stop(&self) {
        self.change(|state| state.stopping = true);
    }

    /// True if clients should end.
    pub fn stopping(&self) -> bool {
        self.state.lock().unwrap().stopping
    }

    /// Waits for a server later than the one of that generation; `None` if clients should end.
    pub fn wait(&self, after: u64) -> Option<(SocketAddr, u64)> {
        let mut state = self.state.lock().unwrap();
        loop {
            if state.stopping {
                return None;
            }
            match state.addr {
                Some(addr) if state.generation > after => return Some((addr, state.generation)),
                _ => state = self.changed.wait(state).unwrap(),
            }
        }
    }

    /// A call has been answered.
    pub fn answered(&self) {
        self.change(|state| state.calls += 1);
    }

    /// Calls answered so far.
    pub fn calls(&self) -> u64 {
        self.state.lock().unwrap().calls
    }

    /// Waits until that many calls have been answered.
    #[track_caller]
    pub fn wait_calls(&self, count: u64, within: Duration) {
        let deadline = Instant::now() + within;
        let mut state = self.state.lock().unwrap();
        while state.calls < count {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "only {} of {count} calls were answered within {within:?}", state.calls);
            state = self.changed.wait_timeout(state, left).unwrap().0;
        }
    }

    /// A job was made.
    pub fn made(&self, id: &str) {
        self.change(|state| {
            state.backlog += 1;
            state.recent.push_back(id.to_owned());
            if state.recent.len() > RECENT {
                state.recent.pop_front();
            }
        });
    }

    /// A job is finished.
    pub fn ended(&self) {
        self.change(|state| state.backlog -= 1);
    }

    /// A job was acked.
    pub fn done(&self, id: &str) {
        self.change(|state| {
            state.backlog -= 1;
            state.acked.push_back(id.to_owned());
            if state.acked.len() > RECENT {
                state.acked.pop_front();
            }
        });
    }

    /// About how many jobs wait.
    pub fn backlog(&self) -> i64 {
        self.state.lock().unwrap().backlog
    }

    /// So many jobs wait, as the server says.
    pub fn set_backlog(&self, backlog: i64) {
        self.change(|state| state.backlog = backlog);
    }

    /// A job made of late, picked by a number.
    pub fn recent(&self, pick: u64) -> Option<String> {
        let state = self.state.lock().unwrap();
        at(&state.recent, pick)
    }

    /// A job acked of late, picked by a number.
    pub fn acked(&self, pick: u64) -> Option<String> {
        let state = self.state.lock().unwrap();
        at(&state.acked, pick)
    }
}

fn at(ids: &VecDeque<String>, pick: u64) -> Option<String> {
    let place = usize::try_from(pick.checked_rem(ids.len() as u64)?).ok()?;
    ids.get(place).cloned()
}
