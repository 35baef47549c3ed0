// SPDX-License-Identifier: Apache-2.0
//! Keys and sessions as they come in and go out. A secret is in one answer only: that to the call that made it.

use std::fmt;

use jobbie_broker::{Name, Scope, Timestamp};
use serde::de::{self, Deserialize, Deserializer, SeqAccess, Visitor};
use serde::{Deserialize as DeriveDeserialize, Serialize};
use utoipa::ToSchema;

use super::list::word;
use super::name::MAX_QUEUE;
use super::{Place, Stamp, Text, When, name, schema};
use crate::error::Problem;
use crate::keys::{Key, KeySpec, RateLimit, Role, Session};

/// Characters of a key's name.
const MAX_KEY_NAME: usize = 128;
/// Globs of a scope.
pub const MAX_GLOBS: usize = 32;
/// The largest rate limit; a larger one limits nothing that this server could do.
const MAX_RATE: u32 = 1_000_000;
const GLOB_RULE: &str = "must be a glob with 1 to 128 characters of A-Z a-z 0-9 _ . : - * ?";

/// A key that is to be made.
#[derive(Debug, DeriveDeserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = KeyRequest)]
pub struct KeyBody<'a> {
    /// What it is for; no other key has it.
    #[serde(borrow)]
    #[schema(value_type = String, min_length = 1, max_length = 128, example = "mail worker")]
    pub name: Text<'a>,
    /// What it may do.
    #[serde(deserialize_with = "role")]
    pub role: Role,
    /// With which queues: a glob or several, where `*` stands for any characters and `?` for one; every queue if absent.
    #[serde(borrow, default)]
    #[schema(value_type = Option<schema::Globs>)]
    pub queue_scope: Option<Globs<'a>>,
    /// From when on it is refused; never if absent.
    #[serde(default)]
    #[schema(value_type = Option<schema::Time>)]
    pub expires_at: Option<When>,
    /// How often it may call; as often as it likes if absent.
    #[serde(default)]
    pub rate_limit: Option<RateBody>,
}

fn role<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Role, D::Error> {
    word(deserializer, &[("admin", Role::Admin), ("worker", Role::Worker), ("readonly", Role::Readonly)])
}

/// How often a key may call.
#[derive(Clone, Copy, Debug, DeriveDeserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RateLimitRequest)]
pub struct RateBody {
    /// Calls per second in the long run.
    #[schema(minimum = 1, maximum = 1_000_000)]
    pub per_second: u32,
    /// Calls at once; `per_second` if absent.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 1_000_000)]
    pub burst: Option<u32>,
}

/// One glob or a list of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Globs<'a>(pub Vec<Text<'a>>);

impl<'de: 'a, 'a> Deserialize<'de> for Globs<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Seen;
        impl<'de> Visitor<'de> for Seen {
            type Value = Vec<Text<'de>>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a glob or a list of at most {MAX_GLOBS} globs")
            }
            fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(vec![Text(text.into())])
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(vec![Text(text.to_owned().into())])
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut globs = Vec::new();
                while let Some(glob) = seq.next_element()? {
                    if globs.len() >= MAX_GLOBS {
                        return Err(de::Error::invalid_length(MAX_GLOBS + 1, &self));
                    }
                    globs.push(glob);
                }
                Ok(globs)
            }
        }
        deserializer.deserialize_any(Seen).map(Globs)
    }
}

impl KeyBody<'_> {
    /// What is asked for.
    ///
    /// # Errors
    /// `VALIDATION` naming the field.
    pub fn check(&self, now: Timestamp) -> Result<KeySpec, Problem> {
        let place = Place::ROOT;
        let expires_at = self.expires_at.map(|when| when.0);
        if expires_at.is_some_and(|at| at <= now) {
            return Err(Problem::field(place.key("expires_at"), "must be in the future"));
        }
        Ok(KeySpec {
            name: name::key(&place.key("name"), &self.name, MAX_KEY_NAME)?,
            role: self.role,
            scope: self.queue_scope.as_ref().map_or(Ok(Scope::ALL), scope)?,
            expires_at,
            rate_limit: self.rate_limit.map(RateBody::check).transpose()?,
        })
    }
}

fn scope(globs: &Globs<'_>) -> Result<Scope, Problem> {
    let place = Place::ROOT.key("queue_scope");
    if globs.0.is_empty() {
        return Err(Problem::field(place, "must have at least one glob; `*` is every queue"));
    }
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b':' | b'-' | b'*' | b'?');
    for (at, glob) in globs.0.iter().enumerate() {
        if !(1..=MAX_QUEUE).contains(&glob.len()) || !glob.bytes().all(allowed) {
            return Err(Problem::field(place.index(at), GLOB_RULE));
        }
    }
    Ok(Scope::of(globs.0.iter().map(|glob| Name::from(&**glob))))
}

impl RateBody {
    fn check(self) -> Result<RateLimit, Problem> {
        let (root, burst) = (Place::ROOT, self.burst.unwrap_or(self.per_second));
        let place = root.key("rate_limit");
        for (field, value) in [("per_second", self.per_second), ("burst", burst)] {
            if !(1..=MAX_RATE).contains(&value) {
                return Err(Problem::field(place.key(field), format!("must be from 1 to {MAX_RATE}")));
            }
        }
        Ok(RateLimit { per_second: self.per_second, burst })
    }
}

/// A key.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Key)]
pub struct KeyView<'a> {
    /// Its id.
    #[schema(value_type = String, example = "key_8f2c01b7a9d3e645")]
    pub id: &'a str,
    /// What it is for.
    pub name: &'a str,
    /// What it may do.
    pub role: Role,
    /// With which queues.
    #[schema(value_type = Vec<String>)]
    pub queue_scope: Vec<Name>,
    /// From when on it is refused.
    #[schema(value_type = Option<schema::Time>)]
    pub expires_at: Option<Stamp>,
    /// True if that time has come.
    pub expired: bool,
    /// How often it may call.
    pub rate_limit: Option<RateLimit>,
    /// When it was made.
    #[schema(value_type = schema::Time)]
    pub created_at: Stamp,
    /// Who made it: a key's id, `anonymous` if there was none, `broker` if a start provided it.
    pub created_by: &'a str,
}

impl<'a> KeyView<'a> {
    /// A key as it is at a moment.
    #[must_use]
    pub fn new(key: &'a Key, now: Timestamp) -> Self {
        Self {
            id: &key.id,
            name: &key.spec.name,
            role: key.spec.role,
            queue_scope: key.spec.scope.globs(),
            expires_at: key.spec.expires_at.map(Stamp),
            expired: key.is_expired(now),
            rate_limit: key.spec.rate_limit,
            created_at: Stamp(key.created_at),
            created_by: &key.created_by,
        }
    }
}

/// All keys.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Keys)]
pub struct KeysView<'a> {
    /// The oldest first.
    pub keys: Vec<KeyView<'a>>,
}

/// A key that was made.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = NewKey)]
pub struct NewKey<'a> {
    /// Its id.
    #[schema(value_type = String, example = "key_8f2c01b7a9d3e645")]
    pub id: &'a str,
    /// The secret: what its holder sends. It is not stored and cannot be shown again.
    #[schema(value_type = String, example = "jb_4x0p…")]
    pub secret: &'a str,
    /// What it is for.
    pub name: &'a str,
    /// What it may do.
    pub role: Role,
    /// With which queues.
    #[schema(value_type = Vec<String>)]
    pub queue_scope: Vec<Name>,
    /// From when on it is refused.
    #[schema(value_type = Option<schema::Time>)]
    pub expires_at: Option<Stamp>,
    /// How often it may call.
    pub rate_limit: Option<RateLimit>,
}

impl<'a> NewKey<'a> {
    /// What was asked for, with what it was given.
    #[must_use]
    pub fn new(id: &'a str, secret: &'a str, spec: &'a KeySpec) -> Self {
        Self {
            id,
            secret,
            name: &spec.name,
            role: spec.role,
            queue_scope: spec.scope.globs(),
            expires_at: spec.expires_at.map(Stamp),
            rate_limit: spec.rate_limit,
        }
    }
}

/// Who calls.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AuthStatus)]
pub struct StatusView<'a> {
    /// `open` (there are no keys: everybody may do everything), `key` or `session`.
    #[schema(value_type = String, example = "key")]
    pub mode: &'static str,
    /// The caller's key; not while the server is open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyView<'a>>,
}

/// A browser's session.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Session)]
pub struct SessionView<'a> {
    /// The key it was opened with.
    pub key: KeyView<'a>,
    /// When it ends.
    #[schema(value_type = schema::Time)]
    pub expires_at: Stamp,
}

impl<'a> SessionView<'a> {
    /// A session of a key.
    #[must_use]
    pub fn new(key: &'a Key, session: &Session, now: Timestamp) -> Self {
        Self { key: KeyView::new(key, now), expires_at: Stamp(session.expires_at) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::read;

    fn check(text: &str) -> Result<KeySpec, Problem> {
        read::object::<KeyBody<'_>>(text)?.check(Timestamp(1_800_000_000_000))
    }

    #[test]
    fn a_name_and_a_role_are_enough() {
        let spec = check(r#"{"name":"a","role":"admin"}"#).unwrap();
        assert!(spec.is_keeper() && spec.rate_limit.is_none());
        let spec = check(
            r#"{"name":"a","role":"worker","queue_scope":["mail.*","x"],"expires_at":"2030-01-01T00:00:00Z","rate_limit":{"per_second":5}}"#,
        )
        .unwrap();
        assert_eq!(spec.scope, Scope::of(["mail.*".into(), "x".into()]));
        assert_eq!(spec.rate_limit, Some(RateLimit { per_second: 5, burst: 5 }));
        assert!(!spec.is_keeper());
        let one = check(r#"{"name":"a","role":"worker","queue_scope":"mail.*"}"#).unwrap();
        assert_eq!(one.scope, Scope::of(["mail.*".into()]));
    }

    #[test]
    fn what_is_wrong_is_named_with_what_would_be_right() {
        let many = format!(r#"{{"name":"a","role":"worker","queue_scope":[{}"x"]}}"#, "\"x\",".repeat(32));
        for (text, said) in [
            (r#"{"role":"admin"}"#, "name is missing"),
            (r#"{"name":"","role":"admin"}"#, "name must not be empty"),
            (r#"{"name":"a"}"#, "role is missing"),
            (r#"{"name":"a","role":"root"}"#, "one of admin, worker, readonly"),
            (r#"{"name":"a","role":"admin","scope":"*"}"#, "scope"),
            (r#"{"name":"a","role":"admin","queue_scope":[]}"#, "at least one glob"),
            (r#"{"name":"a","role":"admin","queue_scope":["a","b c"]}"#, "queue_scope[1] must be a glob"),
            (r#"{"name":"a","role":"admin","queue_scope":""}"#, "queue_scope[0] must be a glob"),
            (r#"{"name":"a","role":"admin","queue_scope":5}"#, "a glob or a list of at most 32 globs"),
            (&many, "a glob or a list of at most 32 globs"),
            (r#"{"name":"a","role":"admin","expires_at":"2020-01-01T00:00:00Z"}"#, "in the future"),
            (
                r#"{"name":"a","role":"admin","rate_limit":{"per_second":0}}"#,
                "rate_limit.per_second must be from 1",
            ),
            (
                r#"{"name":"a","role":"admin","rate_limit":{"per_second":1,"burst":0}}"#,
                "rate_limit.burst must be",
            ),
        ] {
            let problem = check(text).unwrap_err();
            assert!(problem.message.contains(said), "{text}: {}", problem.message);
        }
    }
}
