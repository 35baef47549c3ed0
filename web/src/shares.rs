// SPDX-License-Identifier: Apache-2.0
//! How much of something limited one client may take: connections, streams, the memory for bodies.
//!
//! A client that takes all there is shuts everybody else out. So each may have at most three times as much as
//! is still free: one alone gets three quarters, two get three sevenths each, and whoever comes last always
//! finds something. Nobody has to guess a number per client, and a server with one client is not held to a
//! fraction of itself for the sake of others that do not exist, but for the last quarter.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// So many times what is free may one client have.
const FACTOR: usize = 3;

/// Why there is nothing for a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Everything is taken.
    Full,
    /// The client has more than its share.
    Share,
}

/// Something of which there is so much and no more.
#[derive(Clone)]
pub struct Shares(Arc<Inner>);

struct Inner {
    total: usize,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    all: usize,
    by: HashMap<IpAddr, usize>,
}

impl Shares {
    /// So much of it.
    #[must_use]
    pub fn new(total: usize) -> Self {
        Self(Arc::new(Inner { total, taken: Mutex::default() }))
    }

    /// How much there is, taken or not.
    #[must_use]
    pub fn total(&self) -> usize {
        self.0.total
    }

    /// How much is free.
    #[must_use]
    pub fn free(&self) -> usize {
        self.0.total - self.lock().all
    }

    /// Takes some for a client, until what is returned is dropped. Without a client, as for one that speaks
    /// for many, only the total counts.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn take(&self, client: Option<IpAddr>, units: usize) -> Result<Share, Refused> {
        let mut share = self.nothing(client);
        share.grow(units)?;
        Ok(share)
    }

    /// Nothing yet, for a client.
    #[must_use]
    pub fn nothing(&self, client: Option<IpAddr>) -> Share {
        Share { shares: self.clone(), client: client.map(network), units: 0 }
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.0.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who counts as one: an address, or in IPv6 the network of 64 bits that one host has for itself.
#[must_use]
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::from((address.to_bits() >> 64 << 64).to_be_bytes()),
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// What a client has taken.
pub struct Share {
    shares: Shares,
    client: Option<IpAddr>,
    units: usize,
}

impl Share {
    /// How much it is.
    #[must_use]
    pub const fn units(&self) -> usize {
        self.units
    }

    /// Takes more for the same client.
    ///
    /// # Errors
    /// [`Refused`]; what was taken before is kept.
    pub fn grow(&mut self, units: usize) -> Result<(), Refused> {
        if units == 0 {
            return Ok(());
        }
        let mut taken = self.shares.lock();
        let free = self.shares.0.total - taken.all;
        if units > free {
            return Err(Refused::Full);
        }
        if let Some(client) = self.client {
            let has = taken.by.entry(client).or_default();
            if *has + units > (free - units).saturating_mul(FACTOR).max(1) {
                if *has == 0 {
                    taken.by.remove(&client);
                }
                return Err(Refused::Share);
            }
            *has += units;
        }
        taken.all += units;
        self.units += units;
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut taken = self.shares.lock();
        taken.all -= self.units;
        if let Some(client) = self.client
            && let Some(has) = taken.by.get_mut(&client)
        {
            *has -= self.units;
            if *has == 0 {
                taken.by.remove(&client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(n: u8) -> Option<IpAddr> {
        Some(IpAddr::from([10, 0, 0, n]))
    }

    fn greedy(shares: &Shares, client: Option<IpAddr>) -> Vec<Share> {
        std::iter::from_fn(|| shares.take(client, 1).ok()).collect()
    }

    #[test]
    fn a_flooder_leaves_a_quarter_and_two_leave_a_seventh() {
        let shares = Shares::new(700);
        let first = greedy(&shares, client(1));
        assert_eq!((first.len(), shares.free()), (525, 175));
        let second = greedy(&shares, client(2));
        assert!(!second.is_empty() && shares.free() >= 43, "{} {}", second.len(), shares.free());
        drop(first);
        let first = greedy(&shares, client(1));
        assert!(shares.take(client(3), 1).is_ok(), "whoever comes last finds something");
        drop((first, second));
        assert_eq!((shares.free(), shares.lock().by.len()), (700, 0));
    }

    #[test]
    fn who_speaks_for_many_is_not_one() {
        let shares = Shares::new(100);
        let all = greedy(&shares, None);
        assert_eq!(all.len(), 100);
        assert_eq!(shares.take(client(1), 1).err(), Some(Refused::Full));
    }

    #[test]
    fn the_last_one_may_be_taken_by_who_has_none() {
        let shares = Shares::new(2);
        let one = shares.take(client(1), 1).unwrap();
        assert_eq!(shares.take(client(1), 1).err(), Some(Refused::Share));
        assert!(shares.take(client(2), 1).is_ok());
        drop(one);
    }

    #[test]
    fn a_host_has_a_whole_network_of_ipv6() {
        let at = |text: &str| network(text.parse().unwrap());
        assert_eq!(at("2001:db8:1:2::1"), at("2001:db8:1:2:ffff::9"));
        assert_ne!(at("2001:db8:1:2::1"), at("2001:db8:1:3::1"));
        assert_eq!(at("::ffff:10.0.0.1"), at("10.0.0.1"));
    }

    #[test]
    fn what_is_too_much_is_not_taken_in_part() {
        let shares = Shares::new(100);
        let mut share = shares.take(client(1), 40).unwrap();
        assert_eq!(share.grow(61), Err(Refused::Full));
        assert_eq!(share.grow(60), Err(Refused::Share));
        assert_eq!((share.units(), shares.free()), (40, 60));
        share.grow(35).unwrap();
        drop(share);
        assert_eq!(shares.free(), 100);
    }
}
