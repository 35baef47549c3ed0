// SPDX-License-Identifier: Apache-2.0
//! Writing a snapshot file, row by row, with one block in memory.

use std::io::{self, Write};

use jobbie_broker::codec;
use jobbie_broker::tables::Space;

use super::format::{BLOCK, BLOCK_BYTES, FOOTER, MAGIC, VERSION};
use crate::keyspaces::Mark;

/// A snapshot being written.
pub(crate) struct Writer<W> {
    out: W,
    check: u32,
    block: Vec<u8>,
    block_rows: u32,
    rows: u64,
    blocks: u64,
}

impl<W: Write> Writer<W> {
    /// Begins a file.
    pub(crate) fn new(out: W, mark: &Mark) -> io::Result<Self> {
        let mut writer = Self {
            out,
            check: 0,
            block: Vec::with_capacity(BLOCK_BYTES * 2),
            block_rows: 0,
            rows: 0,
            blocks: 0,
        };
        let header = codec::encode(mark);
        let len = length(header.len())?.to_le_bytes();
        let crc = crc32c::crc32c_append(crc32c::crc32c(&len), &header).to_le_bytes();
        for part in [MAGIC.as_slice(), &VERSION.to_le_bytes(), &len, &crc, &header] {
            writer.emit(part)?;
        }
        Ok(writer)
    }

    /// Adds a row; rows come in the order of (table, key).
    pub(crate) fn row(&mut self, space: Space, key: &[u8], row: &[u8]) -> io::Result<()> {
        self.block.push(space as u8);
        self.block.extend_from_slice(&length(key.len())?.to_le_bytes());
        self.block.extend_from_slice(&length(row.len())?.to_le_bytes());
        self.block.extend_from_slice(key);
        self.block.extend_from_slice(row);
        self.block_rows += 1;
        if self.block.len() >= BLOCK_BYTES { self.end_block() } else { Ok(()) }
    }

    /// Ends the file and gives it back, with the number of its rows. It is not synced.
    pub(crate) fn finish(mut self) -> io::Result<(W, u64)> {
        self.end_block()?;
        let (rows, blocks) = (self.rows.to_le_bytes(), self.blocks.to_le_bytes());
        for part in [[FOOTER].as_slice(), &rows, &blocks] {
            self.emit(part)?;
        }
        self.emit(&self.check.to_le_bytes())?;
        self.out.flush()?;
        Ok((self.out, self.rows))
    }

    fn end_block(&mut self) -> io::Result<()> {
        if self.block_rows == 0 {
            return Ok(());
        }
        let mut head = [0; 9];
        head[0] = BLOCK;
        head[1..5].copy_from_slice(&length(self.block.len())?.to_le_bytes());
        head[5..9].copy_from_slice(&self.block_rows.to_le_bytes());
        let crc = crc32c::crc32c_append(crc32c::crc32c(&head), &self.block).to_le_bytes();
        let block = std::mem::take(&mut self.block);
        for part in [head.as_slice(), &crc, &block] {
            self.emit(part)?;
        }
        self.block = block;
        self.block.clear();
        self.rows += u64::from(self.block_rows);
        self.blocks += 1;
        self.block_rows = 0;
        Ok(())
    }

    fn emit(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.check = crc32c::crc32c_append(self.check, bytes);
        self.out.write_all(bytes)
    }
}

fn length(len: usize) -> io::Result<u32> {
    u32::try_from(len)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "a row of a snapshot is longer than 4 GiB"))
}
