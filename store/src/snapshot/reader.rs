// SPDX-License-Identifier: Apache-2.0
//! Reading a snapshot file, block by block. What is not exactly as written is refused, with the place.
//!
//! A row is given out only after the crc of its block has been checked, but that the file is complete is
//! known only at the end: whoever loads a snapshot must throw away what it loaded if a later part is bad.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use jobbie_broker::codec;
use jobbie_broker::tables::Space;

use super::format::{
    BLOCK, BLOCK_HEAD_LEN, FOOTER, FOOTER_LEN, HEADER_LEN, MAGIC, MAX_BLOCK, MAX_HEADER, ROW_HEAD_LEN,
    START_LEN, VERSION, u32_at, u64_at,
};
use crate::keyspaces::{Fault, Mark};

/// A snapshot being read.
pub(crate) struct Reader<R> {
    input: R,
    path: PathBuf,
    offset: u64,
    /// Where the part begins that is being read: what is said of a damage.
    part: u64,
    check: u32,
    mark: Mark,
    rows: u64,
    blocks: u64,
    block: Vec<u8>,
}

/// A row: table, key, bytes.
pub(crate) type Row<'a> = (Space, &'a [u8], &'a [u8]);

impl<R: Read> Reader<R> {
    /// Reads the beginning of a file; `path` is for messages.
    pub(crate) fn new(input: R, path: &Path) -> Result<Self, Fault> {
        let path = path.to_owned();
        let mut reader = Self {
            input,
            path,
            offset: 0,
            part: 0,
            check: 0,
            mark: Mark::default(),
            rows: 0,
            blocks: 0,
            block: Vec::new(),
        };
        let start = reader.take::<START_LEN>("the beginning")?;
        if start[..MAGIC.len()] != MAGIC {
            return Err(reader.damaged("this is no snapshot of jobbie"));
        }
        let version = u32_at(&start, MAGIC.len());
        if version != VERSION {
            return Err(Fault::SnapshotFormat { path: reader.path, found: version, known: VERSION });
        }
        reader.part = reader.offset;
        let head = reader.take::<HEADER_LEN>("the header")?;
        let len = u32_at(&head, 0) as usize;
        if len > MAX_HEADER {
            return Err(reader.damaged(&format!("the header claims {len} bytes")));
        }
        let header = reader.take_vec(len, "the header")?;
        if crc32c::crc32c_append(crc32c::crc32c(&head[..4]), &header) != u32_at(&head, 4) {
            return Err(reader.damaged("the header's checksum is wrong"));
        }
        reader.mark = codec::decode(&header).map_err(|e| reader.damaged(&format!("the header: {e}")))?;
        Ok(reader)
    }

    /// How far the state in the file has come.
    pub(crate) const fn mark(&self) -> &Mark {
        &self.mark
    }

    /// Reads on: calls `each` for the rows of the next block; false at the proper end of the file.
    pub(crate) fn block(
        &mut self,
        each: &mut dyn FnMut(Row<'_>) -> Result<(), Fault>,
    ) -> Result<bool, Fault> {
        let check = self.check;
        self.part = self.offset;
        let [kind] = self.take::<1>("a block or the footer")?;
        match kind {
            FOOTER => self.footer(check).map(|()| false),
            BLOCK => {
                let rows = self.fill()?;
                self.each_row(rows, each)?;
                self.rows += u64::from(rows);
                self.blocks += 1;
                Ok(true)
            }
            other => Err(self.damaged(&format!("neither a block nor the footer begins with {other:#04x}"))),
        }
    }

    fn fill(&mut self) -> Result<u32, Fault> {
        let mut head = [BLOCK; BLOCK_HEAD_LEN];
        head[1..].copy_from_slice(&self.take::<{ BLOCK_HEAD_LEN - 1 }>("a block")?);
        let len = u32_at(&head, 1) as usize;
        if len > MAX_BLOCK {
            return Err(self.damaged(&format!("a block claims {len} bytes")));
        }
        self.block = self.take_vec(len, "a block")?;
        if crc32c::crc32c_append(crc32c::crc32c(&head[..9]), &self.block) != u32_at(&head, 9) {
            return Err(self.damaged("a block's checksum is wrong"));
        }
        Ok(u32_at(&head, 5))
    }

    fn each_row(&self, rows: u32, each: &mut dyn FnMut(Row<'_>) -> Result<(), Fault>) -> Result<(), Fault> {
        let mut rest = self.block.as_slice();
        for _ in 0..rows {
            let parts = rest.split_at_checked(ROW_HEAD_LEN).and_then(|(head, tail)| {
                let (key, row) = (u32_at(head, 1) as usize, u32_at(head, 5) as usize);
                let (key, tail) = tail.split_at_checked(key)?;
                let (row, tail) = tail.split_at_checked(row)?;
                Some((Space::from_number(head[0])?, key, row, tail))
            });
            let Some((space, key, row, tail)) = parts else {
                return Err(self.damaged("a block's rows do not fit it, or are of an unknown table"));
            };
            each((space, key, row))?;
            rest = tail;
        }
        if rest.is_empty() { Ok(()) } else { Err(self.damaged("a block holds more than its rows")) }
    }

    fn footer(&mut self, check: u32) -> Result<(), Fault> {
        let rest = self.take::<{ FOOTER_LEN - 1 }>("the footer")?;
        let check = crc32c::crc32c_append(crc32c::crc32c_append(check, &[FOOTER]), &rest[..16]);
        if u32_at(&rest, 16) != check {
            return Err(self.damaged("the checksum of the whole file is wrong"));
        }
        if (u64_at(&rest, 0), u64_at(&rest, 8)) != (self.rows, self.blocks) {
            return Err(self.damaged("the footer counts other rows than there are"));
        }
        let mut more = [0];
        match self.input.read(&mut more) {
            Ok(0) => Ok(()),
            Ok(_) => Err(self.damaged("there is something behind the footer")),
            Err(e) => Err(Fault::io("read", &self.path)(e)),
        }
    }

    fn take<const N: usize>(&mut self, what: &str) -> Result<[u8; N], Fault> {
        let mut bytes = [0; N];
        self.read(&mut bytes, what)?;
        Ok(bytes)
    }

    fn take_vec(&mut self, len: usize, what: &str) -> Result<Vec<u8>, Fault> {
        let mut bytes = std::mem::take(&mut self.block);
        bytes.clear();
        bytes.resize(len, 0);
        self.read(&mut bytes, what)?;
        Ok(bytes)
    }

    fn read(&mut self, bytes: &mut [u8], what: &str) -> Result<(), Fault> {
        self.input.read_exact(bytes).map_err(|e| match e.kind() {
            io::ErrorKind::UnexpectedEof => self.damaged(&format!("the file ends inside {what}")),
            _ => Fault::io("read", &self.path)(e),
        })?;
        self.offset += bytes.len() as u64;
        self.check = crc32c::crc32c_append(self.check, bytes);
        Ok(())
    }

    fn damaged(&self, reason: &str) -> Fault {
        Fault::Snapshot { path: self.path.clone(), offset: self.part, reason: reason.to_owned() }
    }
}
