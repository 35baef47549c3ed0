// SPDX-License-Identifier: Apache-2.0
//! Which queues a caller may touch: everything, or what one of its globs matches.
//!
//! The leader stamps the caller's scope on the command, and apply checks it there, at the same moment as it
//! looks at the job: whatever is moved in between, nobody acts on a job outside of their queues. Two answers:
//!
//! - a queue that the caller *names* is refused by that name (`FORBIDDEN`), whether it exists or not;
//! - a job in a queue outside is not found, as if it did not exist.

use serde::{Deserialize, Serialize};

use crate::id::Name;

/// The queues that a caller may touch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Scope(Option<Vec<Name>>);

impl Scope {
    /// Every queue.
    pub const ALL: Self = Self(None);
    /// No queue at all.
    pub const NOTHING: Self = Self(Some(Vec::new()));

    /// The queues that one of these globs matches. In a glob `*` stands for any characters, none included,
    /// and `?` for one; everything else for itself. A glob `*` alone makes it every queue.
    #[must_use]
    pub fn of(globs: impl IntoIterator<Item = Name>) -> Self {
        let globs: Vec<Name> = globs.into_iter().collect();
        if globs.iter().any(|glob| !glob.is_empty() && glob.bytes().all(|b| b == b'*')) {
            return Self::ALL;
        }
        Self(Some(globs))
    }

    /// True if it is every queue, also those that do not exist yet.
    #[must_use]
    pub const fn is_all(&self) -> bool {
        self.0.is_none()
    }

    /// Its globs: `*` for every queue.
    #[must_use]
    pub fn globs(&self) -> Vec<Name> {
        self.0.clone().unwrap_or_else(|| vec!["*".into()])
    }

    /// About how many bytes it takes in the log.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.iter().flatten().map(|glob| glob.len() + 2).sum()
    }

    /// True if the caller may touch that queue.
    #[must_use]
    pub fn allows(&self, queue: &str) -> bool {
        match &self.0 {
            None => true,
            Some(globs) => globs.iter().any(|glob| matches(glob.as_bytes(), queue.as_bytes())),
        }
    }
}

/// Compares byte by byte and goes back to the last `*` only: the work is bounded by the product of the lengths.
fn matches(glob: &[u8], text: &[u8]) -> bool {
    let (mut g, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match glob.get(g) {
            Some(b'*') => {
                star = Some((g, t));
                g += 1;
            }
            Some(byte) if *byte == b'?' || *byte == text[t] => {
                g += 1;
                t += 1;
            }
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    g = at + 1;
                    t = from + 1;
                }
                None => return false,
            },
        }
    }
    glob[g..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_glob_matches_whole_names() {
        for (glob, yes, no) in [
            ("mail", &["mail"][..], &["mails", "xmail", "", "Mail"][..]),
            ("mail.*", &["mail.", "mail.eu", "mail.eu.slow"], &["mail", "email.eu", "mailx"]),
            ("*.mail", &[".mail", "a.mail", "a.b.mail"], &["mail", "a.mail.b"]),
            ("a*b*c", &["abc", "aXbYc", "abcbc", "abbcc"], &["ab", "abcd", "acb"]),
            ("m?il", &["mail", "mzil"], &["mil", "maail"]),
            ("?", &["a"], &["", "ab"]),
            ("a**b", &["ab", "axb"], &["a", "b"]),
            ("[a-z]", &[], &["a", "z"]),
            ("", &[""], &["a"]),
        ] {
            let scope = Scope::of([glob.into()]);
            assert!(yes.iter().all(|queue| scope.allows(queue)), "{glob} {yes:?}");
            assert!(!no.iter().any(|queue| scope.allows(queue)), "{glob} {no:?}");
        }
    }

    #[test]
    fn one_glob_is_enough_and_none_is_nothing() {
        let scope = Scope::of(["a.*".into(), "b".into()]);
        assert!(scope.allows("a.1") && scope.allows("b") && !scope.allows("c"));
        assert!(!Scope::NOTHING.allows("a") && !Scope::NOTHING.allows("") && !Scope::NOTHING.is_all());
        assert_eq!(Scope::of([]), Scope::NOTHING);
        assert!(Scope::of(["a".into(), "*".into()]).is_all() && Scope::of(["**".into()]).is_all());
        assert_eq!(Scope::ALL.globs(), ["*".into()]);
    }

    #[test]
    fn a_glob_of_stars_is_no_work() {
        let glob = format!("{}b", "*a".repeat(60));
        assert!(!Scope::of([glob.as_str().into()]).allows(&"a".repeat(128)));
    }
}
