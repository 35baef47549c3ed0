// SPDX-License-Identifier: Apache-2.0
//! Sessions: a browser exchanges a key for a cookie that no script can read.
//!
//! The cookie holds a secret of its own; stored is its SHA-256. A session ends with its key, and after
//! [`LIFETIME`] at the latest.

use jobbie_actors::Ports;
use jobbie_actors::ports::{Caller, Decided};
use jobbie_broker::command::{PutDoc, PutDocs};
use jobbie_broker::document::Expect;
use jobbie_broker::{Json, Millis, Reply, Timestamp};

use super::key::Key;
use super::ring::{Ring, SessionDoc};
use super::secret::{self, Secret};
use super::{SESSIONS, ring};
use crate::call::unexpected;
use crate::error::{Code, Problem};

/// The name of the cookie.
pub const COOKIE: &str = "jobbie_session";
/// How long a session lasts: a working day, so that people log in once a day.
pub const LIFETIME: Millis = Millis::from_secs(12 * 3600);
/// Sessions at the same time; one more ends the one that would have ended next.
const MAX_SESSIONS: usize = 10_000;
/// Sessions at the same time that one key may have, so that no key can end those of all others.
const MAX_PER_KEY: usize = 100;
/// Sessions that one login removes at most, because they have ended or are too many.
const SWEEP: usize = 100;

/// Opens a session for the holder of a key. Gives back the cookie's secret and when it ends.
///
/// # Errors
/// If it cannot be written.
pub async fn open(ports: &Ports, caller: &Caller, key: &Key) -> Result<(String, Timestamp), Problem> {
    let secret = secret::mint().map_err(|error| {
        Problem::new(Code::Internal, format!("the operating system gives no randomness: {error}"))
    })?;
    let now = ports.now();
    let latest = now.after(LIFETIME);
    let expires_at = key.spec.expires_at.map_or(latest, |at| at.min(latest));
    let doc = SessionDoc { key: key.id.clone(), key_version: key.version, expires_at_ms: expires_at.0 };
    let text = serde_json::to_string(&doc)
        .map_err(|error| Problem::new(Code::Internal, format!("the session cannot be written: {error}")))?;
    let mut docs: Vec<PutDoc> = swept(&Ring::now(ports, &Ring::default()), key, now);
    docs.push(PutDoc {
        space: SESSIONS.into(),
        key: Secret::of(&secret).to_hex().into(),
        value: Some(Json::from(text.as_str())),
        expect: Expect::Absent,
    });
    put(ports, caller, docs).await?;
    Ok((secret, expires_at))
}

/// What a login removes: what has ended, and what would be one too many.
fn swept(ring: &Ring, key: &Key, now: Timestamp) -> Vec<PutDoc> {
    let sessions = ring.sessions();
    let surplus = (sessions.len() + 1).saturating_sub(MAX_SESSIONS);
    let of_key = |session: &ring::Session| session.key == key.id;
    let mut surplus_of_key =
        (sessions.iter().filter(|(_, session)| of_key(session)).count() + 1).saturating_sub(MAX_PER_KEY);
    let mut docs = Vec::new();
    for (at, (id, session)) in sessions.into_iter().enumerate() {
        let mut goes = session.expires_at <= now || ring.by_id(&session.key).is_none() || at < surplus;
        if !goes && of_key(session) && surplus_of_key > 0 {
            goes = true;
        }
        if goes && docs.len() < SWEEP {
            surplus_of_key = surplus_of_key.saturating_sub(usize::from(of_key(session)));
            docs.push(gone(id));
        }
    }
    docs
}

fn gone(id: &str) -> PutDoc {
    PutDoc { space: SESSIONS.into(), key: id.into(), value: None, expect: Expect::Anything }
}

/// Ends a session.
///
/// # Errors
/// If that cannot be written.
pub async fn close(ports: &Ports, caller: &Caller, session: &str) -> Result<(), Problem> {
    put(ports, caller, vec![gone(session)]).await
}

async fn put(ports: &Ports, caller: &Caller, docs: Vec<PutDoc>) -> Result<(), Problem> {
    match ports.propose(caller, PutDocs { docs }).await? {
        Decided { reply: Reply::Docs(_), .. } => Ok(()),
        Decided { reply: Reply::Rejected(reject), .. } => Err(reject.into()),
        Decided { reply, .. } => Err(unexpected(&reply)),
    }
}

/// The cookie of a session. `base` is the path that everything lies under.
#[must_use]
pub fn cookie(secret: &str, base: &str, secure: bool, span: Millis) -> String {
    let path = if base.is_empty() { "/" } else { base };
    let secure = if secure { "; Secure" } else { "" };
    // Secrets and base paths have no character that a cookie could not hold.
    format!("{COOKIE}={secret}; HttpOnly; SameSite=Strict{secure}; Path={path}; Max-Age={}", span.0 / 1000)
}

/// The cookie that removes it.
#[must_use]
pub fn no_cookie(base: &str, secure: bool) -> String {
    cookie("", base, secure, Millis(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_script_and_no_other_site_gets_at_the_cookie() {
        let text = cookie("s", "", false, Millis::from_secs(60));
        assert_eq!(text, "jobbie_session=s; HttpOnly; SameSite=Strict; Path=/; Max-Age=60");
        let text = cookie("s", "/jobs", true, Millis::from_secs(60));
        assert_eq!(text, "jobbie_session=s; HttpOnly; SameSite=Strict; Secure; Path=/jobs; Max-Age=60");
        assert!(no_cookie("", true).ends_with("Max-Age=0"));
    }
}
