// SPDX-License-Identifier: Apache-2.0
//! Documents of features: answered from memory.

use std::ops::Bound;
use std::sync::Arc;

use jobbie_broker::{Document, Name};
use tokio::sync::watch;

use super::Reader;

impl Reader {
    /// The documents of a space, sorted by key.
    #[must_use]
    pub fn docs(&self, space: &Name) -> Vec<(Name, Arc<Document>)> {
        let docs = self.shared.docs();
        let of_space = docs.range((Bound::Included((space.clone(), Name::from(""))), Bound::Unbounded));
        of_space
            .take_while(|((other, _), _)| other == space)
            .map(|((_, key), document)| (key.clone(), document.clone()))
            .collect()
    }

    /// A number that changes after documents have: by the time a write is answered, it has.
    #[must_use]
    pub fn docs_changed(&self) -> watch::Receiver<u64> {
        self.shared.docs_changed()
    }
}
