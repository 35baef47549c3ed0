// SPDX-License-Identifier: Apache-2.0
//! The two layers over the database: one that grows, and the one before it.
//!
//! ```text
//! get, scan ──► growing ──► before ──► fjall
//!                  │           │ written in the background, then kept: its rows are the likeliest to be asked for
//!                  └─ full ───►┘
//! ```
//!
//! L2: the layer before is either being written, and then nothing is written after it; or it is written, and
//! then it says what the database says.

use std::sync::Arc;

use fjall::Slice;
use jobbie_broker::tables::Space;
use jobbie_broker::{Job, JobNo};

use super::layer::Layer;
use crate::keyspaces::{Fault, Keyspaces};

/// What comes of the beginning of another layer.
#[derive(Debug)]
pub struct Turned {
    /// The layer that is to be written.
    pub full: Arc<Layer>,
    /// The one that was written last and is not needed any more. To let go of a hundred thousand rows takes some
    /// milliseconds, which need not be spent while others wait for the tables.
    pub done: Arc<Layer>,
}

/// The layers.
#[derive(Debug)]
pub(crate) struct Layers {
    pub(crate) growing: Layer,
    before: Arc<Layer>,
    written: bool,
}

impl Layers {
    pub(crate) fn new() -> Self {
        Self { growing: Layer::new(), before: Arc::new(Layer::new()), written: true }
    }

    /// What was done to a job since it was in the database last.
    pub(crate) fn job(&self, no: JobNo) -> Option<Option<&Arc<Job>>> {
        self.growing.job(no).or_else(|| self.before.job(no))
    }

    /// What was done to a key since it was in the database last.
    pub(crate) fn get(&self, space: Space, key: &[u8]) -> Option<Option<&Slice>> {
        self.growing.get(space, key).or_else(|| self.before.get(space, key))
    }

    /// Begins another layer; the one that has grown is to be written. The one before must be written.
    pub(crate) fn turn(&mut self) -> Turned {
        debug_assert!(self.written, "L2: layers are written one after the other");
        let full = Arc::new(std::mem::replace(&mut self.growing, Layer::new()));
        let done = std::mem::replace(&mut self.before, full.clone());
        self.written = false;
        Turned { full, done }
    }

    /// Notes that the layer before is in the database.
    pub(crate) const fn set_written(&mut self) {
        self.written = true;
    }

    /// At most `limit` rows between the bounds, in key order, as they are now.
    pub(crate) fn scan(
        &self,
        keyspaces: &Keyspaces,
        space: Space,
        bounds: (&[u8], &[u8]),
        limit: usize,
    ) -> Result<Vec<(Slice, Slice)>, Fault> {
        let mut found = Vec::new();
        if bounds.0 >= bounds.1 || limit == 0 {
            return Ok(found);
        }
        let mut newest = self.growing.range(space, bounds).peekable();
        // Once it is written the database says the same.
        let unwritten = (!self.written).then_some(&self.before);
        let mut newer = unwritten.into_iter().flat_map(|layer| layer.range(space, bounds)).peekable();
        let mut below = keyspaces.of(space).range(bounds.0..bounds.1).map(fjall::Guard::into_inner).fuse();
        let mut disk: Option<(Slice, Slice)> = None;
        // The database is asked for a row only when one more is wanted: behind the last there may be many
        // deleted keys to pass.
        while found.len() < limit {
            if disk.is_none() {
                disk = below.next().transpose()?;
            }
            let heads = [newest.peek().map(|(key, _)| key), newer.peek().map(|(key, _)| key)];
            let heads = heads.into_iter().chain([disk.as_ref().map(|(key, _)| key)]);
            let Some(first) = heads.flatten().min().cloned() else { break };
            // All three move past the first key; the newest that has it decides.
            let on_disk = disk.take_if(|(key, _)| *key == first).map(|(_, row)| Some(row));
            let newer = newer.next_if(|(key, _)| *key == first).map(|(_, row)| row);
            let newest = newest.next_if(|(key, _)| *key == first).map(|(_, row)| row);
            if let Some(row) = newest.or(newer).or(on_disk).flatten() {
                found.push((first, row));
            }
        }
        Ok(found)
    }
}
