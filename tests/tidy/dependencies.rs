// SPDX-License-Identifier: Apache-2.0
//! The licences and sources of everything that is linked, against `deny.toml`.
//!
//! Cargo knows both without a network, so every test run checks them. Advisories need a database and are not looked
//! at here.

use std::process::Command;

use serde_json::Value;
use toml::Table;

use crate::nothing;
use crate::tree::{file, root};

struct Package {
    name: String,
    licence: String,
    source: Option<String>,
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).current_dir(root()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// What a build for this machine may use: the rest of the lock file need not have been downloaded.
fn packages() -> Vec<Package> {
    let version = output(env!("CARGO"), &["-vV"]);
    let host =
        version.lines().find_map(|line| line.strip_prefix("host: ")).expect("cargo -vV names the host");
    let arguments = ["metadata", "--format-version", "1", "--locked", "--offline", "--filter-platform", host];
    let metadata: Value = serde_json::from_str(&output(env!("CARGO"), &arguments)).unwrap();
    let text = |value: &Value| value.as_str().map(ToOwned::to_owned);
    let packages = metadata["packages"].as_array().unwrap().iter();
    packages
        .map(|package| Package {
            name: text(&package["name"]).unwrap(),
            licence: text(&package["license"]).unwrap_or_default(),
            source: text(&package["source"]),
        })
        .collect()
}

fn strings(value: &toml::Value) -> Vec<String> {
    value.clone().try_into().unwrap()
}

#[test]
fn what_is_linked_may_be_given_away() {
    let rules: Table = file("deny.toml").text.parse().unwrap();
    let allowed = strings(&rules["licenses"]["allow"]);
    let registries = strings(&rules["sources"]["allow-registry"]);
    let banned: Vec<&str> =
        rules["bans"]["deny"].as_array().unwrap().iter().filter_map(|b| b["crate"].as_str()).collect();
    let packages = packages();
    assert!(packages.len() > 50, "cargo metadata names only {} packages", packages.len());
    let mut found = Vec::new();
    for package in packages {
        let Some(source) = &package.source else { continue };
        if !registries.iter().any(|registry| source.strip_prefix("registry+") == Some(registry)) {
            found.push(format!("{} comes from {source}", package.name));
        }
        if !permits(&package.licence, &allowed) {
            found.push(format!("{} has the licence {:?}", package.name, package.licence));
        }
        if banned.contains(&&*package.name) {
            found.push(format!("{} is banned", package.name));
        }
    }
    nothing(&found);
}

/// True if an SPDX expression can be fulfilled with the allowed licences. `AND` binds closer than `OR`.
fn permits(expression: &str, allowed: &[String]) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let tokens: Vec<&str> = spaced.split_whitespace().collect();
    let mut at = 0;
    let permits = any(&tokens, &mut at, allowed);
    permits && at == tokens.len()
}

fn any(tokens: &[&str], at: &mut usize, allowed: &[String]) -> bool {
    let mut permits = all(tokens, at, allowed);
    while tokens.get(*at) == Some(&"OR") {
        *at += 1;
        permits |= all(tokens, at, allowed);
    }
    permits
}

fn all(tokens: &[&str], at: &mut usize, allowed: &[String]) -> bool {
    let mut permits = one(tokens, at, allowed);
    while tokens.get(*at) == Some(&"AND") {
        *at += 1;
        permits &= one(tokens, at, allowed);
    }
    permits
}

fn one(tokens: &[&str], at: &mut usize, allowed: &[String]) -> bool {
    let Some(first) = tokens.get(*at) else { return false };
    *at += 1;
    if *first == "(" {
        let permits = any(tokens, at, allowed);
        *at += 1;
        return permits;
    }
    let mut licence = (*first).to_owned();
    if tokens.get(*at) == Some(&"WITH") {
        licence = format!("{licence} WITH {}", tokens.get(*at + 1).unwrap_or(&""));
        *at += 2;
    }
    allowed.contains(&licence)
}

#[test]
fn licence_expressions_are_read() {
    let allowed =
        ["MIT", "Apache-2.0", "Unicode-3.0", "Apache-2.0 WITH LLVM-exception"].map(ToOwned::to_owned);
    for good in [
        "MIT",
        "MIT/GPL-3.0",
        "GPL-2.0-only OR Apache-2.0",
        "(MIT OR GPL-3.0) AND Unicode-3.0",
        "Apache-2.0 WITH LLVM-exception",
    ] {
        assert!(permits(good, &allowed), "{good}");
    }
    for bad in ["", "GPL-3.0", "MIT AND GPL-3.0", "(MIT OR Apache-2.0) AND GPL-3.0", "MIT WITH Something"] {
        assert!(!permits(bad, &allowed), "{bad}");
    }
}
