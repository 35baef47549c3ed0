// SPDX-License-Identifier: Apache-2.0
use super::*;
use crate::apply::testing::Bed;
use crate::body::Json;
use crate::command::PutDoc;
use crate::document::Expect;
use crate::reject::Code;

fn put(key: &str, value: Option<&str>, expect: Expect) -> PutDoc {
    PutDoc { space: "test".into(), key: key.into(), value: value.map(Json::from), expect }
}

fn docs<const N: usize>(docs: [PutDoc; N]) -> PutDocs {
    PutDocs { docs: docs.into() }
}

impl Bed {
    fn put<const N: usize>(&mut self, puts: [PutDoc; N]) -> Vec<u64> {
        match self.run(docs(puts)) {
            Reply::Docs(versions) => versions,
            other => panic!("{other:?}"),
        }
    }

    fn doc(&mut self, key: &str) -> Option<Document> {
        self.tables.get::<Docs>(&("test".into(), key.into())).unwrap()
    }
}

#[test]
fn a_document_is_kept_as_it_came_with_who_put_it() {
    let mut bed = Bed::new();
    let versions = bed.put([put("a", Some("{ \"x\": 1 }"), Expect::Absent)]);
    let doc = bed.doc("a").unwrap();
    assert_eq!((doc.value, doc.version), (Json::from("{ \"x\": 1 }"), versions[0]));
    assert_eq!((doc.put_at, &*doc.put_by), (bed.now, "tester"));
    assert_eq!(bed.news(), [""; 0]);
}

#[test]
fn a_write_that_expects_something_else_is_refused_with_all_that_came_with_it() {
    let mut bed = Bed::new();
    let first = bed.put([put("a", Some("1"), Expect::Absent)])[0];
    let second = bed.put([put("a", Some("2"), Expect::Version(first))])[0];
    assert!(second > first);
    for stale in [Expect::Absent, Expect::Version(first), Expect::Version(second + 1)] {
        let both = docs([put("b", Some("1"), Expect::Anything), put("a", Some("3"), stale)]);
        assert_eq!(bed.refused(both), Code::Conflict, "{stale:?}");
    }
    assert_eq!(bed.doc("a").unwrap().value, Json::from("2"));
    assert_eq!(bed.doc("b"), None);
    assert_eq!(bed.refused(docs([put("c", Some("1"), Expect::Version(1))])), Code::Conflict);
}

#[test]
fn a_document_that_was_removed_and_written_again_has_another_version() {
    let mut bed = Bed::new();
    let first = bed.put([put("a", Some("1"), Expect::Anything)])[0];
    assert_eq!(bed.put([put("a", None, Expect::Version(first))]), [0]);
    assert_eq!(bed.doc("a"), None);
    let again = bed.put([put("a", Some("1"), Expect::Absent)])[0];
    assert_ne!(again, first);
    assert_eq!(bed.refused(docs([put("a", None, Expect::Version(first))])), Code::Conflict);
}

#[test]
fn removing_what_is_not_there_is_fine_unless_something_is_expected() {
    let mut bed = Bed::new();
    assert_eq!(bed.put([put("a", None, Expect::Anything)]), [0]);
    assert_eq!(bed.refused(docs([put("a", None, Expect::Version(7))])), Code::Conflict);
}

#[test]
fn a_document_is_named_once_in_a_command() {
    let mut bed = Bed::new();
    let twice = docs([put("a", Some("1"), Expect::Absent), put("a", Some("2"), Expect::Absent)]);
    assert_eq!(bed.refused(twice), Code::Conflict);
    assert_eq!(bed.doc("a"), None);
}
