// SPDX-License-Identifier: Apache-2.0
//! The request that a task works for. It goes wherever the task goes; what is spawned for it is given it by
//! [`carry`]. Work for many requests at once, such as an entry of the log, is for none of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::TraceContext;

tokio::task_local! {
    static CURRENT: Arc<Current>;
}

/// A request that is being answered.
#[derive(Debug)]
pub struct Current {
    request_id: Arc<str>,
    span: Option<TraceContext>,
    /// Nanoseconds that were waited because the caller asked for it.
    waited: AtomicU64,
}

impl Current {
    /// A request with its id and, if it is recorded, its span.
    #[must_use]
    pub fn new(request_id: Arc<str>, span: Option<TraceContext>) -> Arc<Self> {
        Arc::new(Self { request_id, span, waited: AtomicU64::new(0) })
    }

    /// Its span, if it is recorded.
    #[must_use]
    pub const fn span(&self) -> Option<TraceContext> {
        self.span
    }

    /// How long it has waited because its caller asked for it: a long poll for something to happen.
    #[must_use]
    pub fn waited(&self) -> Duration {
        Duration::from_nanos(self.waited.load(Ordering::Relaxed))
    }
}

/// Runs a future on behalf of a request.
pub async fn scope<F: Future>(current: Arc<Current>, work: F) -> F::Output {
    CURRENT.scope(current, work).await
}

/// The request that this task works for.
#[must_use]
pub fn current() -> Option<Arc<Current>> {
    CURRENT.try_with(Arc::clone).ok()
}

/// The id of the request that this task works for.
#[must_use]
pub fn request_id() -> Option<Arc<str>> {
    CURRENT.try_with(|current| current.request_id.clone()).ok()
}

/// Carries the request of this task into another one: for what is spawned on its behalf.
pub fn carry<F: Future>(work: F) -> impl Future<Output = F::Output> {
    let current = current();
    async move {
        match current {
            Some(current) => CURRENT.scope(current, work).await,
            None => work.await,
        }
    }
}

/// As [`carry`], for a closure that runs on another thread.
pub(crate) fn carry_into<R>(work: impl FnOnce() -> R) -> impl FnOnce() -> R {
    let current = current();
    move || match current {
        Some(current) => CURRENT.sync_scope(current, work),
        None => work(),
    }
}

/// Waits for what the caller asked to wait for: the time does not count as that of the answer.
pub async fn waiting<F: Future>(wait: F) -> F::Output {
    let since = Instant::now();
    let done = wait.await;
    let waited = u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX);
    // Outside of a request nobody asks how long it took.
    let _ = CURRENT.try_with(|current| current.waited.fetch_add(waited, Ordering::Relaxed));
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_spawned_for_a_request_knows_it() {
        assert!(current().is_none());
        let id = || request_id().map(|id| id.to_string());
        let inside = scope(Current::new("r1".into(), None), async {
            let bare = tokio::spawn(async move { id() }).await.unwrap();
            let carried = tokio::spawn(carry(async move { id() })).await.unwrap();
            let blocking = tokio::task::spawn_blocking(carry_into(id)).await.unwrap();
            (id(), bare, carried, blocking)
        });
        let r1 = Some("r1".to_owned());
        assert_eq!(inside.await, (r1.clone(), None, r1.clone(), r1));
        assert_eq!(id(), None);
    }

    #[tokio::test]
    async fn only_waits_that_were_asked_for_are_taken_off() {
        let request = Current::new("r1".into(), None);
        let work = async {
            assert_eq!(current().unwrap().waited(), Duration::ZERO);
            waiting(tokio::time::sleep(Duration::from_millis(2))).await;
        };
        scope(request.clone(), work).await;
        assert!(request.waited() >= Duration::from_millis(2));
        waiting(async {}).await;
    }
}
