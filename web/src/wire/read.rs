// SPDX-License-Identifier: Apache-2.0
//! From the bytes of a body to the fields of an endpoint, and from a parser's complaint to a sentence.

use serde::Deserialize;
use serde_json::error::Category;

use super::list::Obj;
use super::place::{Place, path_at, shown};
use crate::error::{Code, Detail, Problem};

/// The text of a body: UTF-8 and not empty. How deep it is nested does not matter to the parser, which does
/// not recurse into what it has no field for; opaque values are measured where they are taken.
///
/// # Errors
/// `VALIDATION`.
pub fn text(bytes: &[u8]) -> Result<&str, Problem> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(Problem::field("", "is empty, expected a JSON object"));
    }
    std::str::from_utf8(bytes)
        .map_err(|e| Problem::field("", format!("is not valid UTF-8 at byte {}", e.valid_up_to())))
}

/// Reads an object with the fields of `T`; every other field is refused.
///
/// # Errors
/// `VALIDATION`, naming the field.
pub fn object<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, Problem> {
    object_at(text, &Place::ROOT)
}

/// Reads an object that stands at some place of a larger body.
///
/// # Errors
/// `VALIDATION`, naming the field with its place.
pub fn object_at<'a, T: Deserialize<'a>>(text: &'a str, place: &Place<'_>) -> Result<T, Problem> {
    serde_json::from_str::<Obj<T>>(text).map(|object| object.0).map_err(|error| explain(text, place, &error))
}

/// What serde_json's error means for the caller.
fn explain(text: &str, place: &Place<'_>, error: &serde_json::Error) -> Problem {
    let message = error.to_string();
    let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(start, _)| start);
    if error.classify() != Category::Data {
        let (line, column) = (error.line(), error.column());
        return Problem::new(
            Code::Validation,
            format!("the body is not valid JSON: {message} (line {line}, column {column})"),
        );
    }
    let path = path_at(text, offset(text, error.line(), error.column()));
    if let Some(rest) = message.strip_prefix("unknown field `") {
        return unknown_field(place, &path, rest);
    }
    if let Some(name) = message.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`')) {
        let object = place.join(&path);
        return Problem::field(child(&object, name), "is missing");
    }
    let field = place.join(&path);
    if message.starts_with("duplicate ") {
        return Problem::field(field, "is there twice");
    }
    let message = match message.rsplit_once(", expected ") {
        Some((found, expected)) => format!("{}, expected {expected}", shown(found)),
        None => message.to_owned(),
    };
    Problem::field(field, format!("is wrong: {message}"))
}

fn child(object: &str, name: &str) -> String {
    if object.is_empty() { name.to_owned() } else { format!("{object}.{name}") }
}

fn unknown_field(place: &Place<'_>, path: &str, rest: &str) -> Problem {
    let (name, names) = rest
        .rsplit_once("`, expected ")
        .unwrap_or_else(|| (rest.rsplit_once("`, there are no fields").map_or(rest, |(name, _)| name), ""));
    // Between the names that serde lists in backquotes stand commas and words.
    let allowed: Vec<String> = names.split('`').skip(1).step_by(2).map(ToOwned::to_owned).collect();
    // The parser stopped at the key, so the path ends with it.
    let (field, name) = (place.join(path), shown(name));
    let field = if field.ends_with(&name) { field } else { child(&field, &name) };
    let sentence = match allowed.as_slice() {
        [] => "is not a field; none are allowed here".to_owned(),
        names => format!("is not a field; allowed are {}", names.join(", ")),
    };
    Problem::field(field, sentence).with("allowed", Detail::List(allowed))
}

/// The byte offset of a line and column as serde_json counts them: from 1, columns in bytes.
fn offset(text: &str, line: usize, column: usize) -> usize {
    let before = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum::<usize>();
    before + column
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Entries, List, Text};

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct Job<'a> {
        #[serde(borrow)]
        queue: Text<'a>,
        #[serde(default)]
        tries: u32,
        #[serde(borrow, default)]
        tags: Entries<'a, Text<'a>, 3>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct Jobs<'a> {
        #[serde(borrow)]
        jobs: List<Obj<Job<'a>>, 3>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Nothing {}

    fn field(problem: &Problem) -> &str {
        problem
            .details
            .iter()
            .find_map(|(name, detail)| match detail {
                Detail::Text(text) if *name == "field" => Some(text.as_str()),
                _ => None,
            })
            .unwrap_or("")
    }

    #[test]
    fn a_refusal_names_the_field_and_its_place() {
        for (body, at, sentence) in [
            (
                r#"{"jobs":[{"queue":"a"},{"queue":5}]}"#,
                "jobs[1].queue",
                "is wrong: invalid type: integer `5`, expected a string",
            ),
            (r#"{"jobs":[{"queue":{}}]}"#, "jobs[0].queue", "expected a string"),
            (r#"{"jobs":[{"queue":"a","tries":-1}]}"#, "jobs[0].tries", "expected u32"),
            (
                r#"{"jobs":[{"queue":"a","tires":1}]}"#,
                "jobs[0].tires",
                "is not a field; allowed are queue, tries, tags",
            ),
            (r#"{"jobs":[{"queue":"a"},{"tries":1}]}"#, "jobs[1].queue", "is missing"),
            (r#"{"jobs":[{"queue":"a","queue":"b"}]}"#, "jobs[0].queue", "is there twice"),
            (r#"{"jobs":[{"queue":"a","tags":{"x":"1","x":"2"}}]}"#, "jobs[0].tags.x", "is there twice"),
            (r#"{"jobs":[["a"]]}"#, "jobs[0]", "expected an object"),
            (r#"{"jobs":{}}"#, "jobs", "expected a list"),
            ("{\"jobs\":\n[{\"queue\":\"é\",\n \"tries\": true}]}", "jobs[0].tries", "expected u32"),
            (r#"{"job":[]}"#, "job", "allowed are jobs"),
            (r#"{}"#, "jobs", "is missing"),
            (r#"{"jobs":[],"jobs":[]}"#, "jobs", "is there twice"),
            ("[]", "", "expected an object"),
            ("null", "", "expected an object"),
        ] {
            let problem = object::<Jobs<'_>>(body).unwrap_err();
            assert_eq!(field(&problem), at, "{body}: {problem}");
            assert!(problem.message.contains(sentence), "{body}: {problem}");
            assert_eq!(problem.code, Code::Validation);
        }
    }

    #[test]
    fn an_endpoint_without_fields_says_so() {
        let problem = object::<Nothing>(r#"{"x":1}"#).unwrap_err();
        assert_eq!(
            (field(&problem), problem.message.as_str()),
            ("x", "x is not a field; none are allowed here")
        );
    }

    #[test]
    fn what_is_not_json_is_refused_with_a_position() {
        for body in [
            r#"{"jobs":["#,
            r#"{"jobs":[]} x"#,
            r#"{"jobs":[],}"#,
            "{'jobs':[]}",
            "\u{feff}{}",
            r#"{"jobs":[NaN]}"#,
        ] {
            let problem = object::<Jobs<'_>>(body).unwrap_err();
            assert!(problem.message.starts_with("the body is not valid JSON"), "{body}: {problem}");
        }
    }

    #[test]
    fn a_body_is_text() {
        for (bytes, sentence) in [
            (b"".as_slice(), "is empty"),
            (b" \n", "is empty"),
            (b"{\"a\":\"\xff\"}", "is not valid UTF-8 at byte 6"),
        ] {
            let problem = text(bytes).unwrap_err();
            assert!(problem.message.contains(sentence), "{problem}");
        }
        assert_eq!(text(b"{}").unwrap(), "{}");
    }

    #[test]
    fn a_body_of_brackets_is_refused_without_recursion() {
        let deep = "[".repeat(1_000_000);
        for body in [deep.clone(), format!(r#"{{"jobs":{deep}"#), format!(r#"{{"jobs":[{{"queue":{deep}"#)] {
            let problem = object::<Jobs<'_>>(text(body.as_bytes()).unwrap()).unwrap_err();
            assert_eq!(problem.code, Code::Validation);
            assert!(problem.message.len() < 200, "{problem}");
        }
    }

    #[test]
    fn a_long_name_or_value_is_cut_where_it_is_repeated() {
        let long = "x".repeat(100_000);
        for (body, at) in [
            (format!(r#"{{"jobs":[{{"{long}":1}}]}}"#), "jobs[0].xxx"),
            (format!(r#"{{"{long}":1}}"#), "xxx"),
            (format!(r#"{{"jobs":[{{"queue":"a","tags":{{"{long}":1}}}}]}}"#), "jobs[0].tags.xxx"),
            (
                format!(r#"{{"jobs":[{{"queue":"a","tags":{{"{long}":"1","{long}":"1"}}}}]}}"#),
                "jobs[0].tags.xxx",
            ),
            (format!(r#"{{"jobs":[{{"queue":"a","tries":"{long}"}}]}}"#), "jobs[0].tries"),
        ] {
            let problem = object::<Jobs<'_>>(&body).unwrap_err();
            assert!(field(&problem).starts_with(at) && field(&problem).len() < 100, "{problem}");
            assert!(problem.message.len() < 250, "{problem}");
        }
        let wrong = format!(r#"{{"jobs":[{{"queue":"a","tries":"{long}"}}]}}"#);
        let problem = object::<Jobs<'_>>(&wrong).unwrap_err();
        assert!(problem.message.ends_with("…, expected u32"), "what is allowed is still said: {problem}");
    }

    #[test]
    fn a_name_with_a_backquote_is_not_taken_apart() {
        let problem = object::<Jobs<'_>>(r#"{"a`, expected `b":1}"#).unwrap_err();
        assert_eq!(problem.message, "a`, expected `b is not a field; allowed are jobs");
    }

    #[test]
    fn a_place_above_is_put_in_front() {
        let acks = Place::ROOT.key("acks");
        let problem = object_at::<Job<'_>>(r#"{"queue":1}"#, &acks.index(3)).unwrap_err();
        assert_eq!(field(&problem), "acks[3].queue");
        let problem = object_at::<Job<'_>>("7", &acks.index(3)).unwrap_err();
        assert_eq!(field(&problem), "acks[3]");
    }
}
