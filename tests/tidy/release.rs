// SPDX-License-Identifier: Apache-2.0
//! The version, its date and the licence of the enterprise crate belong together.

use crate::tree::file;

/// How long after its release a version becomes Apache-2.0.
const YEARS: u32 = 3;

/// The newest version in the changelog and its date.
fn newest() -> (&'static str, &'static str) {
    let heading = file("CHANGELOG.md")
        .text
        .lines()
        .find_map(|line| line.strip_prefix("## [").filter(|l| !l.starts_with("Unreleased")));
    let (version, date) =
        heading.and_then(|line| line.split_once("] - ")).expect("a heading `## [version] - date`");
    (version, date)
}

fn parameter(name: &str) -> &'static str {
    let line =
        file("enterprise/LICENSE").text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("enterprise/LICENSE has no {name}")).trim()
}

#[test]
fn the_changelog_begins_with_the_version_of_the_workspace() {
    let manifest: toml::Table = file("Cargo.toml").text.parse().unwrap();
    assert_eq!(manifest["workspace"]["package"]["version"].as_str(), Some(newest().0));
}

#[test]
fn the_change_date_is_three_years_after_the_release() {
    let (version, date) = newest();
    let (year, rest) = date.split_once('-').unwrap();
    let year: u32 = year.parse().unwrap();
    // The 29th of February has no anniversary in three years.
    let rest = if rest == "02-29" { "02-28" } else { rest };
    assert_eq!(parameter("Change Date"), format!("{}-{rest}", year + YEARS));
    assert_eq!(parameter("Licensed Work"), format!("jobbie-enterprise {version}"));
    assert_eq!(parameter("Change License"), "Apache License, Version 2.0");
}

#[test]
fn the_image_carries_both_licences() {
    let dockerfile = &file("Dockerfile").text;
    assert!(dockerfile.contains("COPY LICENSE ") && dockerfile.contains("COPY enterprise/LICENSE "));
}
