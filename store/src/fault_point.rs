// SPDX-License-Identifier: Apache-2.0
//! Named places between any two writes to the disk, at which a test makes the process die or a call fail.
//!
//! ```text
//! writer ──► hit(LogWrite) ──► write ──► hit(LogSync) ──► fdatasync ──► hit(LogSynced) ──► callbacks
//! ```
//!
//! What stands behind a point has not happened yet, what stands before it has. Unarmed, which is always so
//! outside tests, a point costs one relaxed load. One point is armed at a time, for one process: these are
//! statics because a disk has no owner that every writer knows.
//!
//! Failing a point that stands before a call of the operating system is what a failure of that call looks
//! like; at the others only dying makes sense, but a test may walk all of them either way.

use std::fmt;
use std::io;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

macro_rules! points {
    ($($(#[$doc:meta])* $variant:ident $name:literal,)*) => {
        /// A place.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum FaultPoint { $($(#[$doc])* $variant,)* }

        impl FaultPoint {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Its name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

points! {
    /// Records are encoded, and not written.
    LogWrite "log-write",
    /// Records are written, and not synced: failing here is a failure of `fdatasync`.
    LogSync "log-sync",
    /// Records are synced, and nobody has been told.
    LogSynced "log-synced",
    /// A vote, the hard state of Raft, is about to be encoded.
    LogVote "log-vote",
    /// A truncation is about to be encoded.
    LogTruncate "log-truncate",
    /// A purge is about to be encoded.
    LogPurge "log-purge",
    /// A segment is full and synced; there is no next one yet.
    LogRoll "log-roll",
    /// The head of the next segment is written, and not synced.
    LogHeadSync "log-head-sync",
    /// The head of the next segment is synced, under a temporary name.
    LogRename "log-rename",
    /// The next segment has its name, and the directory is not synced.
    LogDirSync "log-dir-sync",
    /// A block of zeros of a segment being prepared is about to be written.
    LogFill "log-fill",
    /// A purged segment is about to be unlinked.
    LogUnlink "log-unlink",
    /// A purged segment is unlinked, and the directory is not synced.
    LogUnlinkSync "log-unlink-sync",
    /// Rows of the state are about to be committed to its database.
    StateFlush "state-flush",
    /// Rows of the state are committed, and nobody has been told.
    StateFlushed "state-flushed",
    /// A snapshot file is about to be written.
    SnapshotWrite "snapshot-write",
    /// A snapshot file is written, and not synced.
    SnapshotSync "snapshot-sync",
    /// A snapshot file is complete under a temporary name.
    SnapshotRename "snapshot-rename",
    /// A snapshot file has its name, and the directory is not synced.
    SnapshotDirSync "snapshot-dir-sync",
    /// A snapshot file is durable, and the older ones are still there.
    SnapshotRemove "snapshot-remove",
    /// A snapshot that was received is a state, which nothing points to.
    InstallBuilt "install-built",
    /// A snapshot that was received has its place; the pointer names the old state.
    InstallAdopted "install-adopted",
    /// The pointer to the current state is about to be written under a temporary name.
    CurrentWrite "current-write",
    /// The pointer is complete under a temporary name.
    CurrentRename "current-rename",
    /// The pointer has its name, and the directory is not synced.
    CurrentDirSync "current-dir-sync",
    /// The identity of a new directory is complete under a temporary name.
    IdentityRename "identity-rename",
}

/// What happens at a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// The process dies on the spot, as with SIGKILL.
    Crash,
    /// The call fails with EIO, this and every later time.
    Fail,
    /// The call fails with ENOSPC, this and every later time.
    Full,
}

/// A point, the how-manieth passing of it, and what happens then: `log-sync:3:fail`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The place.
    pub point: FaultPoint,
    /// The first passing at which it happens; from 1.
    pub nth: u64,
    /// What happens.
    pub act: Act,
}

impl FromStr for Plan {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split(':');
        let (point, nth, act) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
        let known = FaultPoint::ALL.iter().find(|known| known.name() == point);
        let point = *known.ok_or_else(|| {
            let names: Vec<_> = FaultPoint::ALL.iter().map(|point| point.name()).collect();
            format!("there is no fault point {point:?}; there are {}", names.join(", "))
        })?;
        let nth = nth.unwrap_or("1").parse().ok().filter(|nth| *nth > 0);
        let nth = nth.ok_or("the number of a fault point's passing is 1 or more")?;
        let act = match act.unwrap_or("crash") {
            "crash" => Act::Crash,
            "fail" => Act::Fail,
            "full" => Act::Full,
            other => return Err(format!("a fault point can crash, fail or full, not {other}")),
        };
        if parts.next().is_some() {
            return Err("a fault point is armed with POINT:N:crash|fail|full".to_owned());
        }
        Ok(Self { point, nth, act })
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let act = match self.act {
            Act::Crash => "crash",
            Act::Fail => "fail",
            Act::Full => "full",
        };
        write!(f, "{}:{}:{act}", self.point.name(), self.nth)
    }
}

/// Whether anything below is to be looked at.
static ACTIVE: AtomicBool = AtomicBool::new(false);
static STATE: Mutex<State> = Mutex::new(State { plan: None, passed: [0; POINTS] });
const POINTS: usize = FaultPoint::ALL.len();

struct State {
    plan: Option<Plan>,
    passed: [u64; POINTS],
}

fn state() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Arms a point, in place of the one that was; with `None` passings are only counted. Counts begin at zero.
pub fn arm(plan: Option<Plan>) {
    *state() = State { plan, passed: [0; POINTS] };
    ACTIVE.store(true, Ordering::Release);
}

/// How often each point was passed since [`arm`], in the order of [`FaultPoint::ALL`].
#[must_use]
pub fn passed() -> Vec<u64> {
    state().passed.to_vec()
}

/// Passes a point.
///
/// # Errors
/// If it is armed to fail. If it is armed to crash, this does not return.
#[inline]
pub(crate) fn hit(point: FaultPoint) -> io::Result<()> {
    if ACTIVE.load(Ordering::Relaxed) { pass(point) } else { Ok(()) }
}

#[cold]
fn pass(point: FaultPoint) -> io::Result<()> {
    let mut state = state();
    state.passed[point as usize] += 1;
    let count = state.passed[point as usize];
    match state.plan.filter(|plan| plan.point == point && count >= plan.nth).map(|plan| plan.act) {
        None => Ok(()),
        // Nothing is flushed, no destructor runs.
        Some(Act::Crash) => std::process::abort(),
        Some(Act::Fail) => Err(io::Error::from_raw_os_error(EIO)),
        Some(Act::Full) => Err(io::Error::from_raw_os_error(ENOSPC)),
    }
}

/// Numbers that are the same on every Unix.
const EIO: i32 = 5;
const ENOSPC: i32 = 28;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_reads_back_and_a_wrong_one_says_what_is_allowed() {
        for text in ["log-sync:3:fail", "current-rename:1:crash", "state-flush:70:full"] {
            assert_eq!(text.parse::<Plan>().unwrap().to_string(), text);
        }
        assert_eq!("log-roll".parse::<Plan>().unwrap().to_string(), "log-roll:1:crash");
        for (text, said) in [
            ("log-synk", "log-write, log-sync"),
            ("log-sync:0", "1 or more"),
            ("log-sync:x", "1 or more"),
            ("log-sync:1:burn", "crash, fail or full"),
            ("log-sync:1:fail:2", "POINT:N"),
        ] {
            let error = text.parse::<Plan>().unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
    }

    #[test]
    fn the_names_are_different() {
        let mut names: Vec<_> = FaultPoint::ALL.iter().map(|point| point.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), FaultPoint::ALL.len());
    }
}
