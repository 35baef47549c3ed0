// SPDX-License-Identifier: Apache-2.0
//! What `--help` says is part of the surface: every page is kept in `tests/cli/help`, and `docs/configuration.md` and
//! `docs/cli.md` list every setting and command. `UPDATE_SNAPSHOTS=1 cargo test -p jobbie --bin jobbie help` writes
//! them all again; what has changed is then seen in the change.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use clap::{Command, CommandFactory as _};

use super::Cli;
use crate::config::commands_settings;

const HOW: &str =
    "run UPDATE_SNAPSHOTS=1 cargo test -p jobbie --bin jobbie help, and look at what has changed";

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn updating() -> bool {
    std::env::var("UPDATE_SNAPSHOTS").is_ok_and(|value| value == "1")
}

/// Every command with its help, by the words that call it.
fn pages() -> BTreeMap<String, String> {
    fn collect(command: &mut Command, words: &str, found: &mut BTreeMap<String, String>) {
        found.insert(words.to_owned(), command.render_long_help().to_string());
        for command in command.get_subcommands_mut() {
            let words = format!("{words} {}", command.get_name());
            collect(command, &words, found);
        }
    }
    // What the terminal and the environment of the test run are like is no part of it.
    fn plain(command: Command) -> Command {
        let names: Vec<String> = command.get_subcommands().map(|c| c.get_name().to_owned()).collect();
        let command = command.term_width(110).mut_args(|arg| arg.hide_env_values(true));
        names.into_iter().fold(command, |command, name| command.mut_subcommand(name, plain))
    }
    let mut command = plain(Cli::command());
    command.build();
    let mut found = BTreeMap::new();
    collect(&mut command, "jobbie", &mut found);
    found
}

#[test]
fn every_help_page_is_as_it_was() {
    let folder = root().join("tests/cli/help");
    let pages: BTreeMap<PathBuf, String> = pages()
        .into_iter()
        .map(|(words, text)| {
            let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
            (folder.join(format!("{}.txt", words.replace(' ', "-"))), format!("{}\n", lines.join("\n")))
        })
        .collect();
    if updating() {
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        pages.iter().for_each(|(path, text)| fs::write(path, text).unwrap());
    }
    for (path, text) in &pages {
        let kept = fs::read_to_string(path).unwrap_or_default();
        assert!(kept == *text, "{} is not what --help says; {HOW}", path.display());
    }
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        assert!(pages.contains_key(&path), "{} is about no command; {HOW}", path.display());
    }
}

/// Compares what stands between two marks in a document with what it should be, or writes it.
fn between(document: &str, what: &str, expected: &str) {
    let path = root().join(document);
    let text = fs::read_to_string(&path).unwrap();
    let (begin, end) = (format!("<!-- {what}: begin -->\n"), format!("<!-- {what}: end -->"));
    let start = text.find(&begin).unwrap_or_else(|| panic!("{document} has no {begin}")) + begin.len();
    let stop = start + text[start..].find(&end).unwrap_or_else(|| panic!("{document} has no {end}"));
    if updating() {
        fs::write(&path, format!("{}{expected}{}", &text[..start], &text[stop..])).unwrap();
    } else {
        assert!(text[start..stop] == *expected, "the {what} of {document} are not those of the code; {HOW}");
    }
}

#[test]
fn every_setting_is_in_the_help_and_in_the_document() {
    let mut table = String::from("\n| setting | variable | values | what |\n| --- | --- | --- | --- |\n");
    for arg in commands_settings() {
        let about = arg.get_long_help().or_else(|| arg.get_help()).map(ToString::to_string);
        let about = about.unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ");
        let values: Vec<&str> =
            arg.get_value_names().unwrap_or_default().iter().map(|name| name.as_str()).collect();
        let env = arg.get_env().and_then(|env| env.to_str()).unwrap_or_default();
        let values = values.join(" ").replace('|', ", ");
        let _ = writeln!(
            table,
            "| `{}` | `{env}` | {values} | {} |",
            arg.get_long().unwrap_or_default(),
            about.replace('|', "\\|")
        );
    }
    between("docs/configuration.md", "settings", &format!("{table}\n"));
}

#[test]
fn every_command_is_in_the_document() {
    let mut table = String::from("\n| command | what |\n| --- | --- |\n");
    let mut command = Cli::command();
    command.build();
    fn collect(command: &Command, words: &str, table: &mut String) {
        for command in command.get_subcommands() {
            let words = format!("{words} {}", command.get_name());
            let about = command.get_about().map(ToString::to_string).unwrap_or_default();
            let _ = writeln!(table, "| `{words}` | {} |", about.replace('|', "\\|"));
            collect(command, &words, table);
        }
    }
    collect(&command, "jobbie", &mut table);
    between("docs/cli.md", "commands", &format!("{table}\n"));
}

#[test]
fn every_exit_code_is_in_the_document() {
    let stated = fs::read_to_string(root().join("docs/cli.md")).unwrap();
    for line in super::exit::HELP.lines().skip(1) {
        if let Some((code, _)) = line.trim_start().split_once("  ") {
            assert!(
                stated.contains(&format!("\n| {code} | ")),
                "docs/cli.md does not explain exit code {code}"
            );
        }
    }
}
