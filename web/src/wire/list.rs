// SPDX-License-Identifier: Apache-2.0
//! Shapes that serde does not check by itself: objects that may not be arrays, lists with an end, maps
//! without repeated keys, strings that are borrowed when they can be.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

use serde::de::{
    self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer,
};

/// An object, and nothing but an object: a derived struct alone would also be read from an array.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Obj<T>(pub T);

impl<T> Deref for Obj<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Obj<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Seen<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Seen<T> {
            type Value = T;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map))
            }
        }
        deserializer.deserialize_map(Seen(PhantomData)).map(Obj)
    }
}

/// A string; borrowed from the body unless it has escapes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Text<'a>(pub Cow<'a, str>);

impl Deref for Text<'_> {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Seen;
        impl<'de> Visitor<'de> for Seen {
            type Value = Text<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Seen)
    }
}

/// A list of at most `MAX` items. The end is checked while it is read, so that a body of tiny items cannot
/// take many times its size in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List<T, const MAX: usize>(pub Vec<T>);

impl<T, const MAX: usize> Default for List<T, MAX> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for List<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Seen<T, const MAX: usize>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for Seen<T, MAX> {
            type Value = Vec<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a list of at most {MAX} items")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<T>, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    if items.len() >= MAX {
                        return Err(de::Error::invalid_length(MAX + 1, &self));
                    }
                    items.push(item);
                }
                Ok(items)
            }
        }
        deserializer.deserialize_seq(Seen::<T, MAX>(PhantomData)).map(List)
    }
}

/// An object with keys of the caller's choice: at most `MAX`, each once, in the order they came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entries<'a, V, const MAX: usize>(pub Vec<(Text<'a>, V)>);

impl<V, const MAX: usize> Default for Entries<'_, V, MAX> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de: 'a, 'a, V: Deserialize<'de>, const MAX: usize> Deserialize<'de> for Entries<'a, V, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Seen<V, const MAX: usize>(PhantomData<V>);
        impl<'de, V: Deserialize<'de>, const MAX: usize> Visitor<'de> for Seen<V, MAX> {
            type Value = Vec<(Text<'de>, V)>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "an object with at most {MAX} members")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries: Self::Value = Vec::new();
                let mut seen = HashSet::new();
                while let Some(key) = map.next_key::<Text<'de>>()? {
                    if !seen.insert(key.clone()) {
                        return Err(de::Error::custom(format_args!("duplicate key {:?}", &*key)));
                    }
                    if entries.len() >= MAX {
                        return Err(de::Error::invalid_length(MAX + 1, &self));
                    }
                    entries.push((key, map.next_value()?));
                }
                Ok(entries)
            }
        }
        deserializer.deserialize_map(Seen::<V, MAX>(PhantomData)).map(Entries)
    }
}

/// Reads one of a few words. A derived enum would be refused as broken JSON when it is not a string at all.
///
/// # Errors
/// Naming the words.
pub fn word<'de, D: Deserializer<'de>, T: Copy>(
    deserializer: D,
    words: &'static [(&'static str, T)],
) -> Result<T, D::Error> {
    struct Seen<T: 'static>(&'static [(&'static str, T)]);
    impl<T: Copy> Visitor<'_> for Seen<T> {
        type Value = T;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            let words: Vec<&str> = self.0.iter().map(|(word, _)| *word).collect();
            write!(f, "one of {}", words.join(", "))
        }
        fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
            let found = self.0.iter().find(|(word, _)| *word == text);
            found.map(|(_, value)| *value).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
        }
    }
    deserializer.deserialize_str(Seen(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_borrowed_unless_escaped() {
        let plain: Text<'_> = serde_json::from_str(r#""abc""#).unwrap();
        assert!(matches!(plain.0, Cow::Borrowed("abc")));
        let escaped: Text<'_> = serde_json::from_str(r#""a\nb""#).unwrap();
        assert_eq!(&*escaped, "a\nb");
        assert!(serde_json::from_str::<Text<'_>>("5").is_err());
    }

    #[test]
    fn a_word_is_one_of_a_few() {
        let read =
            |json: &str| word(&mut serde_json::Deserializer::from_str(json), &[("on", true), ("off", false)]);
        assert!(read(r#""on""#).unwrap() && !read(r#""off""#).unwrap());
        for bad in [r#""On""#, "1", "null", "{}", "[]", "true"] {
            let error = read(bad).unwrap_err();
            assert!(error.is_data() && error.to_string().contains("one of on, off"), "{bad}: {error}");
        }
    }

    #[test]
    fn a_list_has_an_end() {
        assert_eq!(serde_json::from_str::<List<u8, 3>>("[1,2,3]").unwrap().0, [1, 2, 3]);
        let error = serde_json::from_str::<List<u8, 3>>("[1,2,3,4]").unwrap_err().to_string();
        assert!(error.contains("at most 3 items"), "{error}");
    }

    #[test]
    fn a_key_may_be_there_once() {
        let ok: Entries<'_, u8, 2> = serde_json::from_str(r#"{"a":1,"b":2}"#).unwrap();
        assert_eq!(ok.0.len(), 2);
        let error = serde_json::from_str::<Entries<'_, u8, 9>>(r#"{"a":1,"\u0061":2}"#).unwrap_err();
        assert!(error.to_string().contains("duplicate key \"a\""), "{error}");
        assert!(serde_json::from_str::<Entries<'_, u8, 1>>(r#"{"a":1,"b":2}"#).is_err());
    }

    #[test]
    fn an_object_is_not_an_array() {
        #[derive(Debug, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Pair {
            a: u8,
        }
        assert_eq!(serde_json::from_str::<Obj<Pair>>(r#"{"a":1}"#).unwrap().a, 1);
        assert!(serde_json::from_str::<Pair>("[1]").is_ok(), "the reason for Obj");
        let error = serde_json::from_str::<Obj<Pair>>("[1]").unwrap_err().to_string();
        assert!(error.contains("expected an object"), "{error}");
    }
}
