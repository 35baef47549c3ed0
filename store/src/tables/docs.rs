// SPDX-License-Identifier: Apache-2.0
//! The documents of all features, decoded and in memory: few, small, and asked for with every request.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jobbie_broker::{Document, Name};

/// A document's space and its key there.
pub type DocKey = (Name, Name);
/// Documents that a group has touched: `None` for one that is gone.
pub type TouchedDocs = Vec<(DocKey, Option<Arc<Document>>)>;

/// All documents, and which of them the group that is being applied has touched.
#[derive(Debug, Default)]
pub(crate) struct DocRows {
    rows: BTreeMap<DocKey, Arc<Document>>,
    touched: BTreeSet<DocKey>,
}

impl DocRows {
    pub(crate) fn new(rows: BTreeMap<DocKey, Arc<Document>>) -> Self {
        Self { rows, touched: BTreeSet::new() }
    }

    /// All documents.
    pub(crate) const fn rows(&self) -> &BTreeMap<DocKey, Arc<Document>> {
        &self.rows
    }

    pub(crate) fn set(&mut self, key: &DocKey, document: Option<&Document>) {
        match document {
            Some(document) => drop(self.rows.insert(key.clone(), Arc::new(document.clone()))),
            None => drop(self.rows.remove(key)),
        }
        self.touched.insert(key.clone());
    }

    /// What the group has touched, which has ended.
    pub(crate) fn keep(&mut self) -> TouchedDocs {
        let touched = std::mem::take(&mut self.touched).into_iter();
        touched.map(|key| (key.clone(), self.rows.get(&key).cloned())).collect()
    }
}
