// SPDX-License-Identifier: Apache-2.0
//! The applied state as one caller may see it.

use jobbie_broker::{Job, JobRef, Name, QueueKey, Scope, StateKind, Timestamp};
use jobbie_store::keyspaces::Fault;
use jobbie_store::query::{Cursor, JobDetail, JobFilter, Page, Reader};

use super::Caller;

/// Reads the applied state for a caller: what is outside of their namespace and queues is not there. Its calls
/// may block.
pub struct View<'r> {
    reader: &'r Reader,
    namespace: Name,
    scope: Scope,
}

impl<'r> View<'r> {
    pub(crate) fn new(reader: &'r Reader, caller: Caller) -> Self {
        Self { reader, namespace: caller.namespace, scope: caller.scope }
    }

    fn sees(&self, job: &Job) -> bool {
        self.scope.allows(&job.queue)
    }

    /// A job with its bodies.
    ///
    /// # Errors
    /// If the machine fails.
    pub fn job(&self, job: &JobRef) -> Result<Option<JobDetail>, Fault> {
        Ok(self.reader.job(&self.namespace, job)?.filter(|detail| self.sees(&detail.job)))
    }

    /// A job without its bodies.
    ///
    /// # Errors
    /// If the machine fails.
    pub fn job_row(&self, job: &JobRef) -> Result<Option<Job>, Fault> {
        Ok(self.reader.job_row(&self.namespace, job)?.filter(|job| self.sees(job)))
    }

    /// A page of jobs, newest first: of one queue or all, in one state or any.
    ///
    /// # Errors
    /// If the machine fails.
    pub fn jobs(
        &self,
        queue: Option<Name>,
        state: Option<StateKind>,
        cursor: Option<Cursor>,
        limit: usize,
    ) -> Result<Page, Fault> {
        let (namespace, scope) = (self.namespace.clone(), self.scope.clone());
        self.reader.jobs(&JobFilter { namespace, scope, queue, state }, cursor, limit)
    }

    /// Since when the oldest pending job of a queue has been waiting.
    ///
    /// # Errors
    /// If the machine fails.
    pub fn oldest_pending(&self, queue: &Name) -> Result<Option<Timestamp>, Fault> {
        if !self.scope.allows(queue) {
            return Ok(None);
        }
        self.reader.oldest_pending(&QueueKey::new(&self.namespace, queue))
    }
}
