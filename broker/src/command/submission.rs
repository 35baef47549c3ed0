// SPDX-License-Identifier: Apache-2.0
//! A command with its caller, and how the two travel in the log.

use serde::de::{self, SeqAccess, Visitor};
use serde::ser::SerializeTuple;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Command;
use crate::id::Name;
use crate::scope::Scope;

/// A command with who asked for it.
///
/// In the log it is an array of `by`, `namespace` and `command`, and of `scope` if that is not every queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submission {
    /// The principal: a key's id, or `anonymous` when there are no keys, or `broker` for upkeep.
    pub by: Name,
    /// The namespace that the command acts in.
    pub namespace: Name,
    /// The queues that the principal may touch.
    pub scope: Scope,
    /// What is asked.
    pub command: Command,
}

impl Serialize for Submission {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let scoped = !self.scope.is_all();
        let mut parts = serializer.serialize_tuple(if scoped { 4 } else { 3 })?;
        parts.serialize_element(&self.by)?;
        parts.serialize_element(&self.namespace)?;
        parts.serialize_element(&self.command)?;
        if scoped {
            parts.serialize_element(&self.scope)?;
        }
        parts.end()
    }
}

impl<'de> Deserialize<'de> for Submission {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Parts;
        impl<'de> Visitor<'de> for Parts {
            type Value = Submission;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a principal, a namespace, a command, and maybe a scope")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Submission, A::Error> {
                let missing = |at| de::Error::invalid_length(at, &"three or four parts");
                Ok(Submission {
                    by: seq.next_element()?.ok_or_else(|| missing(0))?,
                    namespace: seq.next_element()?.ok_or_else(|| missing(1))?,
                    command: seq.next_element()?.ok_or_else(|| missing(2))?,
                    scope: seq.next_element()?.unwrap_or(Scope::ALL),
                })
            }
        }
        deserializer.deserialize_seq(Parts)
    }
}
