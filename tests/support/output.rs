// SPDX-License-Identifier: Apache-2.0
//! What a process has printed so far, and waiting for a line or for the end.

use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

#[derive(Default)]
struct State {
    lines: Vec<String>,
    open: usize,
}

/// The lines of a process, from both of its outputs.
#[derive(Clone, Default)]
pub struct Output(Arc<(Mutex<State>, Condvar)>);

impl Output {
    /// Follows one output to its end.
    pub fn follow(&self, from: impl Read + Send + 'static) {
        self.0.0.lock().unwrap().open += 1;
        let output = self.clone();
        thread::spawn(move || {
            let mut reader = BufReader::new(from);
            let mut line = Vec::new();
            while reader.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
                let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                output.change(|state| state.lines.push(text));
                line.clear();
            }
            output.change(|state| state.open -= 1);
        });
    }

    fn change(&self, f: impl FnOnce(&mut State)) {
        f(&mut self.0.0.lock().unwrap());
        self.0.1.notify_all();
    }

    /// Waits until `found` gives something; `None` if the outputs end or the time is over before.
    pub fn wait<T>(&self, within: Duration, found: impl Fn(&[String]) -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + within;
        let mut state = self.0.0.lock().unwrap();
        loop {
            if let Some(value) = found(&state.lines) {
                return Some(value);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if state.open == 0 || left.is_zero() {
                return None;
            }
            state = self.0.1.wait_timeout(state, left).unwrap().0;
        }
    }

    /// Waits until both outputs are closed, as they are when the process has ended.
    pub fn wait_end(&self, within: Duration) -> bool {
        let state = self.0.0.lock().unwrap();
        let waited = self.0.1.wait_timeout_while(state, within, |state| state.open > 0).unwrap();
        waited.0.open == 0
    }

    /// Everything so far.
    pub fn text(&self) -> String {
        self.0.0.lock().unwrap().lines.join("\n")
    }

    /// The last lines, for a failure's message.
    pub fn tail(&self, count: usize) -> String {
        let state = self.0.0.lock().unwrap();
        state.lines[state.lines.len().saturating_sub(count)..].join("\n")
    }
}
