// SPDX-License-Identifier: Apache-2.0
//! All keys and sessions as they are at a moment, ready to be looked up.

use std::collections::HashMap;
use std::sync::Arc;

use jobbie_actors::Ports;
use jobbie_broker::{Document, Name, Timestamp};
use serde::{Deserialize, Serialize};

use super::key::Key;
use super::secret::Secret;
use super::{KEYS, LOCK, SESSIONS};

/// A browser's session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// The key it was opened with.
    pub key: Name,
    /// The version of that key's document: a key that was put again has other sessions.
    pub key_version: u64,
    /// When it was opened.
    pub created_at: Timestamp,
    /// From when on it is refused.
    pub expires_at: Timestamp,
}

/// The document of a session.
#[derive(Serialize, Deserialize)]
pub(super) struct SessionDoc {
    pub key: Name,
    pub key_version: u64,
    pub expires_at_ms: u64,
}

/// A snapshot.
#[derive(Debug, Default)]
pub struct Ring {
    by_secret: HashMap<u64, Vec<Arc<Key>>>,
    by_id: HashMap<Name, Arc<Key>>,
    sessions: HashMap<Name, Session>,
    /// Documents of keys, also those that cannot be read.
    documents: usize,
    /// The version of the document that every change writes.
    lock: Option<u64>,
}

impl Ring {
    /// What the documents say now. Keys that were known already keep what was counted against their limit.
    #[must_use]
    pub fn now(ports: &Ports, before: &Self) -> Self {
        let lock = ports.docs(&LOCK.0.into()).into_iter().find(|(key, _)| &**key == LOCK.1);
        let (keys, sessions) = (ports.docs(&KEYS.into()), ports.docs(&SESSIONS.into()));
        let mut ring = Self::of(&keys, &sessions, before);
        ring.lock = lock.map(|(_, document)| document.version);
        ring
    }

    fn of(keys: &[(Name, Arc<Document>)], sessions: &[(Name, Arc<Document>)], before: &Self) -> Self {
        let mut ring = Self { documents: keys.len(), ..Self::default() };
        for (id, document) in keys {
            let known = before.by_id.get(id).filter(|known| known.version == document.version).cloned();
            let Some(key) = known.or_else(|| Key::read(id, document).map(Arc::new)) else {
                tracing::error!(key = &**id, "the document of a key cannot be read; nobody can use that key");
                continue;
            };
            ring.by_secret.entry(key.secret.bucket()).or_default().push(key.clone());
            ring.by_id.insert(id.clone(), key);
        }
        for (id, document) in sessions {
            let Ok(doc) = serde_json::from_slice::<SessionDoc>(&document.value.0) else { continue };
            let session = Session {
                key: doc.key,
                key_version: doc.key_version,
                created_at: document.put_at,
                expires_at: Timestamp(doc.expires_at_ms),
            };
            ring.sessions.insert(id.clone(), session);
        }
        ring
    }

    /// True if there has never been a key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.documents == 0 && self.lock.is_none()
    }

    /// How many keys there are, with those that cannot be read.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.documents
    }

    /// The version of the document that every change writes.
    #[must_use]
    pub const fn lock(&self) -> Option<u64> {
        self.lock
    }

    /// The key with that secret.
    #[must_use]
    pub fn by_secret(&self, secret: &Secret) -> Option<&Arc<Key>> {
        self.by_secret.get(&secret.bucket())?.iter().find(|key| key.secret.is(secret))
    }

    /// The key with that id.
    #[must_use]
    pub fn by_id(&self, id: &str) -> Option<&Arc<Key>> {
        self.by_id.get(id)
    }

    /// All keys that can be read, the oldest first.
    #[must_use]
    pub fn keys(&self) -> Vec<&Arc<Key>> {
        let mut keys: Vec<_> = self.by_id.values().collect();
        keys.sort_unstable_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
        keys
    }

    /// The session of a cookie, by the key of its document.
    #[must_use]
    pub fn session(&self, id: &str) -> Option<&Session> {
        self.sessions.get(id)
    }

    /// All sessions, those that end first at the front.
    #[must_use]
    pub fn sessions(&self) -> Vec<(&Name, &Session)> {
        let mut sessions: Vec<_> = self.sessions.iter().collect();
        sessions.sort_unstable_by_key(|(id, session)| (session.expires_at, *id));
        sessions
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::{KeySpec, RateLimit, Role};
    use jobbie_broker::{Json, Scope};

    fn doc(value: Json, version: u64) -> Arc<Document> {
        Arc::new(Document { value, version, put_at: Timestamp(version), put_by: "anonymous".into() })
    }

    fn key(id: &str, secret: &str, version: u64) -> (Name, Arc<Document>) {
        let spec = KeySpec {
            name: id.into(),
            role: Role::Admin,
            scope: Scope::ALL,
            expires_at: None,
            rate_limit: Some(RateLimit { per_second: 1, burst: 1 }),
        };
        (id.into(), doc(Key::document(&spec, Secret::of(secret)), version))
    }

    #[test]
    fn a_key_is_found_by_its_secret_and_by_nothing_else() {
        let ring = Ring::of(&[key("a", "s1", 1), key("b", "s2", 2)], &[], &Ring::default());
        assert_eq!(&*ring.by_secret(&Secret::of("s2")).unwrap().id, "b");
        for wrong in ["", "s", "s1 ", "S1", "a"] {
            assert!(ring.by_secret(&Secret::of(wrong)).is_none(), "{wrong}");
        }
        assert!(ring.by_id("a").is_some() && ring.by_id("c").is_none());
    }

    #[test]
    fn a_document_that_cannot_be_read_lets_nobody_in_and_does_not_open_the_door() {
        let broken = ("a".into(), doc(Json::from("[1"), 1));
        let ring = Ring::of(&[broken], &[], &Ring::default());
        assert!(!ring.is_empty() && ring.keys().is_empty());
        assert!(Ring::default().is_empty());
        assert!(!Ring { lock: Some(1), ..Ring::default() }.is_empty(), "there have been keys");
    }

    #[test]
    fn what_was_counted_against_a_key_outlives_other_changes_but_not_its_own() {
        let first = Ring::of(&[key("a", "s", 1)], &[], &Ring::default());
        let use_up = |ring: &Ring| ring.by_id("a").unwrap().limit.as_ref().unwrap().admit();
        assert!(use_up(&first).is_ok() && use_up(&first).is_err());
        let second = Ring::of(&[key("a", "s", 1), key("b", "t", 2)], &[], &first);
        assert!(use_up(&second).is_err());
        assert!(use_up(&Ring::of(&[key("a", "s", 3)], &[], &second)).is_ok());
    }
}
