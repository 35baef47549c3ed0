// SPDX-License-Identifier: Apache-2.0
//! A group: the entries that are applied and committed together.

use std::io;

use futures_util::{FutureExt, Stream, StreamExt};
use openraft::entry::EntryPayload;
use openraft::storage::{ApplyResponder, EntryResponder};

use crate::raft::{Entry, TypeConfig};

/// Commands of one group. An entry has up to 1,024 (the proposer's bound) and 2–4 are in flight: all that
/// can be waiting fits, and the rows of a group stay a few MiB.
const COMMANDS: usize = 4096;
/// Bytes of the commands of one group, for the same reason: four entries of 256 KiB.
const BYTES: usize = 1 << 20;

/// Entries with who waits for them.
#[derive(Default)]
pub(crate) struct Group {
    pub(crate) entries: Vec<(Entry, Option<ApplyResponder<TypeConfig>>)>,
    commands: usize,
    /// Bytes of their commands in the log.
    pub(crate) bytes: usize,
}

impl Group {
    /// The next group: waits for one entry, then takes what is ready without waiting. `None` at the end.
    pub(crate) async fn next<S>(entries: &mut S) -> io::Result<Option<Self>>
    where
        S: Stream<Item = io::Result<EntryResponder<TypeConfig>>> + Unpin,
    {
        let Some(first) = entries.next().await else { return Ok(None) };
        let mut group = Self::default();
        group.add(first?);
        while group.commands < COMMANDS && group.bytes < BYTES {
            match entries.next().now_or_never() {
                Some(Some(entry)) => group.add(entry?),
                Some(None) | None => break,
            }
        }
        Ok(Some(group))
    }

    fn add(&mut self, (entry, responder): EntryResponder<TypeConfig>) {
        if let EntryPayload::Normal(request) = &entry.payload {
            self.commands += request.proposal().submissions.len();
            self.bytes += request.bytes().len();
        }
        // An empty entry takes its share of the batch too.
        self.commands += 1;
        self.entries.push((entry, responder));
    }
}
