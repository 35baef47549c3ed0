// SPDX-License-Identifier: Apache-2.0
//! What can go wrong between the command line and the server, and what each case means for the caller.

use std::fmt;
use std::io;
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;

/// A call that did not end with an answer below 400.
#[derive(Debug)]
pub enum Error {
    /// The address or the key cannot be used: the caller's mistake.
    Address(String),
    /// No connection: nothing was sent.
    Connect {
        /// `host:port`.
        authority: String,
        /// Why.
        source: io::Error,
    },
    /// The connection broke before the answer was complete: it may have happened.
    Broken {
        /// `host:port`.
        authority: String,
        /// Why.
        source: io::Error,
    },
    /// No answer in time: it may have happened.
    TimedOut {
        /// `host:port`.
        authority: String,
        /// How long was waited.
        after: Duration,
    },
    /// The server said no.
    Refused(Refusal),
    /// Something was received that this client does not understand.
    Nonsense(String),
}

/// The server's own words.
#[derive(Debug)]
pub struct Refusal {
    /// HTTP status.
    pub status: u16,
    /// The stable code, or `HTTP_<status>` when something that is not jobbie answered.
    pub code: String,
    /// The sentence for people.
    pub sentence: String,
    /// The id to look for in the server's log.
    pub request_id: Option<String>,
    /// Machine-readable details, as sent.
    pub details: Option<String>,
    /// When to come back.
    pub retry_after: Option<Duration>,
}

#[derive(Deserialize)]
struct Body {
    error: String,
    code: String,
    request_id: Option<String>,
    details: Option<Box<RawValue>>,
}

impl Refusal {
    /// Reads an error body; whatever it is, the result has a sentence and a code.
    pub fn read(status: u16, retry_after: Option<u64>, body: &[u8]) -> Self {
        let retry_after = retry_after.map(Duration::from_secs);
        match serde_json::from_slice::<Body>(body) {
            Ok(b) => Self {
                status,
                code: b.code,
                sentence: b.error,
                request_id: b.request_id,
                details: b.details.map(|d| d.get().to_owned()).filter(|d| d != "null"),
                retry_after,
            },
            Err(_) => {
                let text = String::from_utf8_lossy(&body[..body.len().min(200)]);
                let text = text.trim();
                let sentence = if text.is_empty() || text.starts_with('<') {
                    "the answer did not come from jobbie; is the address right?".to_owned()
                } else {
                    text.to_owned()
                };
                Self {
                    status,
                    code: format!("HTTP_{status}"),
                    sentence,
                    request_id: None,
                    details: None,
                    retry_after,
                }
            }
        }
    }
}

impl Error {
    /// The stable code, if the server gave one.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Refused(r) => Some(&r.code),
            _ => None,
        }
    }

    /// When the server asked to come back.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused(r) => r.retry_after,
            _ => None,
        }
    }

    /// Whether the same call may end differently soon, if repeating it is safe: the outcome is unknown, or the
    /// cluster is between leaders. A server that cannot be reached at all is not in this list.
    pub fn worth_repeating(&self) -> bool {
        match self {
            Self::Broken { .. } => true,
            Self::Refused(r) => matches!(r.code.as_str(), "OUTCOME_UNKNOWN" | "NO_LEADER" | "UNAVAILABLE"),
            _ => false,
        }
    }

    /// Whether the call may have taken effect though this is not the answer to it.
    pub fn is_unknown(&self) -> bool {
        match self {
            Self::Broken { .. } | Self::TimedOut { .. } | Self::Nonsense(_) => true,
            // The contract has one code for it; a gateway on the way has none and does not know either.
            Self::Refused(r) => r.code == "OUTCOME_UNKNOWN" || r.status >= 500 && r.code.starts_with("HTTP_"),
            Self::Address(_) | Self::Connect { .. } => false,
        }
    }

    /// Whether this is a state that passes by itself: a restart, a failover, a full queue of requests. What is
    /// left are answers that will be the same tomorrow.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Broken { .. } | Self::TimedOut { .. } => true,
            Self::Refused(r) => r.status == 429 || r.status >= 500,
            Self::Address(_) | Self::Nonsense(_) => false,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(why) | Self::Nonsense(why) => f.write_str(why),
            Self::Connect { authority, source } => {
                write!(
                    f,
                    "cannot connect to {authority}: {source} (is the server running? --url or JOBBIE_URL names another)"
                )
            }
            Self::Broken { authority, source } => {
                write!(
                    f,
                    "the connection to {authority} broke before the answer: {source}; it is unknown whether the call took effect"
                )
            }
            Self::TimedOut { authority, after } => {
                write!(
                    f,
                    "no answer from {authority} within {} s; it is unknown whether the call took effect",
                    after.as_secs()
                )
            }
            Self::Refused(r) => {
                write!(f, "{} [{}]", r.sentence, r.code)?;
                if let Some(details) = &r.details {
                    write!(f, "\n  details: {details}")?;
                }
                if let Some(wait) = r.retry_after {
                    write!(f, "\n  retry after: {} s", wait.as_secs())?;
                }
                if let Some(id) = &r.request_id {
                    write!(f, "\n  request_id: {id}")?;
                }
                Ok(())
            }
        }
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_sentence_code_and_request_id_are_shown() {
        let body = br#"{"error":"queue is draining","code":"QUEUE_DRAINING","details":{"queue":"a"},"request_id":"r1"}"#;
        let text = Error::Refused(Refusal::read(409, Some(2), body)).to_string();
        assert_eq!(
            text,
            "queue is draining [QUEUE_DRAINING]\n  details: {\"queue\":\"a\"}\n  retry after: 2 s\n  request_id: r1"
        );
    }

    #[test]
    fn strangers_get_a_code_too() {
        let proxy = Refusal::read(502, None, b"<html>bad gateway</html>");
        assert_eq!(proxy.code, "HTTP_502");
        assert!(proxy.sentence.contains("did not come from jobbie"));
        assert_eq!(Refusal::read(404, None, b"no route").sentence, "no route");
    }

    #[test]
    fn what_passes_and_what_stays() {
        let refused = |status, code: &str| {
            Error::Refused(Refusal { code: code.into(), ..Refusal::read(status, None, b"") })
        };
        assert!(refused(503, "NO_LEADER").worth_repeating());
        assert!(refused(503, "OUTCOME_UNKNOWN").is_passing());
        assert!(refused(429, "OVERLOADED").is_passing() && !refused(429, "OVERLOADED").worth_repeating());
        assert!(!refused(409, "LEASE_LOST").is_passing());
        assert!(!Error::Address(String::new()).is_passing());
        assert!(refused(503, "OUTCOME_UNKNOWN").is_unknown() && !refused(503, "UNAVAILABLE").is_unknown());
        assert!(Error::Refused(Refusal::read(504, None, b"<html>")).is_unknown());
    }
}
