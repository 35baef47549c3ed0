// SPDX-License-Identifier: Apache-2.0
//! Who hears of applied entries: the ring of events, the metrics, the tracer. Called by the task that applies, so
//! nothing here waits.

use std::sync::Arc;

use jobbie_store::{AppliedEntry, AppliedGroup, ApplySink};

use crate::dispatch::ring::EventRing;
use crate::metrics::Metrics;
use crate::trace::Tracer;

/// Hears of applied entries and tells the others.
pub(crate) struct Hearers {
    pub ring: Arc<EventRing>,
    pub metrics: Arc<Metrics>,
    pub tracer: Tracer,
}

impl ApplySink for Hearers {
    fn applied(&self, entries: Vec<AppliedEntry>) {
        self.ring.applied(entries);
    }

    fn measured(&self, group: &AppliedGroup) {
        self.metrics.applied(group);
        self.tracer.applied(group);
    }
}
