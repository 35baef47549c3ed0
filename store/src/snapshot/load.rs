// SPDX-License-Identifier: Apache-2.0
//! A state as a snapshot file, and a snapshot file as a state.

use std::io::{Read, Write};
use std::path::Path;

use fjall::{Keyspace, Readable, Snapshot};
use jobbie_broker::tables::Space;

use super::reader::Reader;
use super::writer::Writer;
use crate::keyspaces::{Fault, Keyspaces, Mark};
use crate::tables::bounds;

/// Writes every row of a view. Gives the output back, unsynced, and the number of rows.
pub(crate) fn save<W: Write>(
    keyspaces: &Keyspaces,
    view: &Snapshot,
    mark: &Mark,
    out: W,
    path: &Path,
) -> Result<(W, u64), Fault> {
    let failed = || Fault::io("write", path);
    let mut writer = Writer::new(out, mark).map_err(failed())?;
    for space in Space::ALL {
        let (start, end) = bounds(space, &[], None);
        for guard in view.range(keyspaces.of(space), start..end) {
            let (key, row) = guard.into_inner()?;
            writer.row(space, &key[1..], &row).map_err(failed())?;
        }
    }
    writer.finish().map_err(failed())
}

/// Loads every row of a file into an empty state, and then how far it has come. After an error the state is
/// half loaded and must be thrown away.
pub(crate) fn load<R: Read>(input: R, path: &Path, into: &Keyspaces) -> Result<Mark, Fault> {
    let mut file = Reader::new(input, path)?;
    let mut bulk = Bulk { into, current: None, last: Vec::new() };
    while file.block(&mut |(space, key, row)| bulk.add(space, key, row))? {}
    bulk.finish()?;
    let mark = file.mark().clone();
    let mut batch = into.batch(5);
    if let Some(applied) = mark.applied {
        into.put_applied(&mut batch, applied);
    }
    into.put_members(&mut batch, &mark.membership);
    batch.commit()?;
    Ok(mark)
}

/// Reads a whole file and checks it.
pub(crate) fn verify<R: Read>(input: R, path: &Path) -> Result<Mark, Fault> {
    let mut file = Reader::new(input, path)?;
    while file.block(&mut |_| Ok(()))? {}
    Ok(file.mark().clone())
}

/// Copies a whole file with another mark, and checks it. Gives the output back, unsynced, with the mark and the
/// number of rows.
pub(crate) fn copy<R: Read, W: Write>(
    input: R,
    from: &Path,
    mark: impl FnOnce(&Mark) -> Mark,
    out: W,
    to: &Path,
) -> Result<(W, Mark, u64), Fault> {
    let mut file = Reader::new(input, from)?;
    let mark = mark(file.mark());
    let mut writer = Writer::new(out, &mark).map_err(Fault::io("write", to))?;
    while file.block(&mut |(space, key, row)| writer.row(space, key, row).map_err(Fault::io("write", to)))? {}
    let (out, rows) = writer.finish().map_err(Fault::io("write", to))?;
    Ok((out, mark, rows))
}

/// Bulk loading: tables of the LSM tree are written directly, keyspace after keyspace, in key order.
struct Bulk<'a> {
    into: &'a Keyspaces,
    current: Option<(&'a Keyspace, Ingest<'a>)>,
    last: Vec<u8>,
}

/// Takes a key and its row, or the end. fjall has no name for what it hands out here.
type Ingest<'a> = Box<dyn FnMut(Option<(&[u8], &[u8])>) -> Result<(), Fault> + 'a>;

fn ingest(keyspace: &Keyspace) -> Result<Ingest<'_>, Fault> {
    let mut ingestion = Some(keyspace.start_ingestion()?);
    Ok(Box::new(move |row| match (row, &mut ingestion) {
        (Some((key, row)), Some(ingestion)) => Ok(ingestion.write(key, row)?),
        (None, open) => open.take().map_or(Ok(()), |ingestion| Ok(ingestion.finish()?)),
        (Some(_), None) => Ok(()),
    }))
}

impl Bulk<'_> {
    fn add(&mut self, space: Space, key: &[u8], row: &[u8]) -> Result<(), Fault> {
        let keyspace = self.into.of(space);
        let mut full = Vec::with_capacity(key.len() + 1);
        full.push(space as u8);
        full.extend_from_slice(key);
        // The tree below panics on keys that do not ascend; a file with valid checksums may still hold them.
        if full <= self.last {
            return Err(Fault::Contradiction("the rows of the snapshot are not in order".to_owned()));
        }
        if self.current.as_ref().is_none_or(|(current, _)| *current != keyspace) {
            self.finish()?;
            self.current = Some((keyspace, ingest(keyspace)?));
        }
        if let Some((_, write)) = &mut self.current {
            write(Some((&full, row)))?;
        }
        self.last = full;
        Ok(())
    }

    fn finish(&mut self) -> Result<(), Fault> {
        match self.current.take() {
            Some((_, mut write)) => write(None),
            None => Ok(()),
        }
    }
}
