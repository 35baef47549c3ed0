// SPDX-License-Identifier: Apache-2.0
//! How far long work has come: one line on stderr that is drawn again, for people. Where stderr is no terminal nothing
//! is drawn, so that logs stay readable.
//!
//! ```text
//! [=========>          ]  45 %  12,345 jobs enqueued, 8,230 per second, 2s left
//! ```

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use super::when::short;

/// How often the line is drawn again: fast enough to look alive, slow enough to cost nothing.
const PAUSE: Duration = Duration::from_millis(200);
/// Cells of the bar.
const WIDTH: usize = 20;

/// The progress of one piece of work.
#[derive(Debug)]
pub struct Progress {
    what: &'static str,
    started: Instant,
    drawn: Option<Instant>,
    is_terminal: bool,
}

impl Progress {
    /// Begins. `what` follows the number that is shown, as in `jobs enqueued`.
    pub fn new(what: &'static str) -> Self {
        Self { what, started: Instant::now(), drawn: None, is_terminal: io::stderr().is_terminal() }
    }

    /// Says how much is done, and what share of the whole if that is known, from 0 to 1.
    pub fn show(&mut self, done: u64, share: Option<f64>) {
        if !self.is_terminal || self.drawn.is_some_and(|drawn| drawn.elapsed() < PAUSE) {
            return;
        }
        self.drawn = Some(Instant::now());
        let _ =
            write!(io::stderr().lock(), "\r\x1b[K{}", line(self.what, done, share, self.started.elapsed()));
    }

    /// Takes the line away.
    pub fn clear(&mut self) {
        if self.drawn.take().is_some() {
            let _ = write!(io::stderr().lock(), "\r\x1b[K");
        }
    }

    /// Since when.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

fn line(what: &str, done: u64, share: Option<f64>, elapsed: Duration) -> String {
    let rate = done as f64 / elapsed.as_secs_f64().max(0.001);
    let text = format!("{} {what}, {} per second", grouped(done), grouped(rate as u64));
    let Some(share) = share.map(|share| share.clamp(0.0, 1.0)) else { return text };
    let full = (share * WIDTH as f64) as usize;
    let head = if full < WIDTH { ">" } else { "" };
    let bar = format!("{}{head}", "=".repeat(full));
    let left = match share > 0.0 {
        true => format!(", {} left", short(elapsed.mul_f64((1.0 / share - 1.0).min(1e6)))),
        false => String::new(),
    };
    format!("[{bar:<WIDTH$}] {:>3} %  {text}{left}", (share * 100.0) as u64)
}

/// A number with commas between thousands.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_far_and_how_fast() {
        let ten = Duration::from_secs(10);
        assert_eq!(line("jobs", 12_345, None, ten), "12,345 jobs, 1,234 per second");
        assert_eq!(
            line("jobs", 1_000, Some(0.25), ten),
            "[=====>              ]  25 %  1,000 jobs, 100 per second, 30s left"
        );
        assert_eq!(
            line("jobs", 10, Some(1.0), ten),
            "[====================] 100 %  10 jobs, 1 per second, 0ms left"
        );
        assert_eq!(line("jobs", 0, Some(0.0), ten), "[>                   ]   0 %  0 jobs, 0 per second");
        assert!(line("jobs", 0, Some(1e-300), ten).ends_with("d left"), "no overflow");
        assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn nothing_is_drawn_where_nobody_looks() {
        let mut progress = Progress { is_terminal: false, ..Progress::new("jobs") };
        progress.show(1, Some(0.5));
        assert!(progress.drawn.is_none());
    }
}
