// SPDX-License-Identifier: Apache-2.0
//! From how a command ended to what the server is told. Pure.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use serde_json::value::RawValue;

use super::child::{Captured, Ended, Finished};
use super::registry::Stop;
use super::{super::when, checkpoint::valid_json};

/// "Try again later", from sysexits.h.
const EX_TEMPFAIL: i32 = 75;
/// "The input is wrong", from sysexits.h: it will be wrong next time too.
const EX_DATAERR: i32 = 65;
/// Characters of output that is kept as a string: a result is something to look at, not a log.
const MAX_TEXT: usize = 64 << 10;

/// What the server is told.
#[derive(Debug)]
pub enum Verdict {
    /// Done.
    Ack {
        /// What came out.
        result: Option<Box<RawValue>>,
    },
    /// Went wrong.
    Fail {
        /// One line.
        error: String,
        /// The last lines of stderr, if there is more than one.
        backtrace: Option<String>,
        /// Whether another attempt makes sense.
        retry: bool,
    },
    /// Back into the queue; no attempt is spent.
    Release {
        /// Not before.
        delay: Option<Duration>,
    },
    /// Nothing: the job is not ours any more.
    Nothing,
}

/// Decides.
pub fn of(finished: &Finished, limit: Option<Duration>, tempfail_delay: Duration) -> Verdict {
    match finished.ended {
        Ended::Exited(status) => match status.code() {
            Some(0) => Verdict::Ack { result: result_of(&finished.stdout) },
            Some(EX_TEMPFAIL) => Verdict::Release { delay: Some(tempfail_delay) },
            Some(EX_DATAERR) => failed(&how(status), &finished.stderr, false),
            _ => failed(&how(status), &finished.stderr, true),
        },
        Ended::TimedOut => {
            let limit = limit.map(when::short).unwrap_or_default();
            failed(&format!("timed out after {limit}"), &finished.stderr, true)
        }
        Ended::Stopped(Stop::Lost) => Verdict::Nothing,
        Ended::Stopped(Stop::Cancelled) => {
            Verdict::Fail { error: "cancelled".into(), backtrace: None, retry: false }
        }
        Ended::Stopped(_) => Verdict::Release { delay: None },
    }
}

/// JSON as it is, any other text as a string, nothing as nothing.
fn result_of(stdout: &Captured) -> Option<Box<RawValue>> {
    let bytes = if stdout.is_cut { &stdout.tail } else { &stdout.head };
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim();
    if text.is_empty() {
        return None;
    }
    if !stdout.is_cut
        && let Some(json) = valid_json(text)
    {
        return Some(json);
    }
    let count = text.chars().count();
    let kept: String = match stdout.is_cut || count > MAX_TEXT {
        true => std::iter::once('…').chain(text.chars().skip(count.saturating_sub(MAX_TEXT - 1))).collect(),
        false => text.to_owned(),
    };
    serde_json::value::to_raw_value(&kept).ok()
}

fn failed(how: &str, stderr: &str, retry: bool) -> Verdict {
    let last = stderr.lines().last().map(str::trim).unwrap_or_default();
    let error = if last.is_empty() { how.to_owned() } else { format!("{last} ({how})") };
    let backtrace = stderr.contains('\n').then(|| stderr.to_owned());
    Verdict::Fail { error, backtrace, retry }
}

fn how(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => match name_of(signal) {
            Some(name) => format!("killed by {name}"),
            None => format!("killed by signal {signal}"),
        },
        (None, None) => "ended in an unknown way".to_owned(),
    }
}

/// Names of the signals that end processes in practice; the numbers are the same on every Linux and macOS.
fn name_of(signal: i32) -> Option<&'static str> {
    Some(match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        6 => "SIGABRT",
        8 => "SIGFPE",
        9 => "SIGKILL (out of memory?)",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        15 => "SIGTERM",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(ended: Ended, stdout: &str, stderr: &str) -> String {
        let mut captured = Captured::default();
        captured.push(stdout.as_bytes());
        let finished = Finished { ended, stdout: captured, stderr: stderr.to_owned() };
        match of(&finished, Some(Duration::from_secs(5)), Duration::from_secs(30)) {
            Verdict::Ack { result } => format!("ack {}", result.map_or("-".into(), |r| r.get().to_owned())),
            Verdict::Fail { error, backtrace, retry } => {
                format!("fail {error} | {} | {retry}", backtrace.is_some())
            }
            Verdict::Release { delay } => format!("release {:?}", delay.map(|d| d.as_secs())),
            Verdict::Nothing => "nothing".into(),
        }
    }

    fn exit(code: i32) -> Ended {
        Ended::Exited(ExitStatus::from_raw(code << 8))
    }

    #[test]
    fn success() {
        assert_eq!(verdict(exit(0), " {\"n\":1.10}\n", "warning"), "ack {\"n\":1.10}");
        assert_eq!(verdict(exit(0), "done \"well\"\n", ""), r#"ack "done \"well\"""#);
        assert_eq!(verdict(exit(0), " \n", ""), "ack -");
        let long = verdict(exit(0), &"x".repeat(100_000), "");
        assert!(long.starts_with("ack \"…x") && long.chars().count() == MAX_TEXT + 6);
        // Too long for a result and cut: the end of it as text, never half a document.
        let cut = verdict(exit(0), &format!("[{}]", "1,".repeat(1 << 20)), "");
        assert!(cut.starts_with("ack \"…"), "{}", &cut[..20]);
    }

    #[test]
    fn failure() {
        assert_eq!(verdict(exit(3), "out", ""), "fail exit status 3 | false | true");
        assert_eq!(
            verdict(exit(1), "", "Trace\nValueError: x"),
            "fail ValueError: x (exit status 1) | true | true"
        );
        assert_eq!(verdict(exit(65), "", "bad"), "fail bad (exit status 65) | false | false");
        assert_eq!(verdict(exit(75), "", "busy"), "release Some(30)");
        let segv = Ended::Exited(ExitStatus::from_raw(11));
        assert_eq!(verdict(segv, "", ""), "fail killed by SIGSEGV | false | true");
    }

    #[test]
    fn stopped_by_us() {
        assert_eq!(verdict(Ended::TimedOut, "", ""), "fail timed out after 5.0s | false | true");
        assert_eq!(verdict(Ended::Stopped(Stop::Cancelled), "", "x"), "fail cancelled | false | false");
        assert_eq!(verdict(Ended::Stopped(Stop::Shutdown), "", ""), "release None");
        assert_eq!(verdict(Ended::Stopped(Stop::Now), "", ""), "release None");
        assert_eq!(verdict(Ended::Stopped(Stop::Lost), "", ""), "nothing");
    }
}
