// SPDX-License-Identifier: Apache-2.0
//! A queue in which everybody has their turn: what is taken next belongs to whoever has been given least.
//!
//! First in, first out serves those who ask most. Here each client has a share of its own, and within it each
//! of its connections (start-time fair queueing, twice). A client who asks for little is served next, however
//! much others have waiting, and a connection after one turn of each other one of its client; one who is alone
//! gets everything. What is served counts by its cost, so that a
//! batch of ten thousand jobs is not one turn like a single job.
//!
//! ```text
//! client A ── connection 1: ■■■■ ■■■■ ■■■■     tag 9      a turn begins at its lane's tag and moves it on
//!          └─ connection 2: ■                  tag 3 ◄──  by its cost; the smallest tag is next, and a lane
//! client B ── connection 3: ■                  tag 2      that was silent begins at the present, not at 0
//! ```
//!
//! What may wait is bounded, and one client may hold three times as much as is still free: whoever comes last
//! always finds room.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::ports::Lane;

/// So many times what is free may one client have waiting.
const FACTOR: usize = 3;
/// Lanes without anything waiting are kept, so that they do not begin anew, while there are not this many more
/// of them than of others.
const SPARE_LANES: usize = 64;

/// Why something cannot wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// There is no room, or this client has its share of it.
    Full,
    /// Nobody takes anything any more.
    Closed,
}

/// Lanes with tags: the one with the smallest is next.
struct Lanes<C> {
    by: HashMap<u64, (u64, C)>,
    /// Those with something waiting, by tag and by when they got it.
    order: BTreeSet<(u64, u64, u64)>,
    /// The tag of what was taken last.
    present: u64,
    arrivals: u64,
}

impl<C> Default for Lanes<C> {
    fn default() -> Self {
        Self { by: HashMap::new(), order: BTreeSet::new(), present: 0, arrivals: 0 }
    }
}

impl<C: Default> Lanes<C> {
    /// A lane, to put something into it; `was_empty` says whether it had nothing.
    fn put(&mut self, key: u64, put: impl FnOnce(&mut C) -> bool) {
        let (tag, content) = self.by.entry(key).or_default();
        if put(content) {
            *tag = (*tag).max(self.present);
            self.arrivals += 1;
            self.order.insert((*tag, self.arrivals, key));
        }
    }

    /// Takes from the lane that is next. `take` says what was taken, its cost and whether there is more.
    fn take<T>(&mut self, take: impl FnOnce(&mut C) -> Option<(T, u64, bool)>) -> Option<(T, u64)> {
        let (start, _, key) = self.order.pop_first()?;
        let (tag, content) = self.by.get_mut(&key)?;
        let (taken, cost, more) = take(content)?;
        self.present = start;
        *tag = start.saturating_add(cost);
        if more {
            self.arrivals += 1;
            self.order.insert((*tag, self.arrivals, key));
        } else if self.order.is_empty() {
            // Nobody waits, so nobody has been kept waiting.
            self.by.clear();
            self.present = 0;
        } else if self.by.len() > self.order.len() * 2 + SPARE_LANES {
            self.forget_the_silent();
        }
        Some((taken, cost))
    }

    /// Drops lanes with nothing waiting: first those that are not ahead of the present. Where callers come and
    /// go faster than the present moves on, that is not enough, and what the others are ahead is forgiven.
    fn forget_the_silent(&mut self) {
        let waiting: HashSet<u64> = self.order.iter().map(|(_, _, key)| *key).collect();
        let (present, most) = (self.present, self.order.len() * 2 + SPARE_LANES);
        self.by.retain(|key, (tag, _)| *tag > present || waiting.contains(key));
        if self.by.len() > most {
            self.by.retain(|key, _| waiting.contains(key));
        }
    }
}

/// What a client has waiting.
struct Client<T> {
    connections: Lanes<VecDeque<(T, usize)>>,
    count: usize,
    cost: usize,
}

impl<T> Default for Client<T> {
    fn default() -> Self {
        Self { connections: Lanes::default(), count: 0, cost: 0 }
    }
}

struct Inner<T> {
    clients: Lanes<Client<T>>,
    count: usize,
    cost: usize,
    closed: bool,
}

struct Shared<T> {
    inner: Mutex<Inner<T>>,
    arrived: Notify,
    most: usize,
    most_cost: usize,
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, Inner<T>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The end that things are put in at. Cheap to clone.
pub struct Giver<T>(Arc<Shared<T>>);

impl<T> Clone for Giver<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// The end that things are taken from; what is given after it is dropped is refused.
pub struct Taker<T>(Arc<Shared<T>>);

/// A queue for at most `most` things that cost at most `most_cost` together.
#[must_use]
pub fn turns<T>(most: usize, most_cost: usize) -> (Giver<T>, Taker<T>) {
    let inner = Inner { clients: Lanes::default(), count: 0, cost: 0, closed: false };
    let shared = Arc::new(Shared { inner: Mutex::new(inner), arrived: Notify::new(), most, most_cost });
    (Giver(shared.clone()), Taker(shared))
}

impl<T> Giver<T> {
    /// How many things wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.0.lock().count
    }

    /// Puts something in.
    ///
    /// # Errors
    /// [`Refused`], with what was not put in.
    pub fn give(&self, lane: Lane, cost: usize, thing: T) -> Result<(), (Refused, T)> {
        let shared = &*self.0;
        let mut inner = shared.lock();
        if inner.closed {
            return Err((Refused::Closed, thing));
        }
        let (count, cost_after) = (inner.count + 1, inner.cost.saturating_add(cost));
        let held = inner.clients.by.get(&lane.client).map_or((0, 0), |(_, c)| (c.count, c.cost));
        let share =
            |has: usize, after: usize, most: usize| has <= (most - after).saturating_mul(FACTOR).max(1);
        let fits = count <= shared.most && cost_after <= shared.most_cost;
        let fair = || {
            lane == Lane::BROKER
                || held.0 == 0
                || share(held.0 + 1, count, shared.most) && share(held.1 + cost, cost_after, shared.most_cost)
        };
        if !fits || !fair() {
            return Err((Refused::Full, thing));
        }
        inner.clients.put(lane.client, |client| {
            let was_empty = client.count == 0;
            client.count += 1;
            client.cost += cost;
            client.connections.put(lane.connection, |queue| {
                queue.push_back((thing, cost));
                queue.len() == 1
            });
            was_empty
        });
        inner.count = count;
        inner.cost = cost_after;
        drop(inner);
        shared.arrived.notify_one();
        Ok(())
    }
}

impl<T> Taker<T> {
    /// Takes what is next, if there is anything.
    pub fn try_take(&mut self) -> Option<T> {
        let mut inner = self.0.lock();
        let (thing, cost) = inner.clients.take(|client| {
            let (thing, cost) = client.connections.take(|queue| {
                let (thing, cost) = queue.pop_front()?;
                Some((thing, cost as u64, !queue.is_empty()))
            })?;
            client.count -= 1;
            client.cost -= usize::try_from(cost).unwrap_or_default();
            Some((thing, cost, client.count > 0))
        })?;
        inner.count -= 1;
        inner.cost -= usize::try_from(cost).unwrap_or_default();
        Some(thing)
    }

    /// Takes what is next; waits until there is something.
    pub async fn take(&mut self) -> T {
        loop {
            if let Some(thing) = self.try_take() {
                return thing;
            }
            self.0.arrived.notified().await;
        }
    }
}

impl<T> Drop for Taker<T> {
    fn drop(&mut self) {
        let mut inner = self.0.lock();
        inner.closed = true;
        // Whoever waits for what is in here learns from its end that nobody will take it.
        let left = std::mem::take(&mut inner.clients);
        drop(inner);
        drop(left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lane(client: u64, connection: u64) -> Lane {
        Lane { client, connection }
    }

    fn all<T>(taker: &mut Taker<T>) -> Vec<T> {
        std::iter::from_fn(|| taker.try_take()).collect()
    }

    #[test]
    fn one_lane_is_first_in_first_out() {
        let (giver, mut taker) = turns(100, 1_000);
        (0..10).for_each(|n| giver.give(lane(1, 1), 10, n).unwrap());
        assert_eq!(all(&mut taker), (0..10).collect::<Vec<_>>());
    }

    #[test]
    fn who_asks_for_little_is_next_however_much_others_have_waiting() {
        let (giver, mut taker) = turns(10_000, usize::MAX / 8);
        for n in 0..1_000 {
            giver.give(lane(1, n % 64), 1_000_000, "flood").unwrap();
        }
        assert_eq!(taker.try_take(), Some("flood"));
        giver.give(lane(2, 100), 200, "another address").unwrap();
        assert_eq!(taker.try_take(), Some("another address"));
        giver.give(lane(1, 100), 200, "another connection").unwrap();
        let before = std::iter::from_fn(|| taker.try_take()).position(|thing| thing != "flood");
        assert!(
            before.is_some_and(|before| before < 64),
            "more than a turn of each other connection: {before:?}"
        );
    }

    #[test]
    fn a_client_with_many_connections_has_one_share() {
        let (giver, mut taker) = turns(10_000, usize::MAX / 8);
        for n in 0..300 {
            giver.give(lane(1, n), 100, 1).unwrap();
        }
        for _ in 0..100 {
            giver.give(lane(2, 1_000), 100, 2).unwrap();
        }
        let first: Vec<i32> = all(&mut taker).into_iter().take(200).collect();
        let second = first.iter().filter(|client| **client == 2).count();
        assert!((99..=100).contains(&second), "{second}");
    }

    #[test]
    fn turns_are_counted_by_their_cost() {
        let (giver, mut taker) = turns(10_000, usize::MAX / 8);
        for _ in 0..50 {
            giver.give(lane(1, 1), 1_000, 'L').unwrap();
        }
        for _ in 0..50 {
            giver.give(lane(2, 2), 100, 's').unwrap();
        }
        let order: String = all(&mut taker).into_iter().collect();
        let at = order.rfind('s').unwrap();
        assert_eq!(order[..at].matches('L').count(), 5, "{order}");
    }

    /// Else one that has just had a big turn, and asks again when it is answered, never waits.
    #[test]
    fn a_lane_that_is_empty_for_a_moment_does_not_begin_anew() {
        let (giver, mut taker) = turns(10_000, usize::MAX / 8);
        (0..100).for_each(|_| giver.give(lane(2, 2), 100, 's').unwrap());
        giver.give(lane(1, 1), 1_000, 'L').unwrap();
        let mut order = String::new();
        while let Some(taken) = taker.try_take() {
            order.push(taken);
            if taken == 'L' && order.len() < 60 {
                giver.give(lane(1, 1), 1_000, 'L').unwrap();
            }
        }
        let gaps: Vec<usize> = order.split('L').map(str::len).skip(1).collect();
        assert!(gaps[0] >= 9, "{order}");
    }

    #[test]
    fn whoever_comes_last_finds_room() {
        let (giver, mut taker) = turns(100, 1_000_000);
        let flood = (0..).take_while(|_| giver.give(lane(1, 1), 10, 1).is_ok()).count();
        assert_eq!(flood, 75);
        giver.give(lane(2, 2), 10, 2).unwrap();
        let (refused, thing) = giver.give(lane(1, 9), 10, 1).unwrap_err();
        assert_eq!((refused, thing), (Refused::Full, 1));
        giver.give(Lane::BROKER, 10, 3).unwrap();
        assert_eq!(all(&mut taker).len(), 77);
        // By cost too.
        let flood = (0..).take_while(|_| giver.give(lane(1, 1), 100_000, 1).is_ok()).count();
        assert_eq!(flood, 7);
        giver.give(lane(2, 2), 200_000, 2).unwrap();
    }

    #[test]
    fn lanes_of_clients_that_are_gone_are_forgotten() {
        let (giver, mut taker) = turns(1_000, usize::MAX / 8);
        giver.give(lane(1, 1), 1, 0).unwrap();
        for n in 2..5_000 {
            giver.give(lane(n, n), 1, n).unwrap();
            taker.try_take();
        }
        assert!(taker.0.lock().clients.by.len() < 1_000);
        assert!(all(&mut taker).len() <= 1);
        assert!(taker.0.lock().clients.by.is_empty());
    }

    #[tokio::test]
    async fn a_taker_waits_and_a_giver_learns_that_it_is_gone() {
        let (giver, mut taker) = turns(10, 10);
        let other = giver.clone();
        let taking = tokio::spawn(async move { (taker.take().await, taker.take().await) });
        tokio::task::yield_now().await;
        other.give(lane(1, 1), 1, 'a').unwrap();
        other.give(lane(1, 1), 1, 'b').unwrap();
        assert_eq!(taking.await.unwrap(), ('a', 'b'));
        assert_eq!(giver.give(lane(1, 1), 1, 'c'), Err((Refused::Closed, 'c')));
    }
}
