// SPDX-License-Identifier: Apache-2.0
//! What is known of one connection, and how long it may be silent, slow or stuck.
//!
//! A connection belongs to one thread. Nothing here has a timer of its own: that thread's rounds ask every
//! connection what is to become of it ([`Conn::order`]), so a request costs two stores instead of a timer.
//!
//! ```text
//! no request yet, or part of one ──HEAD_TIME──► closed
//! between two requests ──IDLE_TIME──► closed
//! a call under way ──► for its body and its handler to bound
//! an answer that nobody reads ──WRITE_TIME──► dropped
//! ```

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::Waker;
use std::time::Duration;

/// How long the head of a request may take to arrive, counted from its first byte or from the connection:
/// slow senders are cut off.
pub const HEAD_TIME: Duration = Duration::from_secs(10);
/// How long a connection may be idle between requests: longer than the minute that proxies keep theirs.
pub const IDLE_TIME: Duration = Duration::from_secs(75);
/// How long a peer may read nothing of what is written: what a train's tunnel takes.
pub const WRITE_TIME: Duration = Duration::from_secs(30);
/// How long a client may take to close after the server has: until then what it sent is read, so that no
/// reset destroys the last answer on its way.
pub const CLOSE_TIME: Duration = Duration::from_secs(3);
/// How long a connection must have been quiet before it is closed when the server stops: a client in the
/// middle of a series has sent its next request by then, and that is answered.
pub const DRAIN_QUIET: Duration = Duration::from_millis(500);

/// A time since the thread began, as of its last round.
pub type Tick = Duration;

/// Why a connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// A request did not arrive in time.
    Slow,
    /// Nothing was asked for a long time.
    Idle,
    /// The server stops.
    Stopping,
}

/// What is to become of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// It goes on.
    Go,
    /// It ends in a way that its peer understands.
    Close(Why),
    /// It is cut.
    Drop,
}

/// The thread's time, and whether it stops.
#[derive(Default)]
pub struct Clock {
    /// As of the last round.
    pub now: Cell<Tick>,
    /// When stopping began.
    pub stopping: Cell<Option<Tick>>,
}

/// One connection.
pub struct Conn {
    /// Its number, unique in the process.
    pub id: u64,
    /// The other end.
    pub peer: SocketAddr,
    /// Whether it is encrypted.
    pub secure: bool,
    clock: Rc<Clock>,
    calls: Cell<u32>,
    quiet_since: Cell<Tick>,
    /// When the first byte came that belongs to no call yet.
    heard: Cell<Option<Tick>>,
    /// Since when the peer takes nothing.
    stuck: Cell<Option<Tick>>,
    began: Tick,
    served: Cell<bool>,
    order: Cell<Order>,
    ordered: Cell<Tick>,
    said_close: Cell<bool>,
    multiplexed: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Conn {
    /// A connection that has just been accepted.
    #[must_use]
    pub fn new(id: u64, peer: SocketAddr, secure: bool, clock: Rc<Clock>) -> Rc<Self> {
        let now = clock.now.get();
        Rc::new(Self {
            id,
            peer,
            secure,
            clock,
            calls: Cell::new(0),
            quiet_since: Cell::new(now),
            heard: Cell::new(None),
            stuck: Cell::new(None),
            began: now,
            served: Cell::new(false),
            order: Cell::new(Order::Go),
            ordered: Cell::new(now),
            said_close: Cell::new(false),
            multiplexed: Cell::new(false),
            waker: RefCell::new(None),
        })
    }

    /// Bytes have come.
    pub fn hear(&self) {
        if self.calls.get() == 0 && self.heard.get().is_none() && !self.multiplexed.get() {
            self.heard.set(Some(self.clock.now.get()));
        }
    }

    /// It speaks HTTP/2: bytes that come are not the beginning of a request, frames see to that themselves.
    pub fn multiplex(&self) {
        self.multiplexed.set(true);
        self.served.set(true);
        self.heard.set(None);
        self.quiet_since.set(self.clock.now.get());
    }

    /// Whether it speaks HTTP/2.
    #[must_use]
    pub fn is_multiplexed(&self) -> bool {
        self.multiplexed.get()
    }

    /// Bytes have gone, or did not go.
    pub fn wrote(&self, some: bool) {
        match (some, self.stuck.get()) {
            (true, Some(_)) => self.stuck.set(None),
            (false, None) => self.stuck.set(Some(self.clock.now.get())),
            _ => {}
        }
    }

    /// A call begins; it ends when what is returned is dropped.
    #[must_use]
    pub fn call(self: &Rc<Self>) -> CallGuard {
        self.calls.set(self.calls.get() + 1);
        self.heard.set(None);
        CallGuard(self.clone())
    }

    /// Calls under way.
    #[must_use]
    pub fn calls(&self) -> u32 {
        self.calls.get()
    }

    /// Whether the server stops.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.clock.stopping.get().is_some()
    }

    /// Notes that an answer said `Connection: close`; whether one had before.
    pub fn say_close(&self) -> bool {
        self.said_close.replace(true)
    }

    /// Whether an answer has said `Connection: close`: what comes behind it is not carried out.
    #[must_use]
    pub fn has_said_close(&self) -> bool {
        self.said_close.get()
    }

    /// What is to become of it now.
    #[must_use]
    pub fn order(&self) -> Order {
        self.order.get()
    }

    /// Goes on after all: something arrived at the last moment.
    pub fn go_on(&self) {
        self.order.set(Order::Go);
        self.hear();
    }

    /// Keeps whom to wake when an order is given.
    pub fn keep_waker(&self, waker: &Waker) {
        let mut kept = self.waker.borrow_mut();
        if !kept.as_ref().is_some_and(|kept| kept.will_wake(waker)) {
            *kept = Some(waker.clone());
        }
    }

    /// Has it polled again.
    pub fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    /// Looks at the time, and gives the order that follows.
    pub fn look(&self) {
        let (old, new) = (self.order.get(), self.decide());
        if old != new {
            self.order.set(new);
            self.ordered.set(self.clock.now.get());
            self.wake();
        }
    }

    fn decide(&self) -> Order {
        let now = self.clock.now.get();
        let past = |since: Tick, most: Duration| now.saturating_sub(since) >= most;
        if self.stuck.get().is_some_and(|since| past(since, WRITE_TIME)) {
            return Order::Drop;
        }
        match self.order.get() {
            // A call of HTTP/2 may have begun before the peer heard of it.
            Order::Close(_) if self.calls.get() > 0 => return self.order.get(),
            // Twice: once for the last words to be read, once for the peer to close.
            Order::Close(_) if past(self.ordered.get().max(self.quiet_since.get()), CLOSE_TIME * 2) => {
                return Order::Drop;
            }
            Order::Go => {}
            given => return given,
        }
        if self.calls.get() > 0 {
            return Order::Go;
        }
        let first = (!self.served.get()).then_some(self.began);
        if self.heard.get().or(first).is_some_and(|since| past(since, HEAD_TIME)) {
            return Order::Close(Why::Slow);
        }
        if self.heard.get().is_some() {
            return Order::Go;
        }
        let quiet = self.quiet_since.get();
        // Its peer was told, and may still owe the rest of a body that nobody waits for.
        if past(quiet, if self.said_close.get() { CLOSE_TIME } else { IDLE_TIME }) {
            return Order::Close(Why::Idle);
        }
        match self.clock.stopping.get() {
            Some(since) if past(quiet.max(since), DRAIN_QUIET) => Order::Close(Why::Stopping),
            _ => Order::Go,
        }
    }
}

/// A call under way.
pub struct CallGuard(Rc<Conn>);

impl Drop for CallGuard {
    fn drop(&mut self) {
        let conn = &self.0;
        conn.calls.set(conn.calls.get() - 1);
        conn.served.set(true);
        conn.quiet_since.set(conn.clock.now.get());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn conn() -> (Rc<Clock>, Rc<Conn>) {
        let clock = Rc::new(Clock::default());
        clock.now.set(SECOND * 100);
        (clock.clone(), Conn::new(1, SocketAddr::from(([127, 0, 0, 1], 1)), false, clock))
    }

    fn after(clock: &Clock, conn: &Conn, span: Duration) -> Order {
        clock.now.set(clock.now.get() + span);
        conn.look();
        conn.order()
    }

    #[test]
    fn who_says_nothing_is_closed_after_the_time_for_a_head() {
        let (clock, conn) = conn();
        assert_eq!(after(&clock, &conn, HEAD_TIME - SECOND), Order::Go);
        assert_eq!(after(&clock, &conn, SECOND), Order::Close(Why::Slow));
        assert_eq!(after(&clock, &conn, CLOSE_TIME * 2), Order::Drop);
    }

    #[test]
    fn a_head_that_trickles_is_not_excused_by_each_byte() {
        let (clock, conn) = conn();
        drop(conn.call());
        assert_eq!(after(&clock, &conn, SECOND * 20), Order::Go, "idle");
        for _ in 0..9 {
            conn.hear();
            assert_eq!(after(&clock, &conn, SECOND), Order::Go);
        }
        conn.hear();
        assert_eq!(after(&clock, &conn, SECOND), Order::Close(Why::Slow));
    }

    #[test]
    fn a_call_may_take_its_time_and_idleness_begins_after_it() {
        let (clock, conn) = conn();
        let call = conn.call();
        assert_eq!(after(&clock, &conn, SECOND * 1000), Order::Go);
        conn.hear();
        drop(call);
        assert_eq!(after(&clock, &conn, IDLE_TIME - SECOND), Order::Go);
        assert_eq!(after(&clock, &conn, SECOND), Order::Close(Why::Idle));
        conn.go_on();
        assert_eq!(after(&clock, &conn, HEAD_TIME - SECOND), Order::Go, "a request came at the last moment");
    }

    #[test]
    fn what_nobody_reads_is_dropped_even_during_a_call() {
        let (clock, conn) = conn();
        let _call = conn.call();
        conn.wrote(false);
        assert_eq!(after(&clock, &conn, WRITE_TIME - SECOND), Order::Go);
        conn.wrote(true);
        conn.wrote(false);
        assert_eq!(after(&clock, &conn, WRITE_TIME - SECOND), Order::Go, "a byte was read");
        assert_eq!(after(&clock, &conn, SECOND), Order::Drop);
    }

    #[test]
    fn stopping_closes_what_is_quiet_and_waits_for_what_is_not() {
        let (clock, conn) = conn();
        drop(conn.call());
        clock.now.set(clock.now.get() + SECOND * 5);
        clock.stopping.set(Some(clock.now.get()));
        assert_eq!(after(&clock, &conn, Duration::ZERO), Order::Go, "a request may be on its way");
        conn.hear();
        assert_eq!(after(&clock, &conn, SECOND), Order::Go, "it has come in part");
        let call = conn.call();
        assert_eq!(after(&clock, &conn, SECOND), Order::Go);
        drop(call);
        assert_eq!(after(&clock, &conn, DRAIN_QUIET), Order::Close(Why::Stopping));
        conn.go_on();
        assert_eq!(conn.order(), Order::Go, "a request came at the last moment");
        assert_eq!(after(&clock, &conn, DRAIN_QUIET), Order::Go);
    }

    #[test]
    fn who_was_told_to_close_and_does_not_is_closed() {
        let (clock, conn) = conn();
        drop(conn.call());
        assert!(!conn.say_close());
        assert_eq!(after(&clock, &conn, CLOSE_TIME - SECOND), Order::Go);
        assert_eq!(after(&clock, &conn, SECOND), Order::Close(Why::Idle));
    }

    #[test]
    fn frames_of_http2_are_not_the_beginning_of_a_request() {
        let (clock, conn) = conn();
        conn.multiplex();
        conn.hear();
        assert_eq!(after(&clock, &conn, IDLE_TIME - SECOND), Order::Go);
        conn.hear();
        assert_eq!(after(&clock, &conn, SECOND), Order::Close(Why::Idle));
    }
}
