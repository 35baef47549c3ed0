// SPDX-License-Identifier: Apache-2.0
//! Making and removing keys.
//!
//! Every change also writes the lock document, expecting it as it was when the change was decided on. So a
//! change that was decided on something that is not so any more is refused by the rules, and decided anew.

use jobbie_actors::Ports;
use jobbie_actors::ports::{Caller, Decided};
use jobbie_broker::command::{PutDoc, PutDocs};
use jobbie_broker::document::Expect;
use jobbie_broker::{Code as RejectCode, Json, Name, Reply, Scope};

use super::key::{Key, KeySpec, Role};
use super::ring::Ring;
use super::secret::{self, Secret};
use super::{KEYS, LOCK};
use crate::call::unexpected;
use crate::error::{Code, Problem};

/// Keys that there may be: all of them are in memory on every node.
pub const MAX_KEYS: usize = 10_000;
/// How often a change is decided anew; more of them at the same moment is no accident.
const TRIES: usize = 16;

/// Makes a key. Gives back its id and its secret, which nobody can read again.
///
/// # Errors
/// `CONFLICT` if the name is taken, there are too many keys, or the first key could not make others.
pub async fn create(ports: &Ports, caller: &Caller, spec: &KeySpec) -> Result<(Name, String), Problem> {
    let no_randomness =
        |error| Problem::new(Code::Internal, format!("the operating system gives no randomness: {error}"));
    let id: Name = secret::id("key_").map_err(no_randomness)?.into();
    let secret = secret::mint().map_err(no_randomness)?;
    let value = Key::document(spec, Secret::of(&secret));
    change(ports, caller, |ring| {
        if ring.len() >= MAX_KEYS {
            return Err(conflict(format!("there are {MAX_KEYS} keys, which is the limit; remove one first")));
        }
        if ring.keys().iter().any(|key| key.spec.name == spec.name) {
            return Err(conflict(format!("there is a key with the name {} already", spec.name)));
        }
        if ring.is_empty() && !spec.is_keeper() {
            return Err(conflict(
                "the first key must be one that can make and remove keys: role admin, every queue, no expiry"
                    .into(),
            ));
        }
        Ok(Some(PutDoc {
            space: KEYS.into(),
            key: id.clone(),
            value: Some(value.clone()),
            expect: Expect::Absent,
        }))
    })
    .await?;
    tracing::info!(
        key = &*id,
        name = &*spec.name,
        role = spec.role.name(),
        by = &*caller.by,
        "a key was made"
    );
    Ok((id, secret))
}

/// Removes a key.
///
/// # Errors
/// `NOT_FOUND`, or `CONFLICT` for the last key that can make others.
pub async fn revoke(ports: &Ports, caller: &Caller, id: &Name) -> Result<(), Problem> {
    change(ports, caller, |ring| {
        // A document that cannot be read can still be removed: by its id, which is all that is known of it.
        let there = ports.docs(&KEYS.into()).into_iter().find(|(key, _)| key == id);
        let Some((_, document)) = there else { return Err(Problem::not_found("key", id)) };
        let keeps = |key: &&std::sync::Arc<Key>| key.spec.is_keeper();
        let keys = ring.keys();
        if keys.iter().copied().filter(keeps).all(|key| key.id == *id) {
            return Err(conflict(
                "this is the last key that can make and remove keys; make another one of role admin, with every \
                 queue and without expiry, first"
                    .into(),
            ));
        }
        let expect = Expect::Version(document.version);
        Ok(Some(PutDoc { space: KEYS.into(), key: id.clone(), value: None, expect }))
    })
    .await?;
    tracing::info!(key = &**id, by = &*caller.by, "a key was removed");
    Ok(())
}

/// Sees to it at a start that there is an administrator's key with that secret, under an id of its own: with
/// `only_first`, unless there has been any key. Gives back whether it was made or replaced.
///
/// # Errors
/// `CONFLICT` if the secret is that of a key which cannot make others.
pub async fn provide(ports: &Ports, id: &str, secret: &str, only_first: bool) -> Result<bool, Problem> {
    let hash = Secret::of(secret);
    let spec =
        KeySpec { name: id.into(), role: Role::Admin, scope: Scope::ALL, expires_at: None, rate_limit: None };
    let broker = Caller::broker();
    let made = change(ports, &broker, |ring| {
        if only_first && !ring.is_empty() {
            return Ok(None);
        }
        match ring.by_secret(&hash) {
            Some(key) if key.spec.is_keeper() => Ok(None),
            Some(key) => Err(conflict(format!("the secret is that of key {}, which is no admin's", key.id))),
            None => Ok(Some(PutDoc {
                space: KEYS.into(),
                key: id.into(),
                value: Some(Key::document(&spec, hash)),
                expect: ring.by_id(id).map_or(Expect::Anything, |key| Expect::Version(key.version)),
            })),
        }
    });
    made.await
}

fn conflict(message: String) -> Problem {
    Problem::new(Code::Conflict, message)
}

/// Decides on a change and makes it, unless none is needed.
async fn change(
    ports: &Ports,
    caller: &Caller,
    decide: impl Fn(&Ring) -> Result<Option<PutDoc>, Problem>,
) -> Result<bool, Problem> {
    let mut before = Ring::default();
    for _ in 0..TRIES {
        let ring = Ring::now(ports, &before);
        let Some(put) = decide(&ring)? else { return Ok(false) };
        let lock = PutDoc {
            space: LOCK.0.into(),
            key: LOCK.1.into(),
            value: Some(Json::null()),
            expect: ring.lock().map_or(Expect::Absent, Expect::Version),
        };
        match ports.propose(caller, PutDocs { docs: vec![put, lock] }).await? {
            Decided { reply: Reply::Docs(_), .. } => return Ok(true),
            Decided { reply: Reply::Rejected(reject), .. } if reject.code == RejectCode::Conflict => {}
            Decided { reply: Reply::Rejected(reject), .. } => return Err(reject.into()),
            Decided { reply, .. } => return Err(unexpected(&reply)),
        }
        before = ring;
    }
    Err(Problem::new(Code::Overloaded, "keys are being changed by many at the same moment").retry_after(1))
}
