// SPDX-License-Identifier: Apache-2.0
//! Finding a state that the log can be applied to: the one that is there, or one built from the snapshot.
//!
//! ```text
//! opens, keyspaces agree, not behind the purged log ──► used as it is
//! the operating system refuses ──► refused: nothing is broken
//! anything else ──► set aside ──► empty, or the newest snapshot
//!                                      │ still behind the purged log
//!                                      ▼
//!                                   refused: jobs would be missing and nobody would know
//! ```

use std::path::PathBuf;

use super::states::StateDirs;
use super::{OpenError, Recovery, StateFound};
use crate::keyspaces::{Fault, Keyspaces, Mark};
use crate::log::LogStats;
use crate::snapshot::{SnapshotDir, SnapshotFile};
use crate::tables::FjallTables;

/// A state that the log can be applied to.
pub(super) struct Recovered {
    pub(super) keyspaces: Keyspaces,
    pub(super) tables: FjallTables,
    pub(super) mark: Mark,
    pub(super) report: Recovery,
}

/// Finds or builds the state that goes with a log.
pub(super) fn recover(
    states: &StateDirs,
    snapshots: &SnapshotDir,
    log: &LogStats,
) -> Result<Recovered, OpenError> {
    let purged = log.purged_index;
    let (snapshot, damage) = newest(snapshots)?;
    let mut found = StateFound::New;
    if let Some(number) = states.current()?.filter(|number| states.exists(*number)) {
        match usable(states, number, purged) {
            Ok((keyspaces, tables, mark)) => {
                // A follower may have nothing but a vote yet, beside the state that it was sent.
                if let (None, false, Some(at)) = (log.last_index, log.has_vote, mark.applied) {
                    return Err(OpenError::LogMissing { applied: at.index });
                }
                states.sweep(&keyspaces)?;
                let report = Recovery {
                    applied: mark.applied.map(|at| at.index),
                    state: StateFound::Intact,
                    snapshot: reach(snapshot.as_ref()),
                    damaged_snapshot: damage,
                };
                return Ok(Recovered { keyspaces, tables, mark, report });
            }
            // Nothing is broken: the next start may find it as it was.
            Err(Unusable::Fault(fault)) if fault.is_passing() => return Err(fault.into()),
            // Nothing could take its place.
            Err(Unusable::Behind { applied, purged }) if reach(snapshot.as_ref()) < Some(purged) => {
                return Err(OpenError::Gap { applied, purged, damaged_snapshot: damage });
            }
            Err(why) => {
                let reason = why.to_string();
                let aside = states.set_aside(number)?;
                tracing::warn!(reason, aside = %aside.display(), "the state cannot be used and is built again");
                found = StateFound::Rebuilt { reason, aside: Some(aside) };
            }
        }
    } else if log.last_index.is_some() || snapshot.is_some() {
        tracing::warn!("there is no state: it is built from snapshot and log");
        found = StateFound::Rebuilt { reason: "there is no state".to_owned(), aside: None };
    }
    build(states, snapshots, (snapshot, damage), purged, found)
}

/// The log index that a snapshot has come to.
fn reach(snapshot: Option<&SnapshotFile>) -> Option<u64> {
    Some(snapshot?.mark().applied?.index)
}

/// Why a state cannot be used.
#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error(transparent)]
    Fault(#[from] Fault),
    #[error("it has come to {applied:?} and the log begins after {purged}")]
    Behind { applied: Option<u64>, purged: u64 },
}

fn usable(
    states: &StateDirs,
    number: u64,
    purged: Option<u64>,
) -> Result<(Keyspaces, FjallTables, Mark), Unusable> {
    let keyspaces = states.state(number)?;
    let mark = keyspaces.mark(&keyspaces.view())?;
    let applied = mark.applied.map(|at| at.index);
    if let Some(purged) = purged
        && applied < Some(purged)
    {
        return Err(Unusable::Behind { applied, purged });
    }
    let tables = states.tables(keyspaces.clone())?;
    Ok((keyspaces, tables, mark))
}

fn build(
    states: &StateDirs,
    snapshots: &SnapshotDir,
    (snapshot, mut damage): (Option<SnapshotFile>, Option<PathBuf>),
    purged: Option<u64>,
    found: StateFound,
) -> Result<Recovered, OpenError> {
    let keyspaces = match &snapshot {
        None => states.create()?,
        Some(file) => match states.build(file) {
            Ok(keyspaces) => keyspaces,
            // The whole log is there: the snapshot is not needed.
            Err(fault @ (Fault::Snapshot { .. } | Fault::Contradiction(_))) if purged.is_none() => {
                tracing::warn!(error = %fault, "the snapshot is damaged; the state is built from the log alone");
                damage = Some(snapshots.set_aside(file.path())?);
                states.create()?
            }
            Err(fault) => return Err(fault.into()),
        },
    };
    let mark = keyspaces.mark(&keyspaces.view())?;
    let applied = mark.applied.map(|at| at.index);
    if let Some(purged) = purged
        && applied < Some(purged)
    {
        return Err(OpenError::Gap { applied, purged, damaged_snapshot: damage });
    }
    states.point_to(&keyspaces)?;
    states.sweep(&keyspaces)?;
    let tables = states.tables(keyspaces.clone())?;
    let report = Recovery { applied, state: found, snapshot: applied, damaged_snapshot: damage };
    Ok(Recovered { keyspaces, tables, mark, report })
}

/// The newest snapshot; one whose beginning is damaged is set aside, so that a new one can be written.
fn newest(snapshots: &SnapshotDir) -> Result<(Option<SnapshotFile>, Option<PathBuf>), OpenError> {
    match snapshots.newest() {
        Ok(file) => Ok((file, None)),
        Err(Fault::Snapshot { path, offset, reason }) => {
            let aside = snapshots.set_aside(&path)?;
            tracing::warn!(offset, reason, aside = %aside.display(), "the snapshot is damaged and set aside");
            Ok((None, Some(aside)))
        }
        Err(fault) => Err(fault.into()),
    }
}
