// SPDX-License-Identifier: Apache-2.0
//! What every source file must have, and what none may have.

use crate::nothing;
use crate::tree::{File, files, rust};

/// A source file longer than this usually holds two things.
const MAX_LINES: usize = 500;

#[test]
fn every_file_names_its_licence() {
    let mut found = Vec::new();
    for file in rust() {
        let licence = if file.path.starts_with("enterprise/") { "BUSL-1.1" } else { "Apache-2.0" };
        let expected = format!("// SPDX-License-Identifier: {licence}");
        if file.text.lines().next() != Some(&expected) {
            found.push(format!("{} does not begin with {expected}", file.path));
        }
    }
    nothing(&found);
}

#[test]
fn every_file_says_what_it_is_for() {
    let silent = |file: &&File| !file.text.lines().nth(1).is_some_and(|line| line.starts_with("//!"));
    let silent = rust().filter(|file| !file.is_test()).filter(silent);
    let found: Vec<String> =
        silent.map(|file| format!("{} has no //! in its second line", file.path)).collect();
    nothing(&found);
}

/// This file may not contain what it looks for, so the words are put together.
#[test]
fn nothing_is_left_unfinished() {
    let words = [["to", "do!("], ["unimple", "mented!("], ["db", "g!("], ["#[ig", "nore"]]
        .map(|parts| parts.concat());
    let mut found = Vec::new();
    for file in rust() {
        for (at, line) in file.code() {
            found.extend(
                words
                    .iter()
                    .filter(|word| line.contains(*word))
                    .map(|word| format!("{}:{at} {word}", file.path)),
            );
        }
    }
    nothing(&found);
}

/// Where somebody's machine looks out: home directories, mounts, names that only a private network resolves.
#[test]
fn no_file_names_a_private_machine() {
    let paths = [["/ro", "ot/"], ["/ho", "me/"], ["/Us", "ers/"], ["/wo", "rk/"]].map(|parts| parts.concat());
    let hosts = [[".inter", "nal"], [".loc", "aldomain"], [".co", "rp"]].map(|parts| parts.concat());
    let inside = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '}' | ')' | '*');
    let mut found = Vec::new();
    for file in files() {
        for (at, line) in file.text.lines().enumerate() {
            let path = paths
                .iter()
                .find(|path| line.match_indices(*path).any(|(i, _)| !line[..i].ends_with(inside)));
            let host = hosts.iter().find(|host| {
                line.match_indices(*host).any(|(i, _)| {
                    line[..i].ends_with(char::is_alphanumeric) && !line[i + host.len()..].starts_with(inside)
                })
            });
            found.extend(path.or(host).map(|what| format!("{}:{} names {what}", file.path, at + 1)));
        }
    }
    nothing(&found);
}

#[test]
fn files_hold_one_thing() {
    let mut found = Vec::new();
    for file in rust().filter(|file| !file.is_test()) {
        // Tests at the end of a file do not count.
        let code = file.text.split("\n#[cfg(test)]\nmod ").next().unwrap_or_default();
        let lines = code.lines().count();
        if lines > MAX_LINES {
            found.push(format!("{} has {lines} lines without its tests", file.path));
        }
    }
    nothing(&found);
}

#[test]
fn text_files_end_with_a_newline_and_have_no_trailing_spaces() {
    let mut found = Vec::new();
    for file in
        files().iter().filter(|file| !file.path.contains("/fixtures/") && !file.path.contains("/golden/"))
    {
        if !file.text.is_empty() && !file.text.ends_with('\n') {
            found.push(format!("{} does not end with a newline", file.path));
        }
        let spaces = file.text.lines().position(|line| line.ends_with([' ', '\t', '\r']));
        found.extend(spaces.map(|at| format!("{}:{} ends with a space", file.path, at + 1)));
    }
    nothing(&found);
}
