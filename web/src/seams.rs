// SPDX-License-Identifier: Apache-2.0
//! What others may plug into the doors, each with its open default.
//!
//! Hooks are synchronous and read what their feature keeps in memory: there is no IO in a request check.

use std::sync::Arc;

use actix_web::http::header::HeaderMap;
use futures_util::future::LocalBoxFuture;
use jobbie_broker::{Name, Scope, Timestamp, id::DEFAULT_NAMESPACE};

use crate::error::{Code, Detail, Problem};
use crate::routes::Row;

/// What a route lets its caller do. Every row of the table names one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Anybody: health and the shell of the page.
    Public,
    /// Add jobs.
    Enqueue,
    /// Fetch, ack, fail, release, heartbeat: what a worker does.
    Work,
    /// Wait for a job and look at it.
    Watch,
    /// Read everything but keys.
    Read,
    /// Read the metrics.
    Metrics,
    /// Ask who one is, open and close a session: whatever the key.
    Identify,
    /// Change jobs.
    ManageJobs,
    /// Change queues.
    ManageQueues,
    /// Make, list and remove keys.
    ManageKeys,
    /// Take everything out: backups.
    Admin,
    /// Break things on purpose, in tests.
    Debug,
}

/// How a caller has shown who they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// Not at all: there was no need to.
    None,
    /// By a key, in that version of its document.
    Key {
        /// The version.
        version: u64,
    },
    /// By a cookie, which browsers add by themselves: whose page it is must be looked at besides.
    Session {
        /// The version of the document of the key that the session was opened with.
        version: u64,
        /// The key of the session's document.
        session: Name,
    },
}

/// What a caller may do with the action that they were let through for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pass {
    /// Who they are, for the log: a key's id, or `anonymous`.
    pub by: Name,
    /// The queues they may do it with. Every port that the handler can reach takes it, so no handler can forget.
    pub scope: Scope,
    /// How they have shown it.
    pub proof: Proof,
    /// Until when it holds at most.
    pub until: Option<Timestamp>,
}

impl Pass {
    /// For whoever calls while there are no keys.
    #[must_use]
    pub fn anonymous(scope: Scope) -> Self {
        Self { by: "anonymous".into(), scope, proof: Proof::None, until: None }
    }
}

/// Decides who calls, whether they may, and with which queues.
pub trait Authorizer: Send + Sync {
    /// Lets a caller through.
    ///
    /// # Errors
    /// `UNAUTHORIZED` or `FORBIDDEN`.
    fn authorize(&self, headers: &HeaderMap, action: Action) -> Result<Pass, Problem>;

    /// Counts a call of whoever was let through.
    ///
    /// # Errors
    /// `RATE_LIMITED`.
    fn admit(&self, pass: &Pass) -> Result<(), Problem>;

    /// Resolves when a pass does not hold any more, with what its holder is told: for long polls and streams.
    fn lapse(&self, pass: &Pass) -> LocalBoxFuture<'static, Problem>;

    /// True if there are no keys, so that anybody who can connect may do everything.
    fn is_open(&self) -> bool;
}

/// Decides which namespace a call is about.
pub trait NamespaceResolver: Send + Sync {
    /// The namespace for a caller.
    ///
    /// # Errors
    /// `NOT_LICENSED`, or `NOT_FOUND` for a namespace that is not the caller's.
    fn resolve(&self, headers: &HeaderMap, by: &Name) -> Result<Name, Problem>;
}

/// The header that asks for a namespace.
pub const NAMESPACE_HEADER: &str = "x-jobbie-namespace";

/// Always `default`. Another namespace is refused, never silently ignored.
#[derive(Clone, Debug)]
pub struct DefaultOnly {
    namespace: Name,
}

impl Default for DefaultOnly {
    fn default() -> Self {
        Self { namespace: DEFAULT_NAMESPACE.into() }
    }
}

impl NamespaceResolver for DefaultOnly {
    fn resolve(&self, headers: &HeaderMap, _: &Name) -> Result<Name, Problem> {
        match headers.get(NAMESPACE_HEADER) {
            Some(asked) if asked.as_bytes() != DEFAULT_NAMESPACE.as_bytes() => {
                Err(Problem::new(Code::NotLicensed, "namespaces other than default need a licence")
                    .with("feature", Detail::Text("namespaces".into())))
            }
            _ => Ok(self.namespace.clone()),
        }
    }
}

/// Adds routes.
pub trait RouteExtension: Send + Sync {
    /// The rows to add to the table.
    fn rows(&self) -> Vec<Row>;
}

/// All hooks of the doors.
#[derive(Clone)]
pub struct Seams {
    /// Who may do what; `None` for API keys.
    pub authorizer: Option<Arc<dyn Authorizer>>,
    /// Which namespace a call is about.
    pub namespaces: Arc<dyn NamespaceResolver>,
    /// Further routes.
    pub extensions: Vec<Arc<dyn RouteExtension>>,
}

impl Default for Seams {
    fn default() -> Self {
        Self { authorizer: None, namespaces: Arc::new(DefaultOnly::default()), extensions: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::http::header::{HeaderName, HeaderValue};

    #[test]
    fn another_namespace_needs_a_licence() {
        let resolve = |value: Option<&str>| {
            let mut headers = HeaderMap::new();
            if let Some(value) = value {
                headers
                    .insert(HeaderName::from_static(NAMESPACE_HEADER), HeaderValue::from_str(value).unwrap());
            }
            DefaultOnly::default().resolve(&headers, &"anonymous".into())
        };
        assert_eq!(&*resolve(None).unwrap(), "default");
        assert_eq!(&*resolve(Some("default")).unwrap(), "default");
        for other in ["tenant-a", "", "Default"] {
            assert_eq!(resolve(Some(other)).unwrap_err().code, Code::NotLicensed);
        }
    }
}
