// SPDX-License-Identifier: Apache-2.0
//! What one small durable write costs on the disk by itself: the floor under every acknowledged enqueue.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result};

use super::stats::Spread;
use crate::client::unique_token;

/// Size of the file: like a log segment it is filled before it is measured, so that only data is synced.
const SIZE: usize = 1 << 20;
/// A log record with one 200-byte job.
const RECORD: usize = 512;

/// Syncs that make a figure.
const SYNCS: usize = 300;

/// The figure for a directory, measured on a thread that may block.
pub async fn spread(dir: &Path) -> Result<Option<Spread>> {
    let dir = dir.to_owned();
    let measured = tokio::task::spawn_blocking(move || fdatasync(&dir, SYNCS)).await?;
    Ok(Spread::of(&mut measured.context("cannot measure the disk")?))
}

/// Writes and syncs `count` records one after the other in `dir`.
fn fdatasync(dir: &Path, count: usize) -> io::Result<Vec<u32>> {
    let path = dir.join(format!("bench-{}", unique_token()));
    let measured = File::create_new(&path).and_then(|file| measure(&file, count));
    let _ = std::fs::remove_file(&path);
    measured
}

fn measure(file: &File, count: usize) -> io::Result<Vec<u32>> {
    file.write_all_at(&vec![0; SIZE], 0)?;
    file.sync_all()?;
    let record = [b'x'; RECORD];
    (0..count)
        .map(|i| {
            let start = Instant::now();
            file.write_all_at(&record, (i * RECORD % SIZE) as u64)?;
            file.sync_data()?;
            Ok(u32::try_from(start.elapsed().as_micros()).unwrap_or(u32::MAX))
        })
        .collect()
}

/// The remark about a directory that does not sync.
pub fn remark(spread: &Spread) -> Option<&'static str> {
    (spread.p50_us < 10).then_some(
        "this directory is not on a disk (fdatasync returns at once): the numbers are not durable ones",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_measures_and_cleans_up() {
        let dir = std::env::temp_dir().join(unique_token());
        std::fs::create_dir(&dir).unwrap();
        assert_eq!(fdatasync(&dir, 3).unwrap().len(), 3);
        std::fs::remove_dir(&dir).unwrap();
        assert!(fdatasync(&dir, 1).is_err());
        assert!(remark(&Spread { p50_us: 1, p99_us: 1, max_us: 1 }).is_some());
    }
}
