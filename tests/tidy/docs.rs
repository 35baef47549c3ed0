// SPDX-License-Identifier: Apache-2.0
//! Documents say what the code says.

use std::collections::BTreeSet;
use std::path::Path;

use jobbie_broker::state::TRANSITIONS;
use jobbie_web::error::Code;

use crate::nothing;
use crate::tree::{documents, file, files, root, rust};

/// Where the code lives; a name in a document that begins with one of these is a path.
const FOLDERS: [&str; 9] =
    ["actors/", "broker/", "docs/", "enterprise/", "examples/", "src/", "store/", "tests/", "web/"];
/// Names that end like this are paths too.
const ENDINGS: [&str; 4] = [".rs", ".toml", ".md", ".sh"];

/// What stands in backticks, outside of code blocks.
fn quoted(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut block = false;
    let lines = text.lines().enumerate().filter(move |(_, line)| {
        let fence = line.trim_start().starts_with("```");
        block ^= fence;
        !block && !fence
    });
    lines.flat_map(|(at, line)| line.split('`').skip(1).step_by(2).map(move |token| (at + 1, token)))
}

#[test]
fn files_that_documents_name_exist() {
    let mut found = Vec::new();
    for document in documents() {
        for (at, token) in quoted(&document.text) {
            let plain =
                token.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/'));
            let path = FOLDERS.iter().any(|folder| token.starts_with(folder))
                || ENDINGS
                    .iter()
                    .any(|ending| token.strip_suffix(ending).is_some_and(|stem| !stem.is_empty()));
            if plain && path && !root().join(token).exists() {
                found.push(format!("{}:{at} names {token}", document.path));
            }
        }
    }
    nothing(&found);
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut found = Vec::new();
    for document in documents() {
        let folder = Path::new(&document.path).parent().unwrap_or(Path::new(""));
        for (at, line) in document.text.lines().enumerate() {
            for link in line.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
                let target = link.split('#').next().unwrap_or_default();
                let outside = target.is_empty() || target.contains("://");
                if !outside && !root().join(folder).join(target).exists() {
                    found.push(format!("{}:{} links to {link}", document.path, at + 1));
                }
            }
        }
    }
    nothing(&found);
}

/// `<!-- file: PATH -->` above a block says that the block is that file.
#[test]
fn files_that_documents_show_are_as_they_are() {
    let mut found = Vec::new();
    let mut shown = 0;
    for document in documents() {
        for part in document.text.split("<!-- file: ").skip(1) {
            let block = part.split_once(" -->\n```").and_then(|(path, rest)| {
                let (_, text) = rest.split_once('\n')?;
                Some((path, text.split("\n```").next()?))
            });
            let Some((path, text)) = block else {
                found.push(format!("{} shows a file, but no block follows", document.path));
                continue;
            };
            shown += 1;
            if file(path).text.trim_end() != text {
                found.push(format!("{} shows {path} as it is not", document.path));
            }
        }
    }
    assert!(shown > 3, "only {shown} files are shown");
    nothing(&found);
}

#[test]
fn documents_that_the_code_names_exist() {
    let mut found = Vec::new();
    for file in rust().filter(|file| !file.path.starts_with("tests/tidy")) {
        for (at, line) in file.text.lines().enumerate() {
            for (start, _) in line.match_indices("docs/") {
                let name = line[start..]
                    .split(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '_' | '-' | '.' | '/'));
                let name = name.into_iter().next().unwrap_or_default().trim_end_matches('.');
                if name.ends_with(".md") && !root().join(name).exists() {
                    found.push(format!("{}:{} names {name}", file.path, at + 1));
                }
            }
        }
    }
    nothing(&found);
}

/// The rows of the table that has this column first, without heading and line.
fn table<'a>(path: &str, first_column: &str) -> Vec<Vec<&'a str>> {
    let mut lines =
        file(path).text.lines().skip_while(|line| !line.starts_with(&format!("| {first_column} |")));
    assert!(lines.next().is_some(), "{path} has no table with the first column {first_column}");
    let rows = lines.skip(1).take_while(|line| line.starts_with('|'));
    rows.map(|row| row.trim_matches('|').split(" | ").map(|cell| cell.trim().trim_matches('`')).collect())
        .collect()
}

#[test]
fn the_lifecycle_is_the_table_of_transitions() {
    let stated: Vec<(&str, &str, &str)> =
        table("docs/lifecycle.md", "from").into_iter().map(|row| (row[0], row[1], row[2])).collect();
    let rules: Vec<(&str, &str, &str)> =
        TRANSITIONS.iter().map(|(from, to, cause)| (from.name(), to.name(), *cause)).collect();
    assert_eq!(stated, rules);
}

#[test]
fn the_diagram_of_the_lifecycle_has_every_move() {
    let arrows = file("docs/lifecycle.md").text.lines().filter_map(|line| line.trim().split_once(" --> "));
    let drawn: BTreeSet<(&str, &str)> = arrows
        .map(|(from, to)| (from, to.split(':').next().unwrap_or_default().trim()))
        .filter(|(from, to)| *from != "[*]" && *to != "[*]")
        .collect();
    let rules: BTreeSet<(&str, &str)> =
        TRANSITIONS.iter().map(|(from, to, _)| (from.name(), to.name())).collect();
    assert_eq!(drawn, rules);
}

#[test]
fn every_error_code_has_its_page() {
    let mut found = Vec::new();
    for (_, code, status) in Code::TABLE {
        let path = format!("docs/errors/{code}.md");
        let heading = format!("# {code} ({status})");
        match files().iter().find(|file| file.path == path) {
            None => found.push(format!("{path} is missing")),
            Some(page) if page.text.lines().next() != Some(&heading) => {
                found.push(format!("{path} does not begin with {heading:?}"));
            }
            Some(page) if !page.text.contains("\n**Written?** ") => {
                found.push(format!("{path} does not say whether anything was written"));
            }
            Some(_) => {}
        }
    }
    let known = |path: &str| Code::TABLE.iter().any(|(_, code, _)| path == format!("docs/errors/{code}.md"));
    let pages = files()
        .iter()
        .filter(|file| file.path.starts_with("docs/errors/") && !file.path.ends_with("README.md"));
    found.extend(
        pages.filter(|page| !known(&page.path)).map(|page| format!("{} is about no code", page.path)),
    );
    nothing(&found);
}

#[test]
fn operations_says_what_to_do_about_every_error() {
    let rows = table("docs/operations.md", "code").into_iter().map(|row| (row[0], row[1]));
    let stated: Vec<(&str, u16)> = rows
        .filter_map(|(code, status)| Some((code.strip_prefix('[')?.split_once(']')?.0, status.parse().ok()?)))
        .collect();
    let codes: Vec<(&str, u16)> = Code::TABLE.iter().map(|(_, code, status)| (*code, *status)).collect();
    assert_eq!(stated, codes);
}

#[test]
fn alerts_are_about_metrics_that_there_are() {
    let known: BTreeSet<&str> = table("docs/metrics.md", "name").into_iter().map(|row| row[0]).collect();
    let rules = file("examples/prometheus/alerts.yaml").text.lines();
    let mut seen = BTreeSet::new();
    for rule in rules.filter_map(|line| line.trim().strip_prefix("expr: ")) {
        for name in rule.split(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
            let name = name.strip_suffix("_bucket").or(name.strip_suffix("_count")).unwrap_or(name);
            if name.starts_with("jobbie_") {
                assert!(known.contains(name), "there is no metric {name}");
                seen.insert(name);
            }
        }
    }
    assert!(seen.len() > 5, "only {seen:?}");
}

#[test]
fn the_protocol_lists_the_routes_of_the_table() {
    let rows = file("web/src/routes.rs").text.lines().filter_map(|line| {
        let (method, rest) = line.trim().split_once(char::is_whitespace)?;
        let path = rest.trim().strip_prefix('"')?.split('"').next()?;
        let verb = method.len() > 2 && method.chars().all(|c| c.is_ascii_uppercase());
        (verb && path.starts_with('/') && !path.starts_with("/api/v1/debug/")).then_some((method, path))
    });
    let routes: Vec<(&str, &str)> = rows.collect();
    assert!(routes.len() > 30, "only {} routes found", routes.len());
    let stated: Vec<(&str, &str)> =
        table("docs/protocol.md", "method").into_iter().map(|row| (row[0], row[1])).collect();
    assert_eq!(stated, routes);
}

#[test]
fn the_protocol_lists_every_event() {
    let names = rust().filter(|file| file.path == "broker/src/event.rs").flat_map(|file| file.text.lines());
    let names = names.filter_map(|line| line.split_once("=> \"")?.1.split('"').next());
    let protocol = &file("docs/protocol.md").text;
    let missing: Vec<String> = names
        .filter(|name| name.contains('.') && !protocol.contains(&format!("`{name}`")))
        .map(Into::into)
        .collect();
    nothing(&missing);
}
