// SPDX-License-Identifier: Apache-2.0
//! How deep a JSON text is nested, in one pass and without recursion.
//!
//! serde_json's own limit does not count inside a `RawValue`, so a payload of a hundred thousand brackets
//! would pass and break whoever parses it later.

/// The deepest nesting of arrays and objects in a text that may be JSON. Brackets in strings do not count;
/// what is not JSON gets some number and is refused by the parser.
#[must_use]
pub fn depth(text: &[u8]) -> usize {
    let (mut now, mut deepest) = (0usize, 0usize);
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        match byte {
            b'{' | b'[' => {
                now += 1;
                deepest = deepest.max(now);
            }
            b'}' | b']' => now = now.saturating_sub(1),
            b'"' => at = string_end(text, at + 1),
            _ => {}
        }
        at += 1;
    }
    deepest
}

/// The index of the quote that ends a string which begins at `at`, or the length of the text.
fn string_end(text: &[u8], mut at: usize) -> usize {
    while let Some(byte) = text.get(at) {
        match byte {
            b'"' => return at,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_are_counted_where_they_nest() {
        for (text, deep) in [
            ("", 0),
            ("1", 0),
            ("[]", 1),
            ("[[],{}]", 2),
            (r#"{"a":{"b":[1,[2]]}}"#, 4),
            (r#"{"a":"[[[[{{{{"}"#, 1),
            (r#"["\"[[[", "\\", [1]]"#, 2),
            (r#"["\\\"[["]"#, 1),
            ("]]]][", 1),
            (r#"["unterminated [["#, 1),
            ("[\"\\", 1),
        ] {
            assert_eq!(depth(text.as_bytes()), deep, "{text}");
        }
        assert_eq!(depth("[".repeat(100_000).as_bytes()), 100_000);
    }
}
