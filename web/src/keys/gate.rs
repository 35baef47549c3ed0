// SPDX-License-Identifier: Apache-2.0
//! The authorizer of the open edition: keys, and cookies that stand for them.

use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use actix_web::http::header::{AUTHORIZATION, COOKIE as COOKIE_HEADER, HeaderMap, HeaderName};
use futures_util::future::LocalBoxFuture;
use jobbie_actors::Ports;
use jobbie_broker::{Scope, Timestamp};
use tokio::sync::watch;

use super::key::{Key, Role};
use super::ring::Ring;
use super::secret::Secret;
use super::session;
use crate::error::{Code, Detail, Problem};
use crate::seams::{Action, Authorizer, Pass, Proof};

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
/// A longer one is none of ours, and not worth hashing.
const MAX_SECRET: usize = 512;
/// A pass is looked at again after that long at the latest, should clocks have been set.
const AGAIN: Duration = Duration::from_secs(60);

/// Lets callers through by their keys. Cheap to clone.
#[derive(Clone)]
pub struct Gate {
    inner: Arc<Inner>,
}

struct Inner {
    ports: Ports,
    changed: watch::Receiver<u64>,
    latest: RwLock<Latest>,
    making: Mutex<()>,
    /// Whether anybody may do everything as long as there is no key.
    open_without_keys: bool,
    public_metrics: bool,
}

/// A snapshot, and the number of changes that it knows of.
#[derive(Clone, Default)]
struct Latest {
    ring: Arc<Ring>,
    changes: Option<u64>,
}

impl Gate {
    /// A gate before these ports.
    #[must_use]
    pub fn new(ports: Ports, open_without_keys: bool, public_metrics: bool) -> Self {
        let (changed, latest) = (ports.docs_changed(), RwLock::default());
        let making = Mutex::default();
        let inner = Inner { ports, changed, latest, making, open_without_keys, public_metrics };
        Self { inner: Arc::new(inner) }
    }

    /// All keys and sessions as they are now.
    #[must_use]
    pub fn ring(&self) -> Arc<Ring> {
        self.inner.ring()
    }
}

/// What a caller shows.
#[derive(Debug, PartialEq, Eq)]
enum Shown<'h> {
    Nothing,
    Key(&'h str),
    /// Cookies of the session's name: another program on the same host may have set one too.
    Cookies(Vec<&'h str>),
}

impl<'h> Shown<'h> {
    fn of(headers: &'h HeaderMap) -> Result<Self, Problem> {
        let unreadable = || unauthorized("the key is not valid");
        let bearer = match headers.get(AUTHORIZATION) {
            None => None,
            Some(value) => {
                let (scheme, token) =
                    value.to_str().map_err(|_| unreadable())?.split_once(' ').unwrap_or_default();
                if !scheme.eq_ignore_ascii_case("bearer") {
                    return Err(unauthorized("Authorization must be Bearer and a key"));
                }
                Some(token.trim())
            }
        };
        let plain = headers.get(API_KEY).map(|value| value.to_str()).transpose().map_err(|_| unreadable())?;
        match (bearer, plain.map(str::trim)) {
            (Some(a), Some(b)) if a != b => {
                Err(unauthorized("Authorization and X-API-Key hold different keys"))
            }
            (Some(key), _) | (None, Some(key)) => Ok(Self::Key(key)),
            (None, None) => {
                let cookies = headers.get_all(COOKIE_HEADER).filter_map(|value| value.to_str().ok());
                let pairs = cookies.flat_map(|text| text.split(';')).filter_map(|pair| pair.split_once('='));
                let ours = pairs.filter(|(name, _)| name.trim() == session::COOKIE);
                let values: Vec<&str> = ours.map(|(_, value)| value.trim()).take(8).collect();
                Ok(if values.is_empty() { Self::Nothing } else { Self::Cookies(values) })
            }
        }
    }
}

fn unauthorized(message: &str) -> Problem {
    Problem::new(Code::Unauthorized, message)
}

impl Inner {
    fn ring(&self) -> Arc<Ring> {
        // First the number, then the documents: what changes in between is seen again next time.
        let changes = Some(*self.changed.borrow());
        let known = || self.latest.read().unwrap_or_else(PoisonError::into_inner).clone();
        let latest = known();
        if latest.changes == changes {
            return latest.ring;
        }
        // Only one makes it; whoever waited finds it made.
        let _making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        let latest = known();
        let changes = Some(*self.changed.borrow());
        if latest.changes == changes {
            return latest.ring;
        }
        let ring = Arc::new(Ring::now(&self.ports, &latest.ring));
        *self.latest.write().unwrap_or_else(PoisonError::into_inner) = Latest { ring: ring.clone(), changes };
        ring
    }

    fn valid<'r>(&self, key: Option<&'r Arc<Key>>) -> Result<&'r Arc<Key>, Problem> {
        let key = key.ok_or_else(|| unauthorized("the key is not valid"))?;
        if key.is_expired(self.ports.now()) {
            return Err(unauthorized("the key has expired"));
        }
        Ok(key)
    }

    fn authorize(&self, headers: &HeaderMap, action: Action) -> Result<Pass, Problem> {
        if action == Action::Public {
            // What is public reads nothing; should it ever, there is nothing to be seen.
            return Ok(Pass::anonymous(Scope::NOTHING));
        }
        let ring = self.ring();
        if ring.is_empty() && self.open_without_keys || action == Action::Metrics && self.public_metrics {
            return Ok(Pass::anonymous(Scope::ALL));
        }
        let (key, proof, until) = match Shown::of(headers)? {
            Shown::Key(text) if text.len() <= MAX_SECRET => {
                let key = self.valid(ring.by_secret(&Secret::of(text)))?;
                (key, Proof::Key { version: key.version }, key.spec.expires_at)
            }
            Shown::Key(_) => return Err(unauthorized("the key is not valid")),
            Shown::Cookies(values) => {
                let sessions = values.into_iter().filter(|value| value.len() <= MAX_SECRET);
                let mut found =
                    sessions.filter_map(|value| self.by_session(&ring, &Secret::of(value).to_hex()));
                let (key, session, until) =
                    found.next().ok_or_else(|| unauthorized("the session has ended; log in again"))?;
                (key, Proof::Session { version: key.version, session: session.into() }, Some(until))
            }
            Shown::Nothing => {
                return Err(unauthorized(
                    "a key is needed: send it as Authorization: Bearer or as X-API-Key",
                ));
            }
        };
        allowed(key, action)?;
        Ok(Pass { by: key.id.clone(), scope: key.spec.scope.clone(), proof, until })
    }

    fn by_session<'r>(&self, ring: &'r Ring, id: &str) -> Option<(&'r Arc<Key>, String, Timestamp)> {
        let session = ring.session(id)?;
        let key = ring.by_id(&session.key).filter(|key| key.version == session.key_version)?;
        let now = self.ports.now();
        (now < session.expires_at && !key.is_expired(now)).then(|| (key, id.to_owned(), session.expires_at))
    }

    /// Whether a pass still holds.
    fn holds(&self, pass: &Pass) -> Result<(), Problem> {
        let ring = self.ring();
        match &pass.proof {
            Proof::None if ring.is_empty() && self.open_without_keys => Ok(()),
            Proof::None => Err(unauthorized("there are keys by now, and one is needed")),
            Proof::Key { version } => {
                let key = ring.by_id(&pass.by).filter(|key| key.version == *version);
                self.valid(key).map(drop)
            }
            Proof::Session { version, session } => match self.by_session(&ring, session) {
                Some((key, _, _)) if key.version == *version => Ok(()),
                _ => Err(unauthorized("the session has ended; log in again")),
            },
        }
    }

    async fn lapse(self: Arc<Self>, pass: Pass) -> Problem {
        let mut changed = self.changed.clone();
        loop {
            changed.mark_unchanged();
            if let Err(problem) = self.holds(&pass) {
                return problem;
            }
            let left = pass.until.map(|until| until.since(self.ports.now()).0);
            // At least a millisecond: the clock that counts is not the one that sleeps.
            let left = left.map_or(AGAIN, |ms| Duration::from_millis(ms.max(1)).min(AGAIN));
            tokio::select! {
                Ok(()) = changed.changed() => {}
                () = tokio::time::sleep(left) => {}
            }
        }
    }
}

/// Whether a key is enough for that.
fn allowed(key: &Key, action: Action) -> Result<(), Problem> {
    if !key.spec.role.may(action) {
        let enough: Vec<String> = Role::ALL
            .into_iter()
            .filter(|role| role.may(action))
            .map(|role| role.name().to_owned())
            .collect();
        let role = key.spec.role.name();
        let message = format!("a key of role {role} may not do that; it needs {}", enough.join(" or "));
        return Err(Problem::new(Code::Forbidden, message)
            .with("role", Detail::Text(role.into()))
            .with("allowed", Detail::List(enough)));
    }
    // A backup has every queue in it, and the keys.
    if matches!(action, Action::ManageKeys | Action::Admin) && !key.spec.scope.is_all() {
        return Err(Problem::new(
            Code::Forbidden,
            "keys and backups need an admin key for every queue; this one is for some queues only",
        ));
    }
    Ok(())
}

impl Authorizer for Gate {
    fn authorize(&self, headers: &HeaderMap, action: Action) -> Result<Pass, Problem> {
        self.inner.authorize(headers, action)
    }

    fn admit(&self, pass: &Pass) -> Result<(), Problem> {
        if pass.proof == Proof::None {
            return Ok(());
        }
        let ring = self.inner.ring();
        let Some(limit) = ring.by_id(&pass.by).and_then(|key| key.limit.as_ref()) else { return Ok(()) };
        limit.admit().map_err(|wait| {
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            Problem::new(Code::RateLimited, "this key calls more often than its rate_limit allows")
                .retry_after(seconds.max(1))
        })
    }

    fn lapse(&self, pass: &Pass) -> LocalBoxFuture<'static, Problem> {
        Box::pin(self.inner.clone().lapse(pass.clone()))
    }

    fn is_open(&self) -> bool {
        self.inner.open_without_keys && self.inner.ring().is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::http::header::HeaderValue;

    fn shown(pairs: &[(HeaderName, &str)]) -> Result<String, String> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name.clone(), HeaderValue::from_str(value).unwrap());
        }
        Shown::of(&headers).map(|shown| format!("{shown:?}")).map_err(|problem| problem.message)
    }

    #[test]
    fn a_key_comes_in_one_of_two_headers_and_wins_over_a_cookie() {
        let key = Ok("Key(\"k\")".to_owned());
        assert_eq!(shown(&[(AUTHORIZATION, "Bearer k")]), key);
        assert_eq!(shown(&[(AUTHORIZATION, "bearer  k ")]), key);
        assert_eq!(shown(&[(API_KEY, "k")]), key);
        assert_eq!(shown(&[(API_KEY, "k"), (AUTHORIZATION, "Bearer k")]), key);
        assert_eq!(shown(&[(API_KEY, "k"), (COOKIE_HEADER, "jobbie_session=s")]), key);
        assert_eq!(shown(&[]), Ok("Nothing".into()));
    }

    #[test]
    fn what_is_shown_wrongly_is_never_taken_for_nothing() {
        for pairs in [
            &[(AUTHORIZATION, "Basic a2V5")][..],
            &[(AUTHORIZATION, "k")],
            &[(AUTHORIZATION, "")],
            &[(API_KEY, "k"), (AUTHORIZATION, "Bearer other")],
        ] {
            assert!(shown(pairs).is_err(), "{pairs:?}");
        }
        assert_eq!(shown(&[(API_KEY, "")]), Ok("Key(\"\")".into()));
    }

    #[test]
    fn cookies_of_others_on_the_same_host_do_no_harm() {
        let cookies = [
            (COOKIE_HEADER, "a=1; jobbie_session=x; xjobbie_session=y"),
            (COOKIE_HEADER, "jobbie_session=z"),
        ];
        assert_eq!(shown(&cookies), Ok("Cookies([\"x\", \"z\"])".into()));
        assert_eq!(shown(&[(COOKIE_HEADER, "jobbie_sessionx=1")]), Ok("Nothing".into()));
    }
}
