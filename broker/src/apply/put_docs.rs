// SPDX-License-Identifier: Apache-2.0
//! Writes and removes documents, all or nothing: every expectation is looked at before the first is written,
//! against what was there before the command.
//!
//! Versions come from the same numbers as jobs, which are never used twice.

use std::collections::BTreeSet;

use super::Verdict;
use super::context::Context;
use crate::command::PutDocs;
use crate::document::Document;
use crate::id::JobNo;
use crate::reject::Reject;
use crate::reply::Reply;
use crate::tables::Tables;
use crate::tables::schema::Docs;

impl<T: Tables> Context<'_, T> {
    pub fn put_docs(&mut self, command: &PutDocs) -> Verdict<Reply, T::Fault> {
        let mut keys = BTreeSet::new();
        for put in &command.docs {
            let key = (put.space.clone(), put.key.clone());
            let found = self.tables.get::<Docs>(&key)?;
            // A document that is named twice would have to expect what the same command is about to write.
            if !put.expect.holds(found.as_ref()) || !keys.insert(key) {
                return Ok(Err(Reject::document_changed(&put.space, &put.key)));
            }
        }
        let mut versions = Vec::with_capacity(command.docs.len());
        for put in &command.docs {
            let key = (put.space.clone(), put.key.clone());
            let Some(value) = &put.value else {
                self.tables.delete::<Docs>(&key)?;
                versions.push(0);
                continue;
            };
            self.meta.last_job = JobNo(self.meta.last_job.0.saturating_add(1));
            let (version, put_at, put_by) = (self.meta.last_job.0, self.now, self.by.clone());
            self.tables.put::<Docs>(&key, &Document { value: value.clone(), version, put_at, put_by })?;
            versions.push(version);
        }
        Ok(Ok(Reply::Docs(versions)))
    }
}

#[cfg(test)]
mod tests;
