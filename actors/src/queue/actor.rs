// SPDX-License-Identifier: Apache-2.0
//! The actor of one queue.
//!
//! It caches nothing: who waits is in the queue's [`Line`]. It wakes up when something other than an enqueue has
//! made a job available to somebody who waits, when a claim is decided and more is there, and when the queue's
//! throttle opens; it then puts their claims into the log. When it dies the next one looks as soon as it starts:
//! nothing is lost.

use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, AsyncContext, Context, Handler, SpawnHandle};
use jobbie_broker::Timestamp;

use super::directory::Retire;
use super::line::Line;
use super::messages::Stir;
use crate::clock::Clock;
use crate::raft_node::proposer::Proposer;
use crate::supervise::Epoch;

/// How often those who have gone away are cleared out, and how long an actor idles before it is retired.
const TIDY: Duration = Duration::from_secs(10);

/// The actor of one queue.
pub struct QueueActor {
    epoch: Epoch,
    line: Arc<Line>,
    clock: Clock,
    proposer: Proposer,
    retire: Retire,
    /// When the throttle opens, and the timer for it.
    opens: Option<(Timestamp, SpawnHandle)>,
    idle: bool,
}

impl QueueActor {
    /// The actor of a queue with its line.
    #[must_use]
    pub(crate) fn new(
        epoch: Epoch,
        line: Arc<Line>,
        clock: Clock,
        proposer: Proposer,
        retire: Retire,
    ) -> Self {
        Self { epoch, line, clock, proposer, retire, opens: None, idle: false }
    }

    /// Claims for as many as there are jobs that may be handed out now.
    fn wake(&mut self, ctx: &mut Context<Self>) {
        if !self.epoch.is_current() {
            // After a hang another actor looks after the line.
            return;
        }
        let (claims, opens) = self.line.wake();
        for claim in claims {
            self.proposer.submit(claim.lane, claim.submission, claim.answer);
        }
        if let Some(at) = opens {
            self.wake_at(at, ctx);
        }
    }

    fn wake_at(&mut self, at: Timestamp, ctx: &mut Context<Self>) {
        if self.opens.is_some_and(|(earlier, _)| earlier <= at) {
            return;
        }
        if let Some((_, timer)) = self.opens.take() {
            ctx.cancel_future(timer);
        }
        let timer = ctx.run_later(Duration::from_millis(at.since(self.clock.now()).0), |queue, ctx| {
            queue.opens = None;
            queue.wake(ctx);
        });
        self.opens = Some((at, timer));
    }

    fn tidy(&mut self) {
        if !self.line.tidy() {
            self.idle = false;
        } else if self.idle && self.epoch.is_current() {
            let (retire, line) = (self.retire.clone(), self.line.clone());
            actix::spawn(async move { retire.retire(&line).await });
        } else {
            self.idle = true;
        }
    }
}

impl Actor for QueueActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(TIDY, |queue, _| queue.tidy());
        self.wake(ctx);
    }
}

impl Handler<Stir> for QueueActor {
    type Result = ();

    fn handle(&mut self, _: Stir, ctx: &mut Self::Context) {
        self.wake(ctx);
    }
}
