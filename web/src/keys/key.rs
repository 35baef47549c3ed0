// SPDX-License-Identifier: Apache-2.0
//! A key, what its role may do, and the document it is kept as.

use jobbie_broker::{Document, Json, Name, Scope, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::gcra::Gcra;
use super::secret::Secret;
use crate::seams::Action;

/// What a key may do, with the queues in its scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Everything; with every queue in scope also keys.
    Admin,
    /// Enqueue, fetch, ack, fail, release, heartbeat; wait for jobs and look at them.
    Worker,
    /// Read everything but keys.
    Readonly,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 3] = [Self::Admin, Self::Worker, Self::Readonly];

    /// The role's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Worker => "worker",
            Self::Readonly => "readonly",
        }
    }

    /// The role of that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }

    /// True if the role is enough for that.
    #[must_use]
    pub const fn may(self, action: Action) -> bool {
        match action {
            Action::Public | Action::Identify => true,
            Action::Enqueue | Action::Work => matches!(self, Self::Admin | Self::Worker),
            Action::Watch => true,
            Action::Read | Action::Metrics => matches!(self, Self::Admin | Self::Readonly),
            Action::ManageJobs
            | Action::ManageQueues
            | Action::ManageKeys
            | Action::Admin
            | Action::Debug => {
                matches!(self, Self::Admin)
            }
        }
    }
}

/// How often a key may call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RateLimit {
    /// Calls per second in the long run.
    #[schema(minimum = 1, maximum = 1_000_000)]
    pub per_second: u32,
    /// Calls at once; `per_second` if absent.
    #[schema(minimum = 1, maximum = 1_000_000)]
    pub burst: u32,
}

/// What is asked for when a key is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySpec {
    /// What it is for; no other key has it.
    pub name: Name,
    /// What it may do.
    pub role: Role,
    /// With which queues.
    pub scope: Scope,
    /// From when on it is refused.
    pub expires_at: Option<Timestamp>,
    /// How often it may call.
    pub rate_limit: Option<RateLimit>,
}

impl KeySpec {
    /// True for a key that can make and remove keys for ever: one of these there must always be.
    #[must_use]
    pub fn is_keeper(&self) -> bool {
        self.role == Role::Admin && self.scope.is_all() && self.expires_at.is_none()
    }
}

/// A key as it is known.
#[derive(Debug)]
pub struct Key {
    /// Its id, which is who its holder is in the log.
    pub id: Name,
    /// What was asked for.
    pub spec: KeySpec,
    /// When it was made.
    pub created_at: Timestamp,
    /// Who made it: a key's id, `anonymous` if there was none, `broker` for one that a start provides.
    pub created_by: Name,
    /// The version of its document.
    pub version: u64,
    /// What its holder presents.
    pub secret: Secret,
    pub(super) limit: Option<Gcra>,
}

/// The document. Fields are added, never changed: nodes of different builds read each other's.
#[derive(Serialize, Deserialize)]
struct KeyDoc {
    name: Name,
    role: Role,
    queue_scope: Vec<Name>,
    sha256: String,
    expires_at_ms: Option<u64>,
    rate_limit: Option<RateLimit>,
}

impl Key {
    /// The document of a new key.
    #[must_use]
    pub fn document(spec: &KeySpec, secret: Secret) -> Json {
        let doc = KeyDoc {
            name: spec.name.clone(),
            role: spec.role,
            queue_scope: spec.scope.globs(),
            sha256: secret.to_hex(),
            expires_at_ms: spec.expires_at.map(|at| at.0),
            rate_limit: spec.rate_limit,
        };
        let text = serde_json::to_string(&doc).expect("names, numbers and lists of them are JSON");
        Json::from(text.as_str())
    }

    /// Reads a document; `None` if this build cannot.
    #[must_use]
    pub fn read(id: &Name, document: &Document) -> Option<Self> {
        let doc: KeyDoc = serde_json::from_slice(&document.value.0).ok()?;
        Some(Self {
            id: id.clone(),
            secret: Secret::from_hex(&doc.sha256)?,
            spec: KeySpec {
                name: doc.name,
                role: doc.role,
                scope: Scope::of(doc.queue_scope),
                expires_at: doc.expires_at_ms.map(Timestamp),
                rate_limit: doc.rate_limit,
            },
            created_at: document.put_at,
            created_by: document.put_by.clone(),
            version: document.version,
            limit: doc.rate_limit.map(Gcra::new),
        })
    }

    /// True from its end on.
    #[must_use]
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.spec.expires_at.is_some_and(|at| now >= at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(value: Json) -> Document {
        Document { value, version: 7, put_at: Timestamp(1), put_by: "key_0".into() }
    }

    #[test]
    fn a_key_reads_back_and_its_document_has_no_secret() {
        let spec = KeySpec {
            name: "ci".into(),
            role: Role::Worker,
            scope: Scope::of(["mail.*".into()]),
            expires_at: Some(Timestamp(99)),
            rate_limit: Some(RateLimit { per_second: 5, burst: 9 }),
        };
        let json = Key::document(&spec, Secret::of("jb_secret"));
        let key = Key::read(&"key_1".into(), &stored(json.clone())).unwrap();
        assert_eq!(key.spec, spec);
        assert!(key.secret.is(&Secret::of("jb_secret")) && key.version == 7);
        assert!(!String::from_utf8_lossy(&json.0).contains("jb_secret"));
        assert!(key.is_expired(Timestamp(99)) && !key.is_expired(Timestamp(98)));
    }

    /// The form of what is stored: a change here is a change that older nodes must be able to read.
    #[test]
    fn the_document_is_pinned() {
        let spec = KeySpec {
            name: "root".into(),
            role: Role::Admin,
            scope: Scope::ALL,
            expires_at: None,
            rate_limit: None,
        };
        let json = Key::document(&spec, Secret::of(""));
        assert_eq!(
            String::from_utf8_lossy(&json.0),
            r#"{"name":"root","role":"admin","queue_scope":["*"],"sha256":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","expires_at_ms":null,"rate_limit":null}"#
        );
        let later = String::from_utf8_lossy(&json.0).replace("\"name\"", "\"new_field\":[1],\"name\"");
        assert!(Key::read(&"k".into(), &stored(Json::from(later.as_str()))).is_some());
        assert!(Key::read(&"k".into(), &stored(Json::from("{}"))).is_none());
    }

    #[test]
    fn the_roles_are_those_of_the_contract() {
        use Action::*;
        let all = [
            Public,
            Identify,
            Enqueue,
            Work,
            Watch,
            Read,
            Metrics,
            ManageJobs,
            ManageQueues,
            ManageKeys,
            Debug,
        ];
        let may = |role: Role| all.into_iter().filter(|action| role.may(*action)).collect::<Vec<_>>();
        assert_eq!(may(Role::Admin), all);
        assert_eq!(may(Role::Worker), [Public, Identify, Enqueue, Work, Watch]);
        assert_eq!(may(Role::Readonly), [Public, Identify, Watch, Read, Metrics]);
    }
}
