// SPDX-License-Identifier: Apache-2.0
//! `jobbie keys`: make, list and remove API keys.

use std::time::SystemTime;

use anyhow::Result;
use serde_json::Value;

use super::Context;
use super::body::Body;
use super::exit::{Exit, usage};
use super::out::{Table, note, text_of};
use super::when::{self, Span};
use crate::client::{Call, segment};

const EXAMPLES: &str = "Examples:
  jobbie keys create root --role admin                      # the first one; keep what it prints
  jobbie keys create mailer --role worker --queue 'mail.*'
  jobbie keys create dashboards --role readonly --expires 30d
  jobbie keys create bulk --role worker --rate 50/s --burst 200
  jobbie keys
  jobbie keys revoke mailer";

/// Make, list and remove API keys.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Command {
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// List the keys; their secrets cannot be shown again.
    List,
    /// Make a key and print its secret, this once.
    Create(Create),
    /// Remove a key: it is refused from then on.
    Revoke {
        /// Its name or its id.
        key: String,
    },
}

#[derive(Debug, clap::Args)]
struct Create {
    /// What it is for.
    name: String,
    /// What it may do.
    #[arg(long, value_parser = ["admin", "worker", "readonly"])]
    role: String,
    /// With which queues, as a glob such as 'mail.*'; may be given several times. Every queue if absent.
    #[arg(long = "queue", value_name = "GLOB")]
    queues: Vec<String>,
    /// It is refused after this long.
    #[arg(long, value_name = "SPAN")]
    expires: Option<Span>,
    /// At most that many calls per second, such as 50/s.
    #[arg(long, value_name = "N/s", value_parser = rate)]
    rate: Option<u32>,
    /// Calls at once; as many as --rate says if absent.
    #[arg(long, value_name = "N", requires = "rate")]
    burst: Option<u32>,
}

fn rate(text: &str) -> Result<u32, String> {
    let number = text.strip_suffix("/s").unwrap_or(text);
    match number.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err("expected a number of calls per second, such as 50/s".into()),
    }
}

impl Command {
    pub async fn run(self, context: &Context) -> Result<Exit> {
        match self.what.unwrap_or(What::List) {
            What::List => list(context).await,
            What::Create(create) => create.run(context).await,
            What::Revoke { key } => revoke(context, &key).await,
        }
    }
}

impl Create {
    fn body(&self, now: SystemTime) -> Result<Body> {
        let mut body = Body::default();
        body.set("name", &self.name)?.set("role", &self.role)?;
        if !self.queues.is_empty() {
            body.set("queue_scope", &self.queues)?;
        }
        if let Some(span) = self.expires {
            body.set("expires_at", &when::rfc3339(now + span.duration()))?;
        }
        if let Some(per_second) = self.rate {
            let burst = self.burst.unwrap_or(per_second);
            body.set("rate_limit", &serde_json::json!({"per_second": per_second, "burst": burst}))?;
        }
        Ok(body)
    }

    async fn run(self, context: &Context) -> Result<Exit> {
        // Not repeated by itself: a second try would find the name taken.
        let answer =
            context.client.send(&Call::post("/auth/keys", &self.body(SystemTime::now())?)?.once()).await?;
        if context.out.is_json() {
            context.out.line(&answer.body)?;
            return Ok(Exit::Done);
        }
        let key: Value = answer.json()?;
        // Alone on stdout, so that it can be put where it belongs without being seen.
        context.out.line(text_of(&key["secret"]))?;
        note(format!(
            "this is the secret of {} ({}); it is not stored and cannot be shown again",
            text_of(&key["name"]),
            text_of(&key["id"])
        ));
        Ok(Exit::Done)
    }
}

async fn list(context: &Context) -> Result<Exit> {
    let answer = context.client.get("/auth/keys").await?;
    if context.out.is_json() {
        context.out.line(&answer.body)?;
        return Ok(Exit::Done);
    }
    let mut table = Table::new(&["name", "role", "queues", "expires", "rate", "made", "id"]);
    for key in keys_of(&answer.json()?) {
        let globs = key["queue_scope"].as_array().into_iter().flatten().map(text_of);
        let expires = if key["expired"] == true { "expired".into() } else { text_of(&key["expires_at"]) };
        let rate = match &key["rate_limit"]["per_second"] {
            Value::Null => String::new(),
            number => format!("{number}/s"),
        };
        let globs = globs.collect::<Vec<_>>().join(" ");
        let (name, role) = (text_of(&key["name"]), text_of(&key["role"]));
        table.row([name, role, globs, expires, rate, text_of(&key["created_at"]), text_of(&key["id"])]);
    }
    if table.is_empty() {
        note("there are no keys: everybody who reaches the server may do everything");
    } else {
        context.out.table(&table)?;
    }
    Ok(Exit::Done)
}

fn keys_of(answer: &Value) -> Vec<Value> {
    answer["keys"].as_array().cloned().unwrap_or_default()
}

async fn revoke(context: &Context, key: &str) -> Result<Exit> {
    let keys = keys_of(&context.client.get("/auth/keys").await?.json()?);
    let named = |key: &&Value, field: &str, text: &str| key[field].as_str() == Some(text);
    let found =
        keys.iter().find(|k| named(k, "id", key)).or_else(|| keys.iter().find(|k| named(k, "name", key)));
    let id = match found {
        Some(found) => text_of(&found["id"]),
        // The document of a key that cannot be read is in no list, and can be removed by its id.
        None if key.starts_with("key_") => key.to_owned(),
        None => return Err(usage(format!("there is no key named {key}; jobbie keys lists them"))),
    };
    context.client.send(&Call::new("DELETE", format!("/auth/keys/{}", segment(&id)))).await?;
    if !context.out.is_json() {
        context.out.line(format!("{key} is removed"))?;
    }
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::json;

    use super::super::out::{Format, Out};
    use super::super::{Cli, Command as Any};
    use super::*;
    use crate::client::testing::{Fake, Reply};

    fn parse(line: &[&str]) -> Result<Command, clap::Error> {
        match Cli::try_parse_from(["jobbie", "keys"].iter().chain(line))?.command {
            Any::Keys(command) => Ok(command),
            other => panic!("{other:?}"),
        }
    }

    fn create(line: &[&str]) -> Value {
        match parse(&[&["create"], line].concat()).unwrap().what {
            Some(What::Create(create)) => {
                serde_json::to_value(create.body(SystemTime::UNIX_EPOCH).unwrap()).unwrap()
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_asked_for_is_what_is_sent() {
        assert_eq!(create(&["root", "--role", "admin"]), json!({"name": "root", "role": "admin"}));
        assert_eq!(
            create(&[
                "m", "--role", "worker", "--queue", "a.*", "--queue", "b", "--rate", "5/s", "--burst", "9"
            ]),
            json!({
                "name": "m",
                "role": "worker",
                "queue_scope": ["a.*", "b"],
                "rate_limit": {"per_second": 5, "burst": 9},
            })
        );
        let expires = &create(&["m", "--role", "readonly", "--expires", "1d"])["expires_at"];
        assert_eq!(*expires, "1970-01-02T00:00:00.000Z");
        for wrong in [
            &["create", "x"][..],
            &["create", "x", "--role", "root"],
            &["create", "x", "--role", "admin", "--rate", "0/s"],
            &["create", "x", "--role", "admin", "--burst", "5"],
            &["revoke"],
        ] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[tokio::test]
    async fn a_key_is_removed_by_its_name_or_its_id() {
        let fake = Fake::start(|call| match call.method.as_str() {
            "GET" => Reply::Json(200, r#"{"keys":[{"id":"key_1","name":"mailer"}]}"#.into()),
            _ => Reply::Json(204, String::new()),
        })
        .await;
        for (asked, done) in [("mailer", true), ("key_1", true), ("key_2", true), ("other", false)] {
            let context = Context { client: fake.client(), out: Out::new(Format::Table) };
            assert_eq!(parse(&["revoke", asked]).unwrap().run(&context).await.is_ok(), done, "{asked}");
        }
        let deleted: Vec<String> =
            fake.asked().into_iter().filter(|a| a.method == "DELETE").map(|a| a.path).collect();
        let path = |id: &str| format!("/api/v1/auth/keys/{id}");
        assert_eq!(deleted, [path("key_1"), path("key_1"), path("key_2")]);
    }
}
