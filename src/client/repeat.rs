// SPDX-License-Identifier: Apache-2.0
//! When a repeatable call is tried again, and what is said when it is not. Pure.
//!
//! Once a try may have taken effect, only an answer ends the doubt: a later try that was never sent, or that was put
//! off, says nothing about the earlier one, and its error would read as "nothing happened".

use std::time::Duration;

use super::Error;

/// How often a repeatable call is tried before the last error is shown.
const TRIES: u32 = 5;
/// A restart of the server takes well under a second; the pauses add up to four.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Longest pause, whatever the server asks for: somebody is waiting at the prompt.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The tries of one call.
#[derive(Debug)]
pub struct Repeats {
    left: u32,
    pause: Duration,
    /// The last try that may have taken effect.
    unknown: Option<Error>,
}

impl Default for Repeats {
    fn default() -> Self {
        Self { left: TRIES - 1, pause: FIRST_PAUSE, unknown: None }
    }
}

impl Repeats {
    /// How long to wait before the next try, or the error that stands for all of them.
    pub fn after(&mut self, error: Error) -> Result<Duration, Error> {
        let earlier = self.unknown.take();
        let says_nothing = error.is_passing() && !error.is_unknown();
        let is_unreached = matches!(error, Error::Connect { .. }) && earlier.is_some();
        let again = self.left > 0 && (error.worth_repeating() || is_unreached);
        let wait = error.retry_after().unwrap_or(self.pause).min(LONGEST_PAUSE);
        let stands = match earlier {
            Some(earlier) if says_nothing => earlier,
            _ => error,
        };
        if !again {
            return Err(stands);
        }
        self.left -= 1;
        self.pause *= 3;
        self.unknown = Some(stands).filter(Error::is_unknown);
        Ok(wait)
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::client::Refusal;

    fn connect() -> Error {
        Error::Connect { authority: "h:1".into(), source: io::ErrorKind::ConnectionRefused.into() }
    }

    fn broken() -> Error {
        Error::Broken { authority: "h:1".into(), source: io::ErrorKind::ConnectionReset.into() }
    }

    fn refused(status: u16, code: &str) -> Error {
        let body = format!(r#"{{"error":"no","code":"{code}"}}"#);
        Error::Refused(Refusal::read(status, None, body.as_bytes()))
    }

    /// The error that is shown after these, the last of them as often as it is asked for.
    fn shown(errors: impl IntoIterator<Item = Error>, last: fn() -> Error) -> (Error, u32) {
        let (mut repeats, mut errors, mut tries) = (Repeats::default(), errors.into_iter(), 0);
        loop {
            tries += 1;
            if let Err(e) = repeats.after(errors.next().unwrap_or_else(last)) {
                return (e, tries);
            }
        }
    }

    #[test]
    fn an_unknown_outcome_is_not_forgotten_when_the_server_goes_away() {
        let timed_out = || Error::TimedOut { authority: "h:1".into(), after: Duration::from_secs(30) };
        assert!(matches!(shown([broken()], connect), (Error::Broken { .. }, TRIES)));
        assert_eq!(shown([refused(503, "OUTCOME_UNKNOWN")], connect).0.code(), Some("OUTCOME_UNKNOWN"));
        assert!(matches!(shown([broken()], || refused(503, "NO_LEADER")), (Error::Broken { .. }, TRIES)));
        assert!(matches!(shown([broken(), refused(429, "OVERLOADED")], connect), (Error::Broken { .. }, 2)));
        assert!(matches!(shown([], timed_out), (Error::TimedOut { .. }, 1)));
    }

    #[test]
    fn what_was_never_sent_or_was_answered_is_said_as_it_is() {
        assert!(matches!(shown([], connect), (Error::Connect { .. }, 1)));
        assert!(matches!(shown([refused(503, "NO_LEADER")], connect), (Error::Connect { .. }, 2)));
        assert_eq!(shown([broken()], || refused(409, "LEASE_LOST")).0.code(), Some("LEASE_LOST"));
        assert_eq!(shown([], || refused(400, "VALIDATION")).1, 1);
    }
}
