// SPDX-License-Identifier: Apache-2.0
//! Reading entries back from segments, each checked again against its checksum.

use std::io;

use bytes::Bytes;

use super::index::Stretch;
use super::record::{Header, Item};

/// The most that is read from disk at once. Stretches are about 16 KiB, so this is a few dozen in one call.
const MOST: u64 = 1 << 20;

/// Appends the entries of the stretches to `out` until they weigh `budget`; one entry is always given.
pub(crate) fn read<I: Item>(stretches: &[Stretch], budget: &mut usize, out: &mut Vec<I>) -> io::Result<()> {
    let mut rest = stretches;
    while !rest.is_empty() && (*budget > 0 || out.is_empty()) {
        let (group, later) = rest.split_at(neighbours(rest, *budget as u64));
        rest = later;
        let (Some(first), Some(last)) = (group.first(), group.last()) else { break };
        let start = first.bytes.start;
        let mut bytes = vec![0; to_usize(last.bytes.end - start)?];
        first.file.read_exact_at(&mut bytes, start)?;
        let bytes = Bytes::from(bytes);
        for stretch in group {
            let own = to_usize(stretch.bytes.start - start)?..to_usize(stretch.bytes.end - start)?;
            if !parse(stretch, &bytes.slice(own), budget, out)? {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// How many stretches from the first on lie side by side and are worth one read.
fn neighbours(stretches: &[Stretch], budget: u64) -> usize {
    let Some(first) = stretches.first() else { return 0 };
    let adjoining = stretches.windows(2).take_while(|pair| {
        let length = pair[1].bytes.end.saturating_sub(first.bytes.start);
        pair[1].seq == pair[0].seq
            && pair[1].bytes.start == pair[0].bytes.end
            && length <= MOST
            && pair[0].bytes.end - first.bytes.start <= budget
    });
    1 + adjoining.count()
}

/// Takes the wanted entries of one stretch; `false` if the budget is used up. What follows them in the
/// stretch is dead.
fn parse<I: Item>(
    stretch: &Stretch,
    bytes: &Bytes,
    budget: &mut usize,
    out: &mut Vec<I>,
) -> io::Result<bool> {
    let damaged = |offset: u64, what: String| {
        let text = format!("{what} in {} at offset {offset}", stretch.path.display());
        io::Error::new(io::ErrorKind::InvalidData, text)
    };
    let mut offset = stretch.bytes.start;
    for wanted in stretch.entries.clone() {
        loop {
            let here = bytes.get(to_usize(offset - stretch.bytes.start)?..).unwrap_or_default();
            let header = Header::read(here, stretch.salt, offset);
            let body = header.and_then(|h| h.body(here, stretch.salt, offset));
            let (Some(header), Some(body)) = (header, body) else {
                return Err(damaged(
                    offset,
                    format!("the record that should lead to entry {wanted} is damaged"),
                ));
            };
            offset += header.size();
            if !header.kind.is_entry() || header.index < wanted {
                continue;
            }
            if header.index > wanted {
                return Err(damaged(offset, format!("entry {wanted} is missing")));
            }
            if !out.is_empty() && body.len() > *budget {
                *budget = 0;
                return Ok(false);
            }
            *budget = budget.saturating_sub(body.len());
            out.push(I::from_record(header.record(bytes.slice_ref(body)))?);
            break;
        }
    }
    Ok(true)
}

fn to_usize(number: u64) -> io::Result<usize> {
    usize::try_from(number).map_err(io::Error::other)
}
