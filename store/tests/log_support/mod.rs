// SPDX-License-Identifier: Apache-2.0
//! A disk in memory that can lose power, be cut short and fail, and small helpers for tests of the log.
//!
//! Each file has what is written and what is synced. Losing power keeps, for every 512-byte sector that was
//! written and not synced, the old or the new content, as the dice say; the same for names that no directory
//! sync has confirmed.

#![allow(dead_code)] // each test binary uses its own part of this

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, mpsc};

use bytes::Bytes;
use jobbie_store::Durability;
use jobbie_store::log::disk::{Disk, SegmentFile};
use jobbie_store::log::{Callback, Kind, Log, LogOptions, Record};

/// A small generator of numbers, good enough for dice.
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (x ^ (x >> 31)) % sides
    }
}

#[derive(Clone, Default)]
struct Content {
    written: Vec<u8>,
    synced: Vec<u8>,
}

#[derive(Clone)]
enum NameOp {
    Create(PathBuf, usize),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
}

#[derive(Clone, Default)]
struct State {
    files: Vec<Content>,
    names: BTreeMap<PathBuf, usize>,
    synced_names: BTreeMap<PathBuf, usize>,
    pending: Vec<NameOp>,
    /// Operations that still work; after them the machine is off.
    fuel: Option<u64>,
    /// How much of the write that meets the end of the fuel is done, in 256ths.
    cut: u64,
    /// Syncs of files fail from now on.
    fail_syncs: bool,
    /// Writes of segments fail from now on.
    fail_writes: bool,
    syncs: u64,
}

fn apply(names: &mut BTreeMap<PathBuf, usize>, op: &NameOp) {
    match op {
        NameOp::Create(path, file) => {
            names.insert(path.clone(), *file);
        }
        NameOp::Rename(from, to) => {
            if let Some(file) = names.remove(from) {
                names.insert(to.clone(), file);
            }
        }
        NameOp::Remove(path) => {
            names.remove(path);
        }
    }
}

/// The disk.
#[derive(Clone, Default)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

struct Paused<'a> {
    _guard: MutexGuard<'a, State>,
}

impl Drop for Paused<'_> {
    fn drop(&mut self) {}
}

struct SimFile {
    disk: SimDisk,
    id: usize,
}

impl SimDisk {
    /// A disk with one file.
    pub fn with(path: &Path, bytes: &[u8]) -> Self {
        let files = vec![Content { written: bytes.to_vec(), synced: bytes.to_vec() }];
        let names = BTreeMap::from([(path.to_path_buf(), 0)]);
        let state = State { files, synced_names: names.clone(), names, ..State::default() };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// The machine goes off after so many operations; the write that hits the end is done in part.
    pub fn set_fuel(&self, fuel: u64, cut: u64) {
        let mut state = self.state.lock().unwrap();
        state.fuel = Some(fuel);
        state.cut = cut;
    }

    /// Nothing happens on the disk until the guard is dropped.
    pub fn pause(&self) -> impl Drop + '_ {
        Paused { _guard: self.state.lock().unwrap() }
    }

    pub fn fail_syncs(&self) {
        self.state.lock().unwrap().fail_syncs = true;
    }

    pub fn fail_writes(&self) {
        self.state.lock().unwrap().fail_writes = true;
    }

    /// The disk after the process was killed: all that was written is there.
    pub fn after_kill(&self) -> Self {
        let mut state = self.state.lock().unwrap().clone();
        state.fuel = None;
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// The disk after a power loss.
    pub fn after_power_loss(&self, dice: &mut Dice) -> Self {
        let old = self.state.lock().unwrap().clone();
        let mut names = old.synced_names.clone();
        // A journal commits in order, some first part of what was not synced; but nothing says that there
        // is one, so half of the time each goes its own way.
        let kept = dice.roll(old.pending.len() as u64 + 1) as usize;
        let in_order = dice.roll(2) == 0;
        for (at, op) in old.pending.iter().enumerate() {
            if if in_order { at < kept } else { dice.roll(2) == 0 } {
                apply(&mut names, op);
            }
        }
        let files = old.files.iter().map(|content| lose(content, dice)).collect();
        let state = State { files, synced_names: names.clone(), names, ..State::default() };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    pub fn names(&self) -> Vec<PathBuf> {
        self.state.lock().unwrap().names.keys().cloned().collect()
    }

    /// Counts of bytes that are written and not synced, over all files.
    pub fn unsynced(&self) -> usize {
        let state = self.state.lock().unwrap();
        state.names.values().map(|id| usize::from(state.files[*id].written != state.files[*id].synced)).sum()
    }

    fn step(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.state.lock().unwrap();
        match &mut state.fuel {
            Some(0) => return Err(io::Error::other("the machine is off")),
            Some(fuel) => *fuel -= 1,
            None => {}
        }
        Ok(state)
    }

    fn file(&self, id: usize) -> Arc<dyn SegmentFile> {
        Arc::new(SimFile { disk: self.clone(), id })
    }
}

fn lose(content: &Content, dice: &mut Dice) -> Content {
    let length = if dice.roll(2) == 0 { content.synced.len() } else { content.written.len() };
    let mut bytes = vec![0; length.max(content.synced.len())];
    // Sometimes nothing, sometimes nearly all of it got to the disk.
    let odds = dice.roll(9);
    for start in (0..bytes.len()).step_by(512) {
        let source = if dice.roll(8) < odds { &content.written } else { &content.synced };
        let end = (start + 512).min(bytes.len()).min(source.len());
        if start < end {
            bytes[start..end].copy_from_slice(&source[start..end]);
        }
    }
    Content { written: bytes.clone(), synced: bytes }
}

impl Disk for SimDisk {
    fn create_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.step()?;
        let inside = state.names.keys().filter(|p| p.parent() == Some(dir));
        Ok(inside.map(|p| p.file_name().unwrap().to_string_lossy().into_owned()).collect())
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn SegmentFile>> {
        let mut state = self.step()?;
        let id = state.files.len();
        state.files.push(Content::default());
        let op = NameOp::Create(path.to_path_buf(), id);
        apply(&mut state.names, &op);
        state.pending.push(op);
        drop(state);
        Ok(self.file(id))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn SegmentFile>> {
        let id = *self.step()?.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(self.file(id))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.step()?;
        let op = NameOp::Rename(from.to_path_buf(), to.to_path_buf());
        apply(&mut state.names, &op);
        state.pending.push(op);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.step()?;
        let op = NameOp::Remove(path.to_path_buf());
        apply(&mut state.names, &op);
        state.pending.push(op);
        Ok(())
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        let mut state = self.step()?;
        state.synced_names = state.names.clone();
        state.pending.clear();
        Ok(())
    }
}

impl SegmentFile for SimFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.disk.step()?.files[self.id].written.len() as u64)
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let state = self.disk.step()?;
        let content = &state.files[self.id].written;
        let start = offset as usize;
        let bytes = content.get(start..start + buffer.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(bytes);
        Ok(())
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.disk.state.lock().unwrap();
        if state.fail_writes {
            return Err(io::Error::new(io::ErrorKind::StorageFull, "no space left on device"));
        }
        let mut length = bytes.len();
        let off = state.fuel == Some(0);
        match &mut state.fuel {
            Some(0) => {
                length = length * state.cut as usize / 256;
                state.cut = 0;
            }
            Some(fuel) => *fuel -= 1,
            None => {}
        }
        let content = &mut state.files[self.id].written;
        let end = offset as usize + length;
        if length > 0 && content.len() < end {
            content.resize(end, 0);
        }
        content[offset as usize..][..length].copy_from_slice(&bytes[..length]);
        if off { Err(io::Error::other("the machine is off")) } else { Ok(()) }
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.disk.step()?;
        if state.fail_syncs {
            return Err(io::Error::other("input/output error"));
        }
        state.syncs += 1;
        let content = &mut state.files[self.id];
        content.synced = content.written.clone();
        Ok(())
    }
}

/// Calls the log and waits for the callback.
pub fn wait(call: impl FnOnce(Callback) -> io::Result<()>) -> io::Result<()> {
    let (sender, receiver) = mpsc::channel();
    call(Box::new(move |result| sender.send(result).unwrap()))?;
    receiver.recv().expect("each callback is called")
}

/// An entry with a body that says which one it is.
pub fn entry(term: u64, index: u64, length: usize) -> Record {
    let mut body = format!("entry {index} of term {term} ").into_bytes();
    body.resize(body.len().max(length), b'.');
    Record { kind: Kind::Normal, term, index, body: body.into() }
}

/// Appends entries one by one, each waited for.
pub fn append_each(log: &Log<Record>, entries: impl IntoIterator<Item = Record>) {
    for entry in entries {
        wait(|done| log.append(vec![entry], done)).unwrap();
    }
}

/// All living entries.
pub fn all(log: &Log<Record>) -> Vec<Record> {
    log.read(0..u64::MAX, usize::MAX).unwrap()
}

pub fn vote(number: u64) -> Bytes {
    Bytes::from(format!("vote {number}"))
}

/// Segments of 4 KiB, hardly a cache.
pub fn small() -> LogOptions {
    LogOptions { segment_bytes: 4 << 10, cache_bytes: 0, durability: Durability::Fsync }
}

/// A segment that holds a whole test.
pub fn roomy() -> LogOptions {
    LogOptions { segment_bytes: 64 << 10, cache_bytes: 1 << 20, durability: Durability::Fsync }
}

/// The segments in a directory, oldest first.
pub fn segments(dir: &Path) -> Vec<PathBuf> {
    let names = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path());
    let mut segments: Vec<_> = names.filter(|p| p.extension().is_some_and(|e| e == "log")).collect();
    segments.sort();
    segments
}

/// Copies what a process that is killed now would leave.
pub fn copy(from: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    for path in segments(from) {
        std::fs::copy(&path, to.path().join(path.file_name().unwrap())).unwrap();
    }
    to
}
