// SPDX-License-Identifier: Apache-2.0
//! One write with fdatasync: the floor under every acknowledged enqueue.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;

/// Size of the file: it is filled before it is measured, so that only data is synced.
const SIZE: usize = 1 << 20;
/// A record with one 200-byte job.
const RECORD: usize = 512;
/// Syncs that make a figure.
const SYNCS: usize = 300;

/// The times of single records written and synced one after the other.
pub fn fdatasync(dir: &Path) -> Result<Vec<Duration>> {
    let path = dir.join(format!("peers-sync-{}", std::process::id()));
    let file = File::create_new(&path)?;
    std::fs::remove_file(&path)?;
    file.write_all_at(&vec![0; SIZE], 0)?;
    file.sync_all()?;
    let record = [b'x'; RECORD];
    let mut took = Vec::with_capacity(SYNCS);
    for i in 0..SYNCS {
        let start = Instant::now();
        file.write_all_at(&record, (i * RECORD % SIZE) as u64)?;
        file.sync_data()?;
        took.push(start.elapsed());
    }
    Ok(took)
}
