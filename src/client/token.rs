// SPDX-License-Identifier: Apache-2.0
//! Names that do not repeat: request keys, worker names, temporary directories. Not secrets.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

static COUNTER: AtomicU64 = AtomicU64::new(0);

/// 32 hexadecimal digits: unlike any other of this or another process.
pub fn unique_token() -> String {
    // `RandomState` is seeded by the operating system once per thread; the clock, the process id and a counter
    // keep two calls and two forks apart.
    let half = |salt: u64| {
        let mut hasher = RandomState::new().build_hasher();
        hasher.write_u64(salt);
        hasher.write_u64(COUNTER.fetch_add(1, Ordering::Relaxed));
        hasher.write_u32(std::process::id());
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        hasher.write_u128(now.as_nanos());
        hasher.finish()
    };
    format!("{:016x}{:016x}", half(1), half(2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_differ() {
        let some: std::collections::BTreeSet<_> = (0..1_000).map(|_| unique_token()).collect();
        assert_eq!(some.len(), 1_000);
        assert!(some.iter().all(|t| t.len() == 32));
    }
}
