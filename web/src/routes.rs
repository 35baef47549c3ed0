// SPDX-License-Identifier: Apache-2.0
//! The table of routes: method, path, required action, what the call takes, how it answers, its query
//! parameters, handler.
//!
//! There is no row without an action, so no handler can forget authorization; what is open to everybody says
//! `Public`. Within a path's length, rows with a fixed last part come before those with a variable one.

use std::sync::Arc;

use actix_web::http::Method;
use futures_util::future::LocalBoxFuture;

use crate::api::{
    ack, admin, auth, debug, enqueue, events, fail, fetch, health, heartbeat, info, job, job_stream, queue,
    release, session, stream, throughput, wait,
};
use crate::call::{Answer, Call};
use crate::seams::Action;
use crate::wire::Limits;
use crate::wire::limits::{ENVELOPE, ESCAPED};
use crate::{dashboard, docs};

/// What a call takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// No body.
    Nothing,
    /// JSON of at most that size.
    Json(Size),
    /// JSON or MessagePack of at most that size, and the answer likewise.
    Worker(Size),
}

impl Takes {
    /// How large the body may be; `None` if there is none.
    #[must_use]
    pub const fn size(self) -> Option<Size> {
        match self {
            Self::Nothing => None,
            Self::Json(size) | Self::Worker(size) => Some(size),
        }
    }
}

/// What a body may have to hold, which says how large it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// Fields of limited length.
    Fields,
    /// A job with its payload.
    Job,
    /// The end of an attempt: result, error, backtrace, checkpoint.
    Attempt,
    /// Many of them.
    Batch,
}

impl Size {
    /// The size in bytes: a body that is larger has something in it that is over its own limit.
    #[must_use]
    pub fn limit(self, limits: &Limits) -> usize {
        let attempt =
            || [limits.result, limits.checkpoint, ESCAPED * limits.error, ESCAPED * limits.backtrace];
        let size = match self {
            Self::Fields => ENVELOPE,
            Self::Job => limits.payload.saturating_add(ENVELOPE),
            Self::Attempt => attempt().into_iter().fold(ENVELOPE, usize::saturating_add),
            Self::Batch => limits.body,
        };
        size.min(limits.body)
    }
}

/// Which query parameters a call has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parameters {
    /// These; others are refused.
    Only(&'static [&'static str]),
    /// Whatever a browser or a load balancer adds: nothing is read from them.
    Any,
}

/// How a call answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answers {
    /// As soon as it can.
    Now,
    /// When something happens, or never ends.
    Later,
}

/// What answers a call.
pub type Handler = Arc<dyn Fn(Call) -> LocalBoxFuture<'static, Answer> + Send + Sync>;

/// One row of the table.
#[derive(Clone)]
pub struct Row {
    /// The method; see [`Row::methods`].
    pub method: Method,
    /// The path below the base path, with `{names}` for its variable parts.
    pub path: &'static str,
    /// What the caller must be allowed to do.
    pub action: Action,
    /// What the call takes.
    pub takes: Takes,
    /// How it answers.
    pub answers: Answers,
    /// Its query parameters.
    pub parameters: Parameters,
    /// What answers it.
    pub handler: Handler,
}

impl Row {
    /// The methods that lead here. `HEAD` is one of them where `GET` answers at once and has no effect: asking
    /// for the head of a job stream would lease jobs to nobody.
    #[must_use]
    pub fn methods(&self) -> Vec<Method> {
        let head = self.method == Method::GET && self.answers == Answers::Now;
        std::iter::once(self.method.clone()).chain(head.then_some(Method::HEAD)).collect()
    }
}

macro_rules! parameters {
    () => {
        Parameters::Only(&[])
    };
    (..) => {
        Parameters::Any
    };
    ($list:path) => {
        Parameters::Only($list)
    };
}

macro_rules! table {
    ($($method:ident $path:literal $action:ident $takes:ident$(($size:ident))? $answers:ident [$($parameters:tt)*] $handler:path,)*) => {
        vec![$(Row {
            method: Method::$method,
            path: $path,
            action: Action::$action,
            takes: Takes::$takes$((Size::$size))?,
            answers: Answers::$answers,
            parameters: parameters!($($parameters)*),
            handler: Arc::new(|call| Box::pin($handler(call))),
        },)*]
    };
}

/// All routes of the open edition.
#[rustfmt::skip]
#[must_use]
pub fn table() -> Vec<Row> {
    table! {
        POST   "/api/v1/enqueue"                    Enqueue      Worker(Job)     Now   [] enqueue::one,
        POST   "/api/v1/enqueue/batch"              Enqueue      Worker(Batch)   Now   [] enqueue::batch,

        POST   "/api/v1/fetch"                      Work         Worker(Fields)  Later [] fetch::one,
        POST   "/api/v1/fetch/batch"                Work         Worker(Fields)  Later [] fetch::batch,
        POST   "/api/v1/ack/batch"                  Work         Worker(Batch)   Now   [] ack::batch,
        POST   "/api/v1/ack/{job_id}"               Work         Worker(Attempt) Now   [] ack::one,
        POST   "/api/v1/fail/batch"                 Work         Worker(Batch)   Now   [] fail::batch,
        POST   "/api/v1/fail/{job_id}"              Work         Worker(Attempt) Now   [] fail::one,
        POST   "/api/v1/release/batch"              Work         Worker(Batch)   Now   [] release::batch,
        POST   "/api/v1/release/{job_id}"           Work         Worker(Attempt) Now   [] release::one,
        POST   "/api/v1/heartbeat"                  Work         Worker(Batch)   Now   [] heartbeat::beat,
        GET    "/api/v1/stream"                     Work         Nothing         Later [stream::PARAMETERS] stream::open,

        GET    "/api/v1/jobs"                       Read         Nothing         Now   [job::PARAMETERS] job::list,
        GET    "/api/v1/jobs/{job_id}"              Watch        Nothing         Now   [] job::get,
        PATCH  "/api/v1/jobs/{job_id}"              ManageJobs   Json(Job)       Now   [] job::patch,
        DELETE "/api/v1/jobs/{job_id}"              ManageJobs   Nothing         Now   [] job::delete,
        GET    "/api/v1/jobs/{job_id}/wait"         Watch        Nothing         Later [wait::PARAMETERS] wait::wait,
        GET    "/api/v1/jobs/{job_id}/stream"       Watch        Nothing         Later [] job_stream::follow,
        GET    "/api/v1/jobs/{job_id}/timeline"     Watch        Nothing         Now   [] job::timeline,
        POST   "/api/v1/jobs/{job_id}/retry"        ManageJobs   Json(Fields)    Now   [] job::retry,
        POST   "/api/v1/jobs/{job_id}/cancel"       ManageJobs   Json(Fields)    Now   [] job::cancel,
        POST   "/api/v1/jobs/{job_id}/move"         ManageJobs   Json(Fields)    Now   [] job::move_to,
        POST   "/api/v1/jobs/{job_id}/clone"        ManageJobs   Json(Fields)    Now   [] job::clone,

        GET    "/api/v1/queues"                     Read         Nothing         Now   [] queue::list,
        GET    "/api/v1/queues/{queue}"             Read         Nothing         Now   [] queue::get,
        DELETE "/api/v1/queues/{queue}"             ManageQueues Nothing         Now   [queue::DELETE_PARAMETERS] queue::delete,
        POST   "/api/v1/queues/{queue}/pause"       ManageQueues Json(Fields)    Now   [] queue::pause,
        POST   "/api/v1/queues/{queue}/resume"      ManageQueues Json(Fields)    Now   [] queue::resume,
        POST   "/api/v1/queues/{queue}/drain"       ManageQueues Json(Fields)    Now   [] queue::drain,
        POST   "/api/v1/queues/{queue}/clear"       ManageQueues Json(Fields)    Now   [] queue::clear,
        POST   "/api/v1/queues/{queue}/concurrency" ManageQueues Json(Fields)    Now   [] queue::concurrency,
        POST   "/api/v1/queues/{queue}/throttle"    ManageQueues Json(Fields)    Now   [] queue::throttle,
        DELETE "/api/v1/queues/{queue}/throttle"    ManageQueues Nothing         Now   [] queue::unthrottle,

        GET    "/api/v1/events"                     Read         Nothing         Later [events::PARAMETERS] events::follow,
        GET    "/api/v1/metrics"                    Metrics      Nothing         Now   [] health::api_metrics,
        GET    "/api/v1/metrics/throughput"         Read         Nothing         Now   [] throughput::get,
        GET    "/api/v1/info"                       Read         Nothing         Now   [] info::get,
        GET    "/api/v1/supervisors"                Read         Nothing         Now   [] info::supervisors,
        GET    "/api/v1/admin/backup"               Admin        Nothing         Later [] admin::backup,
        POST   "/api/v1/auth/keys"                  ManageKeys   Json(Fields)    Now   [] auth::create,
        GET    "/api/v1/auth/keys"                  ManageKeys   Nothing         Now   [] auth::list,
        DELETE "/api/v1/auth/keys/{key_id}"         ManageKeys   Nothing         Now   [] auth::revoke,
        GET    "/api/v1/auth/status"                Identify     Nothing         Now   [] auth::status,
        POST   "/api/v1/session"                    Identify     Json(Fields)    Now   [] session::open,
        GET    "/api/v1/session"                    Identify     Nothing         Now   [] session::get,
        DELETE "/api/v1/session"                    Identify     Nothing         Now   [] session::close,

        GET    "/api/v1/openapi.json"               Public       Nothing         Now   [] docs::openapi,

        GET    "/healthz"                           Public       Nothing         Now   [..] health::healthz,
        GET    "/readyz"                            Public       Nothing         Now   [..] health::readyz,
        GET    "/metrics"                           Metrics      Nothing         Now   [] health::metrics,

        GET    "/"                                  Public       Nothing         Now   [..] dashboard::home,
        GET    "/ui"                                Public       Nothing         Now   [..] dashboard::home,
        GET    "/ui/"                               Public       Nothing         Now   [..] dashboard::page,
        GET    "/ui/{file}"                         Public       Nothing         Now   [..] dashboard::file,
        GET    "/docs"                              Public       Nothing         Now   [..] docs::home,
        GET    "/docs/"                             Public       Nothing         Now   [..] docs::page,
        GET    "/docs/{file}"                       Public       Nothing         Now   [..] docs::file,
    }
}

/// Routes for tests of the server, not described anywhere.
#[rustfmt::skip]
#[must_use]
pub fn debug_table() -> Vec<Row> {
    table! {
        POST   "/api/v1/debug/crash"                Debug        Json(Fields)    Now   [] debug::crash,
        POST   "/api/v1/debug/hang"                 Debug        Json(Fields)    Now   [] debug::hang,
        POST   "/api/v1/debug/fault"                Debug        Json(Fields)    Now   [] debug::fault,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn a_route_is_there_once_and_fixed_parts_come_first() {
        let rows = table();
        let mut seen = HashSet::new();
        for row in &rows {
            assert!(
                seen.insert((row.method.clone(), row.path)),
                "{} {} is there twice",
                row.method,
                row.path
            );
        }
        for (at, row) in rows.iter().enumerate().filter(|(_, row)| row.path.contains('{')) {
            let (before, _) = row.path.rsplit_once('/').unwrap();
            let shadowed =
                rows[at..].iter().find(|later| {
                    later.path.rsplit_once('/').is_some_and(|(head, tail)| {
                        head == before && !tail.is_empty() && !tail.starts_with('{')
                    }) && row.path.ends_with('}')
                });
            assert!(shadowed.is_none(), "{} hides {}", row.path, shadowed.unwrap().path);
        }
    }

    #[test]
    fn only_pages_and_health_are_public() {
        for row in table() {
            let open = !row.path.starts_with("/api/") && row.path != "/metrics"
                || row.path.ends_with("openapi.json");
            assert_eq!(row.action == Action::Public, open, "{}", row.path);
            assert!(row.action != Action::Public || row.method == Method::GET, "{}", row.path);
        }
    }

    #[test]
    fn what_changes_something_is_not_open_to_readers() {
        for row in table() {
            let reads = matches!(row.action, Action::Public | Action::Read | Action::Metrics | Action::Watch);
            assert!(!reads || row.method == Method::GET, "{} {}", row.method, row.path);
        }
    }

    #[test]
    fn asking_for_a_head_opens_no_stream_and_waits_for_nothing() {
        let heads = |path: &str| {
            let here = table().into_iter().filter(|row| row.path == path);
            here.flat_map(|row| row.methods()).any(|method| method == Method::HEAD)
        };
        for path in
            ["/api/v1/stream", "/api/v1/events", "/api/v1/jobs/{job_id}/stream", "/api/v1/jobs/{job_id}/wait"]
        {
            assert!(!heads(path), "{path}");
        }
        for path in ["/healthz", "/ui/", "/api/v1/jobs", "/api/v1/queues/{queue}"] {
            assert!(heads(path), "{path}");
        }
        assert!(!heads("/api/v1/enqueue"));
        let changes = |row: &Row| row.method != Method::GET || row.action == Action::Work;
        assert!(!table().iter().any(|row| changes(row) && row.methods().contains(&Method::HEAD)));
    }

    #[test]
    fn only_pages_and_health_take_any_parameters() {
        for row in table() {
            let lenient = row.action == Action::Public && !row.path.starts_with("/api/");
            assert_eq!(row.parameters == Parameters::Any, lenient, "{}", row.path);
        }
    }
}
