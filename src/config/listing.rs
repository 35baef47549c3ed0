// SPDX-License-Identifier: Apache-2.0
//! Every setting with its value and where that comes from, for `jobbie config`.
//!
//! Flags win over environment over configuration file over defaults. Which of the first two it was, the parser of
//! the command line knows; the file is asked after them. Values that are secrets are never part of a listing: a
//! setting is one if its environment variable is hidden in `--help`.

use std::path::PathBuf;

use anyhow::Result;
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Args as _, Command};
use serde::Serialize;
use serde_json::{Map, Value};

use super::{ServerArgs, Settings, read_file};

/// Where a value comes from, the strongest last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// Nobody has said anything.
    Default,
    /// The configuration file.
    File,
    /// An environment variable.
    Environment,
    /// A flag.
    Flag,
}

impl Source {
    /// As it is printed.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::File => "file",
            Self::Environment => "environment",
            Self::Flag => "flag",
        }
    }
}

/// One setting.
#[derive(Debug, Serialize)]
pub struct Row {
    /// Its name: the flag without dashes, and the key of the file.
    pub name: String,
    /// Its value as it was written, or the default as the help states it; `null` if there is none.
    pub value: Value,
    /// Where that comes from.
    pub source: Source,
    /// Its environment variable.
    pub env: String,
}

/// Every setting of a server.
#[derive(Debug, Serialize)]
pub struct Listing {
    /// The configuration file, if one was named.
    pub config_file: Option<PathBuf>,
    /// The settings in the order of `--help`.
    pub settings: Vec<Row>,
}

/// The settings as the command line declares them, in the order of `--help`.
pub fn commands_settings() -> impl Iterator<Item = Arg> {
    let command = Settings::augment_args(Command::new("settings"));
    command.get_arguments().cloned().collect::<Vec<_>>().into_iter()
}

/// The default of a setting, which its help states in brackets.
pub fn default_of(arg: &Arg) -> Option<String> {
    let help = arg.get_long_help().or_else(|| arg.get_help())?.to_string();
    let (_, stated) = help.rsplit_once("[default: ")?;
    Some(stated.split(']').next().unwrap_or_default().to_owned())
}

impl Listing {
    /// The settings that these arguments lead to. `matches` is what they were read from.
    ///
    /// # Errors
    /// As [`ServerArgs::load`].
    pub fn new(args: ServerArgs, matches: &ArgMatches) -> Result<Self> {
        let config_file = args.config.clone();
        let file = config_file.as_deref().map(read_file).transpose()?.unwrap_or_default();
        let given = object(&args.settings.clone().or(file))?;
        args.load()?;
        let settings = commands_settings().map(|arg| {
            let name = arg.get_long().unwrap_or_default().to_owned();
            // Of a setting that may be given several times, an empty list is none.
            let is_none = |value: &Value| value.is_null() || value.as_array().is_some_and(Vec::is_empty);
            let written = given.get(&name).filter(|value| !is_none(value));
            let source = match (written, matches.value_source(arg.get_id().as_str())) {
                (None, _) => Source::Default,
                (_, Some(ValueSource::CommandLine)) => Source::Flag,
                (_, Some(ValueSource::EnvVariable)) => Source::Environment,
                _ => Source::File,
            };
            let value = match written {
                Some(_) if arg.is_hide_env_values_set() => Value::from("(not shown)"),
                Some(value) => value.clone(),
                None => default_of(&arg).map_or(Value::Null, Value::from),
            };
            let env = arg.get_env().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            Row { name, value, source, env }
        });
        Ok(Self { config_file, settings: settings.collect() })
    }
}

fn object(settings: &Settings) -> Result<Map<String, Value>> {
    match serde_json::to_value(settings)? {
        Value::Object(map) => Ok(map),
        other => anyhow::bail!("settings are an object, not {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::FromArgMatches as _;

    fn listing(arguments: &[&str]) -> Result<Listing> {
        // Whatever the environment of the test run says is no part of the test.
        let command = ServerArgs::augment_args(Command::new("config")).mut_args(|arg| arg.env(None::<&str>));
        let matches = command.try_get_matches_from([&["config"], arguments].concat()).unwrap();
        Listing::new(ServerArgs::from_arg_matches(&matches).unwrap(), &matches)
    }

    fn row<'l>(listing: &'l Listing, name: &str) -> &'l Row {
        listing.settings.iter().find(|row| row.name == name).unwrap()
    }

    #[test]
    fn each_value_says_where_it_comes_from() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("jobbie.toml");
        std::fs::write(&file, "retention = \"48h\"\ndurability = \"relaxed\"\n").unwrap();
        let listing =
            listing(&["--config", file.to_str().unwrap(), "--durability", "fsync", "--bind", "127.0.0.1:0"])
                .unwrap();
        let shown = |name| (row(&listing, name).value.clone(), row(&listing, name).source);
        assert_eq!(shown("durability"), (Value::from("fsync"), Source::Flag), "a flag wins over the file");
        assert_eq!(shown("bind"), (Value::from("127.0.0.1:0"), Source::Flag));
        assert_eq!(shown("retention"), (Value::from("48h"), Source::File));
        assert_eq!(shown("max-payload"), (Value::from("256KiB"), Source::Default));
        assert_eq!(row(&listing, "trusted-proxy").source, Source::Default, "an empty list is none");
        assert_eq!(listing.config_file, Some(file));
    }

    #[test]
    fn every_setting_is_listed_with_its_variable() {
        let listing = listing(&[]).unwrap();
        let Value::Object(keys) = serde_json::to_value(Settings::default()).unwrap() else { unreachable!() };
        let mut listed: Vec<&str> = listing.settings.iter().map(|row| row.name.as_str()).collect();
        listed.sort_unstable();
        let mut keys: Vec<&str> = keys.keys().map(String::as_str).collect();
        keys.sort_unstable();
        assert_eq!(listed, keys);
        for arg in commands_settings() {
            let name = arg.get_long().unwrap();
            let env = arg.get_env().unwrap_or_else(|| panic!("{name} has no environment variable"));
            assert_eq!(env.to_str().unwrap(), format!("JOBBIE_{}", name.replace('-', "_").to_uppercase()));
        }
    }

    #[test]
    fn a_wrong_setting_is_refused_as_by_the_server() {
        assert!(listing(&["--durability", "maybe"]).unwrap_err().to_string().contains("fsync or relaxed"));
    }
}
