// SPDX-License-Identifier: Apache-2.0
//! A child that is no actor: an async function that says when it is ready and ends when it is told to stop.
//!
//! It is polled on the arbiter of its family, so it must not block; a runtime or thread of its own (Raft, the
//! log, the HTTP server) is started inside and awaited. Killing it drops its future.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::sync::watch;

use super::{
    child::{Birth, Body, Launch, Stop, run},
    epoch::Epoch,
};

/// What a task is given at each start.
pub struct TaskStart {
    birth: Birth,
    stop: watch::Receiver<bool>,
}

impl TaskStart {
    /// Tells the supervisor that later siblings may start. Without it the start runs into its timeout; a task
    /// that returns `Ok` counts as ready.
    pub fn ready(&self) {
        self.birth.ready();
    }

    /// Resolves when the task should end. It then has its stop timeout to return.
    pub fn stopping(&self) -> impl Future<Output = ()> + Send + 'static + use<> {
        let mut stop = self.stop.clone();
        async move {
            // An error means that the supervisor is gone: also a reason to stop.
            let _ = stop.wait_for(|stop| *stop).await;
        }
    }

    /// This life of the task.
    pub fn epoch(&self) -> &Epoch {
        &self.birth.epoch
    }
}

impl fmt::Debug for TaskStart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskStart").field("epoch", self.epoch()).finish_non_exhaustive()
    }
}

pub(super) struct TaskChild<F>(pub(super) Arc<F>);

impl<F, T, E> Launch for TaskChild<F>
where
    F: Fn(TaskStart) -> T + Send + Sync + 'static,
    T: Future<Output = Result<(), E>> + 'static,
    E: fmt::Display + 'static,
{
    fn launch(&self, birth: Birth) -> Stop {
        let (stop, stopping) = watch::channel(false);
        let factory = Arc::clone(&self.0);
        run(birth, move |birth| {
            TaskBody(Box::pin(factory(TaskStart { birth: birth.clone(), stop: stopping })))
        });
        Box::new(move || {
            stop.send_replace(true);
        })
    }
}

struct TaskBody<T>(Pin<Box<T>>);

impl<T, E> Body for TaskBody<T>
where
    T: Future<Output = Result<(), E>> + 'static,
    E: fmt::Display + 'static,
{
    fn turn(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), String>> {
        self.0.as_mut().poll(cx).map_err(|error| error.to_string())
    }
}
