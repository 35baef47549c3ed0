// SPDX-License-Identifier: Apache-2.0
//! The state's database: which keyspace holds which table, and how far it has come.
//!
//! ```text
//! jobs     Jobs                                      point reads that nearly always hit
//! bodies   Bodies                                    large values, kept apart from their keys
//! order    Ready Waiting Leases Finished Due         keys without rows, written and deleted all the time
//! small    Ids UniqueKeys Requests Forgets Queues Meta Docs
//! ```
//!
//! A key is the number of its table and the key's bytes. Every batch writes the last applied log id into
//! every keyspace, for two reasons: keyspaces of different age are noticed at the next start (S1), and no
//! keyspace is ever idle, so none pins old journals (fjall #288). Few keyspaces keep that cheap.
//!
//! Nothing here is ever synced: the log is the truth, and a state that does not open is built again.

mod fault;
mod mark;

use std::path::{Path, PathBuf};

use fjall::config::CompressionPolicy;
use fjall::{
    AbstractTree, CompressionType, Database, Keyspace, KeyspaceCreateOptions, KvSeparationOptions,
    OwnedWriteBatch, Readable, Slice, Snapshot,
};
use jobbie_broker::body::INLINE;
use jobbie_broker::codec;
use jobbie_broker::tables::Space;

pub use fault::Fault;
pub use mark::{Mark, Members, Position};

/// Key of the last applied log id, in every keyspace; no table has the number 0.
const APPLIED: &[u8] = &[0, 0];
/// Key of the membership, in keyspace `small`.
const MEMBERSHIP: &[u8] = &[0, 1];
/// Keyspaces.
const KEYSPACES: usize = 4;
/// Bounds of one memtable: below 1 MiB tables become tiny, above 16 MiB a few of them (and those waiting to
/// be written) are most of a small machine's memory.
const MEMTABLE: (u64, u64) = (1 << 20, 16 << 20);
/// fjall's threads. The first never merges tables while another could, so that memtables are always written
/// in time, but it spins while a merge waits and all others are busy: with two threads that cost as much CPU
/// as the merging itself, with four hardly any (26 against 20 µs per command in all, measured).
const WORKERS: usize = 4;
/// Journals are kept until the memtables they cover are written; the least fjall accepts.
const JOURNALS: u64 = 64 << 20;
/// Commits wait at most that long for memtables to be written once the write buffer is full twice over.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(1);

/// How much memory the database may take.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// Rows that wait for being written to tables, over all keyspaces.
    pub write_buffer_bytes: u64,
    /// Blocks of tables.
    pub block_cache_bytes: u64,
}

/// An open state. Cheap to clone.
#[derive(Clone)]
pub struct Keyspaces {
    db: Database,
    jobs: Keyspace,
    bodies: Keyspace,
    order: Keyspace,
    small: Keyspace,
    write_buffer_bytes: u64,
    path: PathBuf,
}

impl Keyspaces {
    /// Opens the database in `path`, or creates it.
    ///
    /// # Errors
    /// If fjall cannot open it; the caller may then build the state again elsewhere.
    pub fn open(path: &Path, memory: Memory) -> Result<Self, Fault> {
        let share = |part: u64| (memory.write_buffer_bytes / part).clamp(MEMTABLE.0, MEMTABLE.1);
        let db = Database::builder(path)
            .cache_size(memory.block_cache_bytes)
            .max_journaling_size(JOURNALS)
            // Journals live minutes and are never synced: compressing them costs time and buys nothing.
            .journal_compression(CompressionType::None)
            .worker_threads(WORKERS)
            .open()?;
        // Rows live short and are merged often: compressing them cost 12 % of all CPU and is left to bodies.
        let options = |part: u64| {
            KeyspaceCreateOptions::default()
                .max_memtable_size(share(part))
                .data_block_compression_policy(CompressionPolicy::disabled())
        };
        // A job is written three times within moments, and what a memtable holds twice is written once.
        let mut jobs = options(4);
        jobs.expect_point_read_hits = true;
        let separation =
            KvSeparationOptions::default().separation_threshold(u32::try_from(INLINE).unwrap_or(u32::MAX));
        let mut bodies = options(4).with_kv_separation(Some(separation));
        bodies.expect_point_read_hits = true;
        Ok(Self {
            jobs: db.keyspace("jobs", || jobs)?,
            bodies: db.keyspace("bodies", || bodies)?,
            order: db.keyspace("order", || options(8))?,
            small: db.keyspace("small", || options(8))?,
            db,
            write_buffer_bytes: memory.write_buffer_bytes,
            path: path.to_owned(),
        })
    }

    /// Where it lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The keyspace that holds a table.
    #[must_use]
    pub fn of(&self, space: Space) -> &Keyspace {
        match space {
            Space::Jobs => &self.jobs,
            Space::Bodies => &self.bodies,
            Space::Ready | Space::Waiting | Space::Leases | Space::Finished | Space::Due => &self.order,
            Space::Ids
            | Space::UniqueKeys
            | Space::Requests
            | Space::Forgets
            | Space::Queues
            | Space::Meta
            | Space::Docs => &self.small,
        }
    }

    const fn all(&self) -> [(&'static str, &Keyspace); KEYSPACES] {
        [("jobs", &self.jobs), ("bodies", &self.bodies), ("order", &self.order), ("small", &self.small)]
    }

    /// A consistent view of everything committed so far.
    #[must_use]
    pub fn view(&self) -> Snapshot {
        self.db.snapshot()
    }

    /// A batch over all keyspaces.
    #[must_use]
    pub fn batch(&self, capacity: usize) -> OwnedWriteBatch {
        OwnedWriteBatch::with_capacity(self.db.clone(), capacity).durability(Some(fjall::PersistMode::Buffer))
    }

    /// Writes how far the state has come into a batch: into every keyspace.
    pub fn put_applied(&self, batch: &mut OwnedWriteBatch, at: Position) {
        let row = Slice::from(codec::encode(&at));
        for (_, keyspace) in self.all() {
            batch.insert(keyspace, APPLIED, row.clone());
        }
    }

    /// Writes the membership into a batch.
    pub fn put_members(&self, batch: &mut OwnedWriteBatch, members: &Members) {
        batch.insert(&self.small, MEMBERSHIP, codec::encode(members));
    }

    /// How far the state has come in a view.
    ///
    /// # Errors
    /// If the keyspaces do not agree (S1), or on a failure of the machine.
    pub fn mark(&self, view: &Snapshot) -> Result<Mark, Fault> {
        let mut found = Vec::with_capacity(KEYSPACES);
        for (name, keyspace) in self.all() {
            let row = view.get(keyspace, APPLIED)?;
            let at = row.map(|row| codec::decode::<Position>(&row)).transpose();
            found.push((name, at.map_err(|source| Fault::Mark { keyspace: name, source })?));
        }
        let applied = found[0].1;
        if found.iter().any(|(_, at)| *at != applied) {
            let show = |at: &Option<Position>| {
                at.map_or("nothing".to_owned(), |at| format!("{}-{}", at.term, at.index))
            };
            let ages: Vec<_> = found.iter().map(|(name, at)| format!("{name} at {}", show(at))).collect();
            return Err(Fault::Torn(ages.join(", ")));
        }
        let members = view.get(&self.small, MEMBERSHIP)?;
        let members = members.map(|row| codec::decode(&row)).transpose();
        let members = members.map_err(|source| Fault::Mark { keyspace: "small", source })?;
        Ok(Mark { applied, membership: members.unwrap_or_default() })
    }

    /// Keeps the write buffer within its bound; called after each commit. fjall bounds each memtable but not
    /// their sum (its `max_write_buffer_size` is read nowhere in 3.1.13).
    ///
    /// # Errors
    /// If a memtable cannot be sealed.
    pub fn bound_memory(&self) -> Result<(), Fault> {
        let used = self.db.write_buffer_size();
        if used <= self.write_buffer_bytes {
            return Ok(());
        }
        let largest = self.all().into_iter().map(|(_, keyspace)| keyspace);
        let largest = largest.max_by_key(|keyspace| keyspace.tree.active_memtable().size());
        if let Some(keyspace) = largest
            && keyspace.sealed_memtable_count() == 0
        {
            keyspace.rotate_memtable()?;
        }
        let since = std::time::Instant::now();
        while self.db.write_buffer_size() > 2 * self.write_buffer_bytes
            && self.db.outstanding_flushes() > 0
            && since.elapsed() < PATIENCE
        {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        Ok(())
    }

    /// Bytes of tables and of journals on disk.
    #[must_use]
    pub fn disk(&self) -> (u64, u64) {
        let tables = self.all().into_iter().map(|(_, keyspace)| keyspace.disk_space()).sum();
        (tables, self.db.journal_disk_space().unwrap_or(0))
    }
}
