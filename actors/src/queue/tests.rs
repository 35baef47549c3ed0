// SPDX-License-Identifier: Apache-2.0
//! Waiters: woken once, and never forgotten.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::Waiter;
use super::waiter::Waking;
use crate::supervise::{Port, PortError};

fn waking(count: u32, taken: &Arc<AtomicU32>) -> Waking {
    Waking::new(count, taken, Port::failing(PortError::Unavailable))
}

#[test]
fn a_waiter_at_two_queues_is_woken_once() {
    let taken = Arc::new(AtomicU32::new(0));
    let (waiter, mut heard) = Waiter::new(1);
    let (first, second) = (waiter.ticket(), waiter.ticket());
    assert!(first.wake(waking(1, &taken)));
    assert!(second.is_gone());
    assert!(!second.wake(waking(1, &taken)), "it is busy with the first");
    assert_eq!(taken.load(Ordering::Relaxed), 1, "the refused one counts no more");
    drop(heard.try_recv().expect("it was woken"));
    assert_eq!(taken.load(Ordering::Relaxed), 0, "its claim is decided");
}

#[test]
fn a_ticket_that_is_lost_sends_the_waiter_to_look_by_itself() {
    let (waiter, mut heard) = Waiter::new(1);
    let (lost, other) = (waiter.ticket(), waiter.ticket());
    drop(lost);
    assert!(heard.try_recv().is_err_and(|e| e == tokio::sync::oneshot::error::TryRecvError::Closed));
    assert!(other.is_gone(), "it parks again at both");
}

#[test]
fn a_waiter_that_has_gone_away_takes_no_job_from_the_next() {
    let taken = Arc::new(AtomicU32::new(0));
    let (waiter, heard) = Waiter::new(1);
    let ticket = waiter.ticket();
    drop(heard);
    assert!(ticket.is_gone());
    assert!(!ticket.wake(waking(1, &taken)));
    assert_eq!(taken.load(Ordering::Relaxed), 0);
}
