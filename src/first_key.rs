// SPDX-License-Identifier: Apache-2.0
//! The key that a server begins with: the one that the environment names, or on the first start where others can
//! reach the server a new one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context, Result, bail};
use jobbie_actors::Ports;
use jobbie_web::keys;

use crate::config::Config;

/// The file in the data directory that holds the minted key.
pub const FILE: &str = "initial-admin-key";
/// The id of the key that the environment names. Another value replaces it.
const GIVEN: &str = "env-admin";
/// The id of the key that was minted.
const MINTED: &str = "initial-admin";
/// Characters of a key that somebody chose: enough that nobody guesses it.
const CHARACTERS: std::ops::RangeInclusive<usize> = 20..=256;

/// A key that somebody chose. It is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Chosen(String);

impl std::fmt::Debug for Chosen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Chosen(…)")
    }
}

/// Provides the key, before anybody can call.
///
/// # Errors
/// If it cannot be made, or kept where its owner finds it.
pub async fn provide(ports: &Ports, config: &Config) -> Result<()> {
    if let Some(Chosen(secret)) = &config.admin_key {
        if keys::provide(ports, GIVEN, secret, false)
            .await
            .map_err(|problem| anyhow::anyhow!(problem.message))?
        {
            tracing::info!(key = GIVEN, "the admin key that the environment names is in force");
        }
        return Ok(());
    }
    let ring = keys::Ring::now(ports, &keys::Ring::default());
    if config.bind.ip().is_loopback() || config.insecure_no_auth || !ring.is_empty() {
        return Ok(());
    }
    let path = config.data_dir.join(FILE);
    // First the file, then the key: a key whose secret nobody has would lock everybody out. A start that was
    // interrupted in between goes on with the secret that is there.
    let secret = read_or_mint(&path)
        .with_context(|| format!("the first admin key cannot be kept in {}", path.display()))?;
    let made = keys::provide(ports, MINTED, &secret, true).await;
    if made.map_err(|problem| anyhow::anyhow!(problem.message))? {
        println!("admin key: {secret}");
        println!(
            "it is shown this once, and kept in {} for its owner; make others with it: jobbie keys create",
            path.display()
        );
    }
    Ok(())
}

fn read_or_mint(path: &Path) -> Result<String> {
    match File::open(path) {
        Ok(mut file) => {
            let mut text = String::new();
            file.read_to_string(&mut text)?;
            let secret = text.trim().to_owned();
            check(&secret)?;
            Ok(secret)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let secret = keys::mint()?;
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
            writeln!(file, "{secret}")?;
            file.sync_all()?;
            File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()?;
            Ok(secret)
        }
        Err(error) => Err(error.into()),
    }
}

/// The key that somebody chose, from a variable or a file.
///
/// # Errors
/// If the file cannot be read, or the key is none.
pub fn chosen(value: Option<String>, file: Option<&Path>) -> Result<Option<Chosen>> {
    let text = match (value, file) {
        (Some(_), Some(_)) => {
            bail!("JOBBIE_ADMIN_KEY and admin-key-file both name an admin key; one of them is enough")
        }
        (Some(value), None) => value,
        (None, Some(path)) => fs::read_to_string(path)
            .with_context(|| format!("admin-key-file: {} cannot be read", path.display()))?,
        (None, None) => return Ok(None),
    };
    let secret = text.trim().to_owned();
    check(&secret)?;
    Ok(Some(Chosen(secret)))
}

fn check(secret: &str) -> Result<()> {
    // What is wrong with a secret is said without the secret.
    if CHARACTERS.contains(&secret.len()) && secret.bytes().all(|b| b.is_ascii_graphic()) {
        return Ok(());
    }
    bail!(
        "an admin key has {} to {} characters of printable ASCII without spaces",
        CHARACTERS.start(),
        CHARACTERS.end()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minted_key_is_for_its_owner_only_and_read_again_after_an_interrupted_start() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        let secret = read_or_mint(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(read_or_mint(&path).unwrap(), secret);
        fs::write(&path, "torn").unwrap();
        assert!(read_or_mint(&path).is_err(), "what cannot be a key is not made one");
    }

    #[test]
    fn a_chosen_key_is_long_enough_and_comes_from_one_place() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        fs::write(&path, "0123456789-0123456789\n").unwrap();
        assert_eq!(chosen(None, None).unwrap(), None);
        assert_eq!(chosen(None, Some(&path)).unwrap(), Some(Chosen("0123456789-0123456789".into())));
        assert_eq!(chosen(Some(" 0123456789-0123456789".into()), None).unwrap().unwrap().0.len(), 21);
        assert!(chosen(Some("0123456789-0123456789".into()), Some(&path)).is_err());
        assert!(chosen(None, Some(&dir.path().join("none"))).is_err());
        for bad in ["", "short", &"x".repeat(257), "0123456789 0123456789", "0123456789é0123456789"] {
            let said = format!("{:#}", chosen(Some(bad.into()), None).unwrap_err());
            assert!(said.contains("20 to 256"), "{said}");
            assert!(bad.is_empty() || !said.contains(bad), "{said}");
        }
    }
}
