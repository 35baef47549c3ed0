// SPDX-License-Identifier: Apache-2.0
//! Runs one life of one child on its arbiter and reports how it ended.
//!
//! Everything that can unwind (building, polling, dropping) runs inside `catch_unwind`; the arbiter thread and
//! the siblings on it never see a panic.
//!
//! - `C1` each life reports exactly one [`Ending`], also when its arbiter is stopped under it.
//! - `C2` the epoch is closed before the state of the child is dropped, and that before the report.
//! - `C3` the `stopped()` of a crashed actor is not called: its state is not to be trusted.
//!
//! ```text
//! launch ─► building ─► ready ─► running ─┬─► returned ──► Stopped | Failed
//!                                         ├─► panicked ──► Crashed
//!                                         └─► killed ────► Crashed
//! ```

use std::{
    any::Any,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll},
};

use futures_util::task::AtomicWaker;
use tokio::sync::mpsc;

use super::{epoch::Epoch, event::Event, family::Seat};

/// How a life ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// Orderly: it was asked to stop, or has done its work.
    Stopped,
    /// It reported an error of its own.
    Failed(String),
    /// It panicked, hung or was killed.
    Crashed(String),
}

impl Ending {
    pub(super) fn killed() -> Self {
        Self::Crashed("killed on request".to_owned())
    }

    /// True unless the end was orderly.
    pub fn is_abnormal(&self) -> bool {
        !matches!(self, Self::Stopped)
    }

    /// The error text, if there is one.
    pub fn error(&self) -> Option<&str> {
        match self {
            Self::Stopped => None,
            Self::Failed(error) | Self::Crashed(error) => Some(error),
        }
    }
}

/// Ends a life from outside: its future is dropped at the next turn.
#[derive(Debug, Default)]
pub(super) struct KillSwitch {
    reason: Mutex<Option<&'static str>>,
    waker: AtomicWaker,
}

impl KillSwitch {
    pub(super) fn pull(&self, reason: &'static str) {
        self.reason.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(reason);
        self.waker.wake();
    }

    fn pulled(&self) -> Option<&'static str> {
        *self.reason.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Everything a life is given when it is launched.
#[derive(Clone)]
pub(super) struct Birth {
    pub(super) id: u64,
    pub(super) epoch: Epoch,
    pub(super) seat: Seat,
    pub(super) kill: Arc<KillSwitch>,
    pub(super) supervisor: mpsc::UnboundedSender<Event>,
    /// Lives of the whole tree that have not reported yet.
    pub(super) alive: Arc<AtomicUsize>,
}

impl Birth {
    pub(super) fn ready(&self) {
        // Fails only if the supervisor is gone, and then nobody waits.
        let _ = self.supervisor.send(Event::Ready { id: self.id, epoch: self.epoch.number() });
    }

    fn ended(&self, ending: Ending) {
        self.alive.fetch_sub(1, SeqCst);
        let _ = self.supervisor.send(Event::Ended { id: self.id, epoch: self.epoch.number(), ending });
    }
}

/// Asks a life to stop in order.
pub(super) type Stop = Box<dyn Fn()>;

/// A kind of leaf child: knows how to start a life of it.
pub(super) trait Launch: Send + Sync {
    fn launch(&self, birth: Birth) -> Stop;
}

/// What a leaf child is while it lives.
pub(super) trait Body: 'static {
    /// One turn.
    fn turn(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), String>>;
    /// Called after a crash, before the drop.
    fn crashed(&mut self) {}
    /// Called when the life is over, before anything is dropped.
    fn closed(&self, _epoch: &Epoch) {}
}

/// Builds a body on the arbiter thread and runs it to its end.
pub(super) fn run<B: Body>(birth: Birth, build: impl FnOnce(&Birth) -> B + Send + 'static) {
    birth.alive.fetch_add(1, SeqCst);
    let handle = birth.seat.handle.clone();
    let unborn = birth.clone();
    let spawned = handle.spawn_fn(move || {
        let pulse = Arc::clone(&birth.seat.pulse);
        match pulse.during(birth.id, || catch_unwind(AssertUnwindSafe(|| build(&birth)))) {
            Ok(body) => drop(actix_rt::spawn(Driver { birth, body: Some(Box::new(body)) })),
            Err(panic) => {
                birth.epoch.end();
                birth.ended(Ending::Crashed(panic_text(&*panic)));
            }
        }
    });
    if !spawned {
        unborn.epoch.end();
        unborn.ended(Ending::Crashed("its arbiter has stopped".to_owned()));
    }
}

struct Driver<B: Body> {
    birth: Birth,
    body: Option<Box<B>>,
}

impl<B: Body> Driver<B> {
    fn finish(&mut self, ending: Ending) {
        let Some(mut body) = self.body.take() else { return };
        self.birth.epoch.end();
        body.closed(&self.birth.epoch);
        let crashed = matches!(ending, Ending::Crashed(_));
        let dropped = self.birth.seat.pulse.during(self.birth.id, || {
            catch_unwind(AssertUnwindSafe(move || {
                if crashed {
                    body.crashed();
                }
                drop(body);
            }))
        });
        let ending = match (ending, dropped) {
            (Ending::Stopped, Err(panic)) => Ending::Crashed(panic_text(&*panic)),
            (ending, _) => ending,
        };
        self.birth.ended(ending);
    }
}

impl<B: Body> Future for Driver<B> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let Some(body) = this.body.as_mut() else { return Poll::Ready(()) };
        this.birth.kill.waker.register(cx.waker());
        let ending = match this.birth.kill.pulled() {
            Some(reason) => Ending::Crashed(reason.to_owned()),
            None => {
                let turn = || catch_unwind(AssertUnwindSafe(|| body.turn(cx)));
                match this.birth.seat.pulse.during(this.birth.id, turn) {
                    Ok(Poll::Pending) => return Poll::Pending,
                    Ok(Poll::Ready(Ok(()))) => Ending::Stopped,
                    Ok(Poll::Ready(Err(error))) => Ending::Failed(error),
                    Err(panic) => Ending::Crashed(panic_text(&*panic)),
                }
            }
        };
        this.finish(ending);
        Poll::Ready(())
    }
}

impl<B: Body> Drop for Driver<B> {
    fn drop(&mut self) {
        self.finish(Ending::Crashed("its arbiter has stopped".to_owned()));
    }
}

/// The message of a panic, as far as it is text.
pub(super) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned());
    format!("panicked: {}", text.as_deref().unwrap_or("(no message)"))
}
