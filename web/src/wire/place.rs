// SPDX-License-Identifier: Apache-2.0
//! Where in a body something is: `jobs[17].queue`.
//!
//! Nothing is tracked while a body is read. Only when it is refused is its text walked up to where the
//! parser stopped.

use std::fmt;

/// A place, as a chain back to the root; lives on the stack.
#[derive(Clone, Copy, Debug)]
pub struct Place<'p> {
    parent: Option<&'p Place<'p>>,
    step: Step<'p>,
}

#[derive(Clone, Copy, Debug)]
enum Step<'p> {
    Root,
    Key(&'p str),
    Index(usize),
}

impl<'p> Place<'p> {
    /// The whole body.
    pub const ROOT: Place<'static> = Place { parent: None, step: Step::Root };

    /// A member of the object at this place.
    #[must_use]
    pub const fn key(&'p self, key: &'p str) -> Self {
        Self { parent: Some(self), step: Step::Key(key) }
    }

    /// An element of the array at this place.
    #[must_use]
    pub const fn index(&'p self, index: usize) -> Self {
        Self { parent: Some(self), step: Step::Index(index) }
    }

    /// This place with a path below it, as [`path_at`] gives one.
    #[must_use]
    pub fn join(&self, below: &str) -> String {
        match (self.to_string(), below) {
            (above, "") => above,
            (above, below) if above.is_empty() || below.starts_with('[') => above + below,
            (above, below) => format!("{above}.{below}"),
        }
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(f)?;
            if matches!(self.step, Step::Key(_)) && parent.parent.is_some() {
                f.write_str(".")?;
            }
        }
        match self.step {
            Step::Root => Ok(()),
            Step::Key(key) => f.write_str(&shown(key)),
            Step::Index(index) => write!(f, "[{index}]"),
        }
    }
}

/// Characters of a caller's text that a refusal repeats.
const SHOWN: usize = 64;
/// Levels that a path goes down: below are the insides of opaque values, which have no fields.
const LEVELS: usize = 16;

/// A name as a refusal repeats it: it may have come with any length and any characters.
#[must_use]
pub fn shown(name: &str) -> String {
    let mut rest = name.chars();
    let mut text: String = rest.by_ref().take(SHOWN).filter(|c| !c.is_control()).collect();
    if rest.next().is_some() {
        text.push('…');
    }
    text
}

/// An open container and the member that is being read in it.
enum Open {
    Object { key: Option<String>, expects_key: bool },
    Array { index: usize },
}

/// The path of the value that is being read, or has just been read, at a byte offset.
#[must_use]
pub fn path_at(text: &str, offset: usize) -> String {
    let mut open: Vec<Open> = Vec::new();
    // Containers that are open below the deepest level that is kept.
    let mut below = 0usize;
    let bytes = &text.as_bytes()[..offset.min(text.len())];
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'{' | b'[' if open.len() == LEVELS => below += 1,
            b'{' => open.push(Open::Object { key: None, expects_key: true }),
            b'[' => open.push(Open::Array { index: 0 }),
            b'}' | b']' if below > 0 => below -= 1,
            b'}' | b']' => {
                open.pop();
            }
            b',' if below > 0 => {}
            b',' => match open.last_mut() {
                Some(Open::Object { key, expects_key }) => (*key, *expects_key) = (None, true),
                Some(Open::Array { index }) => *index += 1,
                None => {}
            },
            b'"' => {
                let from = at;
                at += 1;
                while let Some(byte) = bytes.get(at) {
                    match byte {
                        b'"' => break,
                        b'\\' => at += 2,
                        _ => at += 1,
                    }
                }
                if below == 0
                    && let Some(Open::Object { key, expects_key: expects_key @ true }) = open.last_mut()
                {
                    let quoted = text.get(from..=at).unwrap_or("\"\"");
                    *key = serde_json::from_str(quoted).ok();
                    *expects_key = false;
                }
            }
            _ => {}
        }
        at += 1;
    }
    write_path(&open)
}

fn write_path(open: &[Open]) -> String {
    let mut path = String::new();
    for container in open {
        match container {
            Open::Object { key: Some(key), .. } => {
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(&shown(key));
            }
            Open::Object { key: None, .. } => {}
            Open::Array { index } => path.push_str(&format!("[{index}]")),
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_written_as_people_write_it() {
        let jobs = Place::ROOT.key("jobs");
        let job = jobs.index(17);
        assert_eq!(job.key("queue").to_string(), "jobs[17].queue");
        assert_eq!(Place::ROOT.key("queue").to_string(), "queue");
        assert_eq!(job.join("tags.a"), "jobs[17].tags.a");
        assert_eq!(Place::ROOT.join("a"), "a");
        assert_eq!(job.join(""), "jobs[17]");
    }

    #[test]
    fn the_path_is_that_of_the_value_before_the_offset() {
        let text = r#"{"jobs":[{"queue":"a","tags":{"x":1}},{"queue": 5, "x\"y": [1, {"z": null}]}]}"#;
        let at = |needle: &str| path_at(text, text.find(needle).unwrap() + needle.len());
        assert_eq!(at(r#""queue":"a""#), "jobs[0].queue");
        assert_eq!(at(r#""x":1"#), "jobs[0].tags.x");
        assert_eq!(at(r#"{"x":1}"#), "jobs[0].tags");
        assert_eq!(at(r#"{"x":1}}"#), "jobs[0]");
        assert_eq!(at(r#""queue": 5"#), "jobs[1].queue");
        assert_eq!(at(r#""z": null"#), "jobs[1].x\"y[1].z");
        assert_eq!(path_at(text, text.len()), "");
        assert_eq!(path_at("", 9), "");
    }

    #[test]
    fn what_was_deep_before_the_place_does_not_hide_it() {
        let deep = |n: usize| format!("{}1,\"x\"{}", "[1,".repeat(n), "]".repeat(n));
        for n in [1, 14, 15, 16, 100_000] {
            let text = format!(r#"{{"a":{},"b":5"#, deep(n));
            assert_eq!(path_at(&text, text.len()), "b", "{n}");
        }
    }

    #[test]
    fn a_name_is_shown_in_part() {
        assert_eq!(shown("a\u{0}b"), "ab");
        assert_eq!(shown(&"é".repeat(64)), "é".repeat(64));
        assert_eq!(shown(&"é".repeat(65)), "é".repeat(64) + "…");
        let long = "x".repeat(65);
        assert_eq!(Place::ROOT.key(&long).to_string().chars().count(), 65);
    }
}
