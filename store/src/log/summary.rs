// SPDX-License-Identifier: Apache-2.0
//! What a log amounts to, apart from the entries themselves: which of them live, the vote, what is
//! committed.
//!
//! It is a fold over the records. The same fold runs when a call is accepted, when the writer writes, and
//! when the log is opened; each segment's head restates it, so every opening compares the fold of one
//! segment with the head of the next, and a lost record of any kind shows.
//!
//! ```text
//!      purged                last
//!        ▼                    ▼
//!  … … … ×│ first … … … … … … │ next append
//! ```

use bytes::Bytes;

use super::record::{Kind, Mark, Record};

/// The state of a log between two records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    /// The last entry that was purged.
    pub purged: Option<Mark>,
    /// The last entry, living or purged.
    pub last: Option<Mark>,
    /// The first living entry, if any lives.
    pub first: u64,
    /// The vote, opaque.
    pub vote: Option<Bytes>,
    /// The last entry known to be committed.
    pub committed: Option<Mark>,
}

impl Summary {
    /// The index after the last entry; zero if there never was one.
    pub(crate) fn next(&self) -> u64 {
        self.last.map_or(0, |last| last.index + 1)
    }

    /// The living entries.
    pub(crate) fn live(&self) -> std::ops::Range<u64> {
        let next = self.next();
        self.first.min(next)..next
    }

    /// Takes an entry.
    pub(crate) fn append(&mut self, mark: Mark) -> Result<(), String> {
        match self.last {
            Some(last) if mark.index != last.index + 1 => {
                return Err(format!("entry {} follows entry {}", mark.index, last.index));
            }
            Some(last) if mark.term < last.term => {
                return Err(format!("entry {} has term {} after term {}", mark.index, mark.term, last.term));
            }
            Some(_) => {}
            None => self.first = mark.index,
        }
        self.last = Some(mark);
        Ok(())
    }

    /// What stays if all entries after `after` go; `None` if there are none.
    pub(crate) fn truncation(&self, after: Option<Mark>) -> Result<Option<Truncation>, String> {
        if after.is_some_and(|after| after.index >= self.next().saturating_sub(1)) || self.last.is_none() {
            return Ok(None);
        }
        if let Some(purged) = self.purged
            && after.is_none_or(|after| after.index < purged.index)
        {
            return Err(format!("entries up to {} are purged and cannot be truncated", purged.index));
        }
        Ok(Some(match after {
            Some(after) if after.index >= self.first => Truncation { kept: Some(after) },
            _ => Truncation { kept: None },
        }))
    }

    /// Drops the end.
    pub(crate) fn truncate(&mut self, truncation: Truncation) {
        self.last = truncation.kept.or(self.purged);
        if self.last.is_none() {
            self.first = 0;
        }
    }

    /// Drops the beginning; `false` if it is gone already.
    pub(crate) fn purge(&mut self, upto: Mark) -> bool {
        if self.purged.is_some_and(|purged| upto.index <= purged.index) {
            return false;
        }
        self.purged = Some(upto);
        self.first = self.first.max(upto.index + 1);
        if self.last.is_none_or(|last| last.index <= upto.index) {
            self.last = Some(upto);
        }
        true
    }

    /// Takes a record of the log, in order.
    pub(crate) fn replay(&mut self, record: &Record) -> Result<(), String> {
        match record.kind {
            Kind::Head => return Err("a head inside a segment".into()),
            Kind::Blank | Kind::Normal | Kind::Membership => return self.append(record.mark()),
            Kind::Vote => self.vote = Some(record.body.clone()),
            Kind::Committed => self.committed = (!record.body.is_empty()).then_some(record.mark()),
            Kind::Truncate => {
                self.truncate(Truncation { kept: (!record.body.is_empty()).then_some(record.mark()) })
            }
            Kind::Purge => {
                self.purge(record.mark());
            }
        }
        Ok(())
    }
}

/// The end of the log after a truncation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Truncation {
    /// The last living entry; none if no entry lives.
    pub kept: Option<Mark>,
}

/// The record of an optional position: present ones have a body of one byte.
pub(crate) fn mark_record(kind: Kind, mark: Option<Mark>) -> Record {
    let (term, index) = mark.map_or((0, 0), |m| (m.term, m.index));
    let body = if mark.is_some() { Bytes::from_static(&[1]) } else { Bytes::new() };
    Record { kind, term, index, body }
}

/// The record of a vote.
pub(crate) fn vote_record(vote: Bytes) -> Record {
    Record { kind: Kind::Vote, term: 0, index: 0, body: vote }
}
