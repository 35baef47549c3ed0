// SPDX-License-Identifier: Apache-2.0
//! Reading entries back from segments, each checked again against its checksum.

use std::io;
use std::ops::Range;

use bytes::Bytes;

use super::index::Stretch;
use super::record::{Header, Item};

/// The most that is read from disk at once. Stretches are about 16 KiB, so this is a few dozen in one call.
const MOST: u64 = 1 << 20;

/// Appends the entries of the stretches to `out` until they weigh `budget`; one entry is always given.
pub(crate) fn read<I: Item>(stretches: &[Stretch], budget: &mut usize, out: &mut Vec<I>) -> io::Result<()> {
    let mut at = 0;
    while at < stretches.len() && (*budget > 0 || out.is_empty()) {
        let first = &stretches[at];
        let mut end = first.bytes.end;
        let mut entries = first.entries.clone();
        at += 1;
        // Neighbours in the same segment are read together, as far as the budget may reach.
        while let Some(next) = stretches.get(at) {
            let length = next.bytes.end - first.bytes.start;
            let adjoins =
                next.bytes.start == end && next.salt == first.salt && next.entries.start == entries.end;
            if !adjoins || length > MOST || length > (*budget as u64) + (16 << 10) {
                break;
            }
            end = next.bytes.end;
            entries.end = next.entries.end;
            at += 1;
        }
        stretch(first, first.bytes.start..end, entries, budget, out)?;
    }
    Ok(())
}

fn stretch<I: Item>(
    place: &Stretch,
    range: Range<u64>,
    entries: Range<u64>,
    budget: &mut usize,
    out: &mut Vec<I>,
) -> io::Result<()> {
    let mut bytes = vec![0; usize::try_from(range.end - range.start).map_err(io::Error::other)?];
    place.file.read_exact_at(&mut bytes, range.start)?;
    let bytes = Bytes::from(bytes);
    let damaged = |offset: u64, what: &str| {
        let text = format!("{what} in {} at offset {offset}", place.path.display());
        io::Error::new(io::ErrorKind::InvalidData, text)
    };
    let mut offset = range.start;
    let mut wanted = entries.start;
    while wanted < entries.end {
        let at = usize::try_from(offset - range.start).map_err(io::Error::other)?;
        let here = &bytes[at.min(bytes.len())..];
        let header = Header::read(here, place.salt, offset);
        let body = header.and_then(|h| h.body(here, place.salt, offset));
        let (Some(header), Some(body)) = (header, body) else {
            return Err(damaged(
                offset,
                &format!("the record that should lead to entry {wanted} is damaged"),
            ));
        };
        if header.kind.is_entry() && header.index == wanted {
            if !out.is_empty() && body.len() > *budget {
                *budget = 0;
                return Ok(());
            }
            *budget = budget.saturating_sub(body.len());
            out.push(I::from_record(header.record(bytes.slice_ref(body)))?);
            wanted += 1;
        } else if header.kind.is_entry() && header.index > wanted {
            return Err(damaged(offset, &format!("entry {wanted} is missing")));
        }
        offset += header.size();
    }
    Ok(())
}
