// SPDX-License-Identifier: Apache-2.0
//! Keeps web pages of others away from a server without keys.
//!
//! A browser on this machine can reach loopback, and so can any page it shows. Three checks, only while
//! there are no keys:
//!
//! - bound to loopback, `Host` must name this machine: a name that an attacker lets point to 127.0.0.1
//!   (DNS rebinding) does not;
//! - `Origin`, which browsers add and pages cannot forge, must be where the call goes: the host and port of
//!   `Host`. On loopback other ports are other programs, and their pages are pages of others;
//! - what is no page must not be asked for from elsewhere (`Sec-Fetch-Site`): also an image's address can
//!   lead to `GET /stream`. `same-site` is elsewhere too: sites do not count ports.

use std::net::IpAddr;

use actix_web::HttpRequest;
use actix_web::http::header::{HOST, HeaderName, ORIGIN};

use crate::error::{Code, Problem};
use crate::forwarded::Origin;
use crate::seams::Action;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// What is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// There are keys: a page of others has none.
    Keys,
    /// No keys, bound to loopback.
    Loopback,
    /// No keys, bound to anything.
    Anywhere,
    /// A cookie is the key, and browsers send cookies for whatever page asks. `SameSite` keeps other sites out,
    /// but other ports of this host are the same site.
    Cookie,
}

impl Guard {
    /// Refuses what a page of others may have sent.
    ///
    /// # Errors
    /// `FORBIDDEN`.
    pub fn check(self, request: &HttpRequest, from: &Origin, action: Action) -> Result<(), Problem> {
        let header =
            |name: HeaderName| request.headers().get(name).map(|value| value.to_str().unwrap_or("?"));
        let authority = request.uri().authority().map(actix_web::http::uri::Authority::as_str);
        let asked = Asked {
            host: authority.or_else(|| header(HOST)),
            forwarded_host: from.host.as_deref(),
            secure: from.secure,
            origin: header(ORIGIN),
            fetch_site: header(SEC_FETCH_SITE),
            page: action == Action::Public,
            changes: !request.method().is_safe(),
        };
        self.decide(&asked)
    }

    fn decide(self, asked: &Asked<'_>) -> Result<(), Problem> {
        if self == Self::Keys {
            return Ok(());
        }
        let host = asked.host.unwrap_or_default();
        if self == Self::Loopback && !names_this_machine(host) {
            return Err(forbidden(
                "the Host header must be localhost, 127.0.0.1 or [::1] while the server has no keys",
            ));
        }
        if let Some(origin) = asked.origin {
            let (scheme, from) = origin.split_once("://").unwrap_or_default();
            let expected = if asked.secure { "https" } else { "http" };
            // On another bind a proxy that nobody has named may speak TLS for the server.
            let right = scheme.eq_ignore_ascii_case(expected) || self != Self::Loopback;
            if !right || !from.eq_ignore_ascii_case(asked.forwarded_host.unwrap_or(host)) {
                return Err(forbidden(self.words("pages of other sites may not call this server")));
            }
        }
        let elsewhere = |site: &str| !matches!(site, "same-origin" | "none");
        if !asked.page && asked.fetch_site.is_some_and(elsewhere) {
            let words = "pages of other sites may not lead a browser to this address";
            return Err(forbidden(self.words(words)));
        }
        // Every browser says of what changes something where it comes from; what does not has no need of cookies.
        if self == Self::Cookie && asked.changes && asked.origin.is_none() && asked.fetch_site.is_none() {
            return Err(forbidden("a call with a cookie that changes something must have the header Origin"));
        }
        Ok(())
    }

    fn words(self, what: &str) -> String {
        match self {
            Self::Cookie => format!("{what} with the cookie of a session"),
            _ => format!("{what} while it has no keys"),
        }
    }
}

#[derive(Default)]
struct Asked<'a> {
    host: Option<&'a str>,
    /// The host that a trusted proxy was asked for.
    forwarded_host: Option<&'a str>,
    secure: bool,
    origin: Option<&'a str>,
    fetch_site: Option<&'a str>,
    page: bool,
    /// True for methods that change something.
    changes: bool,
}

fn forbidden(message: impl Into<String>) -> Problem {
    Problem::new(Code::Forbidden, message)
}

/// True for `localhost` and loopback addresses, with any port.
fn names_this_machine(authority: &str) -> bool {
    let host = match authority.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((host, port)) if is_port(port) => host,
            _ => return false,
        },
        None => match authority.split_once(':') {
            Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
            Some(_) => return false,
            None => authority,
        },
    };
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn is_port(text: &str) -> bool {
    text.is_empty() || text.strip_prefix(':').is_some_and(|port| port.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_few_names() {
        for good in
            ["localhost", "LocalHost:8080", "127.0.0.1", "127.0.0.1:1", "[::1]", "[::1]:8080", "127.1.2.3:9"]
        {
            assert!(names_this_machine(good), "{good}");
        }
        for bad in [
            "",
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "localhost:8080:1",
            "[::1]x",
            "::1",
            "localhost:x",
            "10.0.0.1",
            "user@localhost",
            "0.0.0.0",
            "[::1",
            "localhost@evil.example",
        ] {
            assert!(!names_this_machine(bad), "{bad}");
        }
    }

    fn ask(guard: Guard, host: &str, origin: Option<&str>, site: Option<&str>, page: bool) -> bool {
        let asked = Asked { host: Some(host), origin, fetch_site: site, page, ..Asked::default() };
        guard.decide(&asked).is_ok()
    }

    #[test]
    fn loopback_listens_to_loopback() {
        let at = |host, origin, site| ask(Guard::Loopback, host, origin, site, false);
        assert!(at("localhost:8080", None, None));
        assert!(at("127.0.0.1:8080", Some("http://127.0.0.1:8080"), Some("same-origin")));
        assert!(at("LOCALHOST:8080", Some("http://localhost:8080"), Some("none")));
        assert!(!at("evil.example", None, None));
        assert!(!at("localhost:8080", Some("https://evil.example"), None));
        assert!(!at("localhost:8080", Some("null"), None));
        assert!(!at("localhost:8080", None, Some("cross-site")));
        assert!(ask(Guard::Loopback, "localhost", None, Some("cross-site"), true), "a link to the page");
        assert!(ask(Guard::Loopback, "localhost", None, Some("same-site"), true), "a link on the next port");
        let missing = Asked::default();
        assert!(Guard::Loopback.decide(&missing).is_err());
    }

    #[test]
    fn another_port_of_this_machine_is_another_program() {
        let at = |origin, site| ask(Guard::Loopback, "localhost:8080", origin, site, false);
        for origin in [
            "http://localhost:3000",
            "http://localhost",
            "https://localhost:8080",
            "http://127.0.0.1:8080",
            "http://[::1]:8080",
            "localhost:8080",
            "null",
            "",
        ] {
            assert!(!at(Some(origin), None), "{origin}");
        }
        // A form or an image sends no Origin with GET.
        assert!(!at(None, Some("same-site")));
        assert!(!ask(Guard::Anywhere, "jobs.example", None, Some("same-site"), false));
        assert!(!ask(Guard::Loopback, "localhost:8080", Some("http://localhost:3000"), None, true));
    }

    #[test]
    fn behind_a_proxy_the_origin_is_what_the_proxy_was_asked_for() {
        let at = |origin, forwarded_host, secure| {
            let host = Some("localhost:8080");
            let asked = Asked { host, forwarded_host, secure, origin: Some(origin), ..Asked::default() };
            Guard::Loopback.decide(&asked).is_ok()
        };
        assert!(at("https://jobs.example", Some("jobs.example"), true));
        assert!(!at("http://jobs.example", Some("jobs.example"), true), "not the page of that site");
        assert!(!at("https://evil.example", Some("jobs.example"), true));
        assert!(at("https://localhost:8080", None, true));
        assert!(!at("https://localhost:8080", None, false));
        // A name that leads to this machine is refused whatever else is sent with it.
        let host = Some("evil.example");
        let rebound = Asked { host, forwarded_host: Some("localhost"), ..Asked::default() };
        assert!(Guard::Loopback.decide(&rebound).is_err());
    }

    #[test]
    fn elsewhere_origin_and_host_are_the_same() {
        let at = |host, origin| ask(Guard::Anywhere, host, origin, None, false);
        assert!(at("jobs.example:8080", None));
        assert!(at("jobs.example:8080", Some("http://jobs.example:8080")));
        assert!(at("jobs.example", Some("https://jobs.example")));
        assert!(!at("jobs.example:8080", Some("http://evil.example:8080")));
        assert!(ask(Guard::Keys, "x", Some("http://evil.example"), Some("cross-site"), false));
    }

    #[test]
    fn a_cookie_counts_only_for_pages_of_this_server() {
        let at = |changes, origin, fetch_site| {
            let asked = Asked { host: Some("jobs.example"), origin, fetch_site, changes, ..Asked::default() };
            Guard::Cookie.decide(&asked).is_ok()
        };
        for changes in [true, false] {
            assert!(at(changes, Some("https://jobs.example"), Some("same-origin")));
            assert!(at(changes, Some("http://jobs.example"), None));
            for origin in ["https://evil.example", "https://jobs.example:3000", "null"] {
                assert!(!at(changes, Some(origin), None), "{origin}");
            }
            assert!(!at(changes, None, Some("cross-site")) && !at(changes, None, Some("same-site")));
        }
        assert!(at(false, None, None), "an event stream of the page itself has no Origin");
        assert!(!at(true, None, None));
    }
}
