// SPDX-License-Identifier: Apache-2.0
//! Names: of queues, jobs, workers, keys and labels. No name has a control character in it, so none can
//! break a key on disk (`\0` is a separator there), a header or a log line.

use jobbie_actors::ports::trace::TraceContext;
use jobbie_broker::{JobRef, LeaseToken, Name};

use super::limits::MAX_NAME;
use super::place::{Place, shown};
use crate::error::Problem;

/// Characters of a queue's name.
pub const MAX_QUEUE: usize = 128;
/// Characters of a job's id.
pub const MAX_ID: usize = 64;
/// Characters of a lease token: ours have at most 25.
const MAX_TOKEN: usize = 64;

const QUEUE_RULE: &str = "must have 1 to 128 characters of A-Z a-z 0-9 _ . : -";
const ID_RULE: &str = "must have 1 to 64 characters of A-Z a-z 0-9 _ -";

/// The name of a queue.
///
/// # Errors
/// `VALIDATION` naming the place and the rule.
pub fn queue(place: &Place<'_>, text: &str) -> Result<Name, Problem> {
    if matches!(text, "." | "..") {
        return Err(Problem::field(place, "must not be . or .., which browsers take out of an address"));
    }
    if is_queue(text) { Ok(text.into()) } else { Err(Problem::field(place, QUEUE_RULE)) }
}

fn is_queue(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b':' | b'-');
    (1..=MAX_QUEUE).contains(&text.len()) && text.bytes().all(allowed)
}

/// The name of a queue in a path: what cannot be a name cannot be found.
///
/// # Errors
/// `VALIDATION`: several of these calls would create the queue.
pub fn queue_in_path(text: &str) -> Result<Name, Problem> {
    queue(&Place::ROOT.key("queue"), text)
}

fn is_id(text: &str) -> bool {
    (1..=MAX_ID).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
}

/// An id that the caller chooses, or says that a job belongs to. `batch` is none: `/ack/batch` is an endpoint.
///
/// # Errors
/// `VALIDATION` naming the place and the rule.
pub fn id(place: &Place<'_>, text: &str) -> Result<Name, Problem> {
    if text == "batch" {
        return Err(Problem::field(place, "must not be \"batch\", which is an endpoint's name"));
    }
    if is_id(text) { Ok(text.into()) } else { Err(Problem::field(place, ID_RULE)) }
}

/// The id of a job that should exist.
///
/// # Errors
/// `NOT_FOUND` if no job can have that id.
pub fn job(text: &str) -> Result<JobRef, Problem> {
    if is_id(text) {
        return Ok(JobRef::parse(text));
    }
    Err(Problem::not_found("job", &shown(text)))
}

/// The id of a key that should exist.
///
/// # Errors
/// `NOT_FOUND` if no key can have that id.
pub fn key_id(text: &str) -> Result<Name, Problem> {
    if is_id(text) { Ok(text.into()) } else { Err(Problem::not_found("key", &shown(text))) }
}

/// Free text that serves as a name: at most `max` bytes, no control characters.
///
/// # Errors
/// `VALIDATION` naming the place and the rule.
pub fn label(place: &Place<'_>, text: &str, max: usize) -> Result<Name, Problem> {
    if text.len() > max {
        return Err(Problem::field(place, format!("has {} bytes, at most {max} are allowed", text.len())));
    }
    if text.chars().any(char::is_control) {
        return Err(Problem::field(place, "must not contain control characters"));
    }
    Ok(text.into())
}

/// Like [`label`], but not empty.
///
/// # Errors
/// `VALIDATION` naming the place and the rule.
pub fn key(place: &Place<'_>, text: &str, max: usize) -> Result<Name, Problem> {
    if text.is_empty() {
        return Err(Problem::field(place, "must not be empty"));
    }
    label(place, text, max)
}

/// The id or host of a worker; absent is the empty name.
///
/// # Errors
/// `VALIDATION` naming the place and the rule.
pub fn worker(place: &Place<'_>, text: Option<&str>) -> Result<Name, Problem> {
    label(place, text.unwrap_or_default(), MAX_NAME)
}

/// A lease token. Callers treat it as opaque text, so text that was never a token is simply not the current
/// one: deliveries are counted from 1, and no lease has the token made of zeros.
///
/// # Errors
/// `VALIDATION` if it is empty or too long to be worth comparing.
pub fn token(place: &Place<'_>, text: &str) -> Result<LeaseToken, Problem> {
    if text.is_empty() || text.len() > MAX_TOKEN {
        return Err(Problem::field(place, format!("must have 1 to {MAX_TOKEN} characters")));
    }
    Ok(LeaseToken::parse(text).unwrap_or(LeaseToken { delivery: 0, salt: 0 }))
}

/// A W3C `traceparent`, as far as its version is known here.
///
/// # Errors
/// `VALIDATION` naming the place and the form.
pub fn trace(place: &Place<'_>, text: &str) -> Result<Name, Problem> {
    match TraceContext::parse(text) {
        Some(context) => Ok(context.to_string().into()),
        None => Err(Problem::field(
            place,
            "must be a W3C traceparent such as \"00-<32 hex>-<16 hex>-01\": lower case, neither id all zeros",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Place<'static> = Place::ROOT;

    #[test]
    fn queues_have_plain_names() {
        let long = "q".repeat(128);
        for good in ["a", "emails", "A-Z_0.9:x", &long] {
            assert_eq!(&*queue(&AT, good).unwrap(), good);
        }
        let too_long = "q".repeat(129);
        for bad in ["", " ", "a b", "a/b", "ä", "a\0", "a\n", "*", &too_long] {
            assert!(queue(&AT, bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_queue_has_a_name_that_an_address_can_hold() {
        for bad in [".", ".."] {
            assert_eq!(queue(&AT, bad).unwrap_err().code.name(), "VALIDATION");
            assert!(queue_in_path(bad).is_err());
        }
        for good in ["...", ".a", "a..b", "-"] {
            assert!(queue(&AT, good).is_ok(), "{good}");
        }
    }

    #[test]
    fn an_impossible_id_is_not_found() {
        assert!(job("invoice-7").is_ok());
        for bad in ["", "a/b", "a\0", "é", &"x".repeat(65)] {
            assert_eq!(job(bad).unwrap_err().code.name(), "NOT_FOUND");
        }
        for bad in ["a.b", "", "batch"] {
            assert_eq!(id(&AT, bad).unwrap_err().code.name(), "VALIDATION");
        }
    }

    #[test]
    fn labels_have_no_control_characters() {
        assert_eq!(&*label(&AT, "Zürich 7", 10).unwrap(), "Zürich 7");
        for bad in ["a\0", "a\r\n", "\u{7f}", "\u{85}", "12345678901"] {
            assert!(label(&AT, bad, 10).is_err(), "{bad:?}");
        }
        assert!(key(&AT, "", 10).is_err());
        assert_eq!(&*worker(&AT, None).unwrap(), "");
    }

    #[test]
    fn any_text_is_a_token_but_only_ours_can_match() {
        let ours = LeaseToken { delivery: 1, salt: 7 };
        assert_eq!(token(&AT, &ours.to_string()).unwrap(), ours);
        assert_eq!(token(&AT, "made-up").unwrap(), LeaseToken { delivery: 0, salt: 0 });
        assert!(token(&AT, "").is_err());
        assert!(token(&AT, &"x".repeat(65)).is_err());
    }

    #[test]
    fn a_trace_has_four_parts() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert!(trace(&AT, good).is_ok());
        for bad in ["", "00", &good.to_uppercase(), &format!("{good}-x"), &good[1..]] {
            assert!(trace(&AT, bad).is_err(), "{bad}");
        }
    }
}
