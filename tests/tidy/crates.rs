// SPDX-License-Identifier: Apache-2.0
//! Who may know whom.
//!
//! ```text
//! broker ◄── store ◄── actors ◄── web ◄── enterprise ◄── src (wires everything)
//! ```
//!
//! `web` and `enterprise` reach the disk only through the ports of `actors`.

use toml::{Table, Value};

use crate::nothing;
use crate::tree::{file, has_word, rust};

/// Each crate with the crates of this workspace that it may use.
const MAY_USE: [(&str, &[&str]); 6] = [
    ("broker", &[]),
    ("store", &["broker"]),
    ("actors", &["broker", "store"]),
    ("web", &["broker", "actors"]),
    ("enterprise", &["broker", "actors", "web"]),
    (".", &["broker", "store", "actors", "web", "enterprise"]),
];

/// Crates that only some may use: the others know them by what those export.
const ONLY_IN: [(&str, &[&str]); 7] = [
    ("fjall", &["store"]),
    ("openraft", &["store", "actors"]),
    ("actix", &["actors"]),
    ("actix-web", &["web", "enterprise"]),
    ("anyhow", &["."]),
    ("clap", &["."]),
    ("tokio", &["store", "actors", "web", "enterprise", "."]),
];

/// What `web` may name of `jobbie_actors`; the modules called `messages` come on top.
const FOR_THE_DOORS: [&str; 3] = ["ports", "seams", "Ports"];

fn manifest(member: &str) -> Table {
    let path = if member == "." { "Cargo.toml".to_owned() } else { format!("{member}/Cargo.toml") };
    file(&path).text.parse().unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every dependency of a crate, for tests and builds too, with what its manifest says of it.
fn dependencies(member: &str) -> Vec<(String, Value)> {
    let manifest = manifest(member);
    let targets = manifest.get("target").and_then(Value::as_table);
    let tables = targets.into_iter().flat_map(Table::values).filter_map(Value::as_table).chain([&manifest]);
    let kinds = ["dependencies", "dev-dependencies", "build-dependencies"];
    let listed = tables.flat_map(|table| kinds.iter().filter_map(|kind| table.get(*kind)?.as_table()));
    listed.flatten().map(|(name, value)| (name.clone(), value.clone())).collect()
}

#[test]
fn dependencies_point_to_the_left() {
    let mut found = Vec::new();
    for (member, may_use) in MAY_USE {
        for (name, _) in dependencies(member) {
            if let Some(used) = name.strip_prefix("jobbie-")
                && !may_use.contains(&used)
            {
                found.push(format!("{member} uses {used}"));
            }
        }
    }
    nothing(&found);
}

#[test]
fn every_member_is_known_here() {
    let listed = manifest(".")["workspace"]["members"].clone();
    let mut members: Vec<String> = listed.try_into().unwrap();
    members.push(".".into());
    members.sort();
    let mut known: Vec<&str> = MAY_USE.iter().map(|(member, _)| *member).collect();
    known.sort_unstable();
    assert_eq!(members, known);
}

#[test]
fn versions_stand_in_one_place() {
    let mut found = Vec::new();
    for (member, _) in MAY_USE {
        for (name, value) in dependencies(member) {
            if value.get("workspace").and_then(Value::as_bool) != Some(true) {
                found.push(format!("{member}: {name} does not say `workspace = true`"));
            }
        }
    }
    nothing(&found);
}

#[test]
fn some_crates_are_used_by_one_crate_only() {
    let mut found = Vec::new();
    for (member, _) in MAY_USE {
        let used = dependencies(member);
        for (name, members) in ONLY_IN {
            if !members.contains(&member) && used.iter().any(|(used, _)| used == name) {
                found.push(format!("{member} uses {name}"));
            }
        }
    }
    // Its name may stand in a string, as in a filter for log lines, but not in code.
    for file in rust().filter(|file| !file.path.starts_with("store/") && !file.path.starts_with("tests/tidy"))
    {
        let outside_strings = |line: &str| line.split('"').step_by(2).any(|part| has_word(part, "fjall"));
        let named = file.code().filter(|(_, line)| outside_strings(line));
        found.extend(named.map(|(at, _)| format!("{}:{at} names fjall", file.path)));
    }
    nothing(&found);
}

#[test]
fn each_crate_states_its_licence() {
    for (member, _) in MAY_USE {
        let package = manifest(member)["package"].clone();
        let stated = package["license"].as_str().unwrap_or("workspace");
        let expected = match member {
            "enterprise" => "BUSL-1.1",
            "." => "Apache-2.0 AND BUSL-1.1",
            _ => "workspace",
        };
        assert_eq!(stated, expected, "{member}");
    }
    assert_eq!(manifest(".")["workspace"]["package"]["license"].as_str(), Some("Apache-2.0"));
}

#[test]
fn the_doors_use_only_ports_seams_and_messages() {
    let mut found = Vec::new();
    for file in rust().filter(|file| file.path.starts_with("web/")) {
        let code: String = file.code().flat_map(|(_, line)| [line, "\n"]).collect();
        for (at, name) in code.match_indices("jobbie_actors::") {
            for path in paths(&code[at + name.len()..]) {
                let parts: Vec<&str> = path.split("::").map(str::trim).collect();
                let allowed = FOR_THE_DOORS.contains(&parts[0]) || parts.get(1) == Some(&"messages");
                if !allowed {
                    found.push(format!("{} uses jobbie_actors::{path}", file.path));
                }
            }
        }
    }
    nothing(&found);
}

/// The paths that a use tree begins with: `a::b` of `a::b;`, `a::{b}` and `d` of `{a::{b}, d};`.
fn paths(tree: &str) -> Vec<String> {
    let Some(group) = tree.strip_prefix('{') else {
        let end = tree.find(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | ':')));
        return vec![tree[..end.unwrap_or(tree.len())].to_owned()];
    };
    let (mut depth, mut found) = (0, vec![String::new()]);
    for c in group.chars() {
        match c {
            '}' if depth == 0 => break,
            ',' if depth == 0 => {
                found.push(String::new());
                continue;
            }
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        found.last_mut().expect("there is always a last one").push(c);
    }
    found.iter().map(|path| path.trim().to_owned()).filter(|path| !path.is_empty()).collect()
}

#[test]
fn use_trees_are_read() {
    assert_eq!(paths("ports::Ports;"), ["ports::Ports"]);
    assert_eq!(
        paths("{Node, ports::{A, B},\n queue::messages::X};\nuse x;"),
        ["Node", "ports::{A, B}", "queue::messages::X"]
    );
    assert_eq!(paths("supervise::task(1)"), ["supervise::task"]);
}
