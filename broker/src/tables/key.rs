// SPDX-License-Identifier: Apache-2.0
//! Keys as bytes that sort as the keys mean.
//!
//! Numbers are big-endian. A [`Name`] holds no zero byte (the edge sees to that), so it ends with one.

use crate::id::{JobNo, Name, QueueKey};
use crate::time::Timestamp;

/// A key: bytes whose order is the order of the keys.
pub trait Key: Sized {
    /// Appends the key's bytes.
    fn write(&self, out: &mut Vec<u8>);
    /// Takes a key off the front of `bytes`; `None` if they are not such a key.
    fn read(bytes: &mut &[u8]) -> Option<Self>;

    /// The key's bytes.
    fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(48);
        self.write(&mut out);
        out
    }

    /// The key of exactly these bytes.
    fn from_bytes(mut bytes: &[u8]) -> Option<Self> {
        let key = Self::read(&mut bytes)?;
        bytes.is_empty().then_some(key)
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*head)
}

impl Key for () {
    fn write(&self, _: &mut Vec<u8>) {}
    fn read(_: &mut &[u8]) -> Option<Self> {
        Some(())
    }
}

impl Key for u8 {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(*self);
    }
    fn read(bytes: &mut &[u8]) -> Option<Self> {
        Some(take::<1>(bytes)?[0])
    }
}

impl Key for u64 {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_be_bytes());
    }
    fn read(bytes: &mut &[u8]) -> Option<Self> {
        Some(Self::from_be_bytes(take::<8>(bytes)?))
    }
}

impl Key for JobNo {
    fn write(&self, out: &mut Vec<u8>) {
        self.0.write(out);
    }
    fn read(bytes: &mut &[u8]) -> Option<Self> {
        u64::read(bytes).map(Self)
    }
}

impl Key for Timestamp {
    fn write(&self, out: &mut Vec<u8>) {
        self.0.write(out);
    }
    fn read(bytes: &mut &[u8]) -> Option<Self> {
        u64::read(bytes).map(Self)
    }
}

impl Key for Name {
    fn write(&self, out: &mut Vec<u8>) {
        debug_assert!(!self.as_bytes().contains(&0), "names hold no zero byte");
        out.extend_from_slice(self.as_bytes());
        out.push(0);
    }
    fn read(bytes: &mut &[u8]) -> Option<Self> {
        let end = bytes.iter().position(|byte| *byte == 0)?;
        let name = std::str::from_utf8(&bytes[..end]).ok()?.into();
        *bytes = &bytes[end + 1..];
        Some(name)
    }
}

impl Key for QueueKey {
    fn write(&self, out: &mut Vec<u8>) {
        self.namespace.write(out);
        self.queue.write(out);
    }
    fn read(bytes: &mut &[u8]) -> Option<Self> {
        Some(Self { namespace: Name::read(bytes)?, queue: Name::read(bytes)? })
    }
}

impl<A: Key, B: Key> Key for (A, B) {
    fn write(&self, out: &mut Vec<u8>) {
        self.0.write(out);
        self.1.write(out);
    }
    fn read(bytes: &mut &[u8]) -> Option<Self> {
        Some((A::read(bytes)?, B::read(bytes)?))
    }
}

/// Gives a struct the key that its fields make in the order listed.
macro_rules! key_of_fields {
    ($name:ident { $($field:ident),+ }) => {
        impl $crate::tables::Key for $name {
            fn write(&self, out: &mut Vec<u8>) {
                $(self.$field.write(out);)+
            }
            fn read(bytes: &mut &[u8]) -> Option<Self> {
                Some(Self { $($field: $crate::tables::Key::read(bytes)?),+ })
            }
        }
    };
}
pub(crate) use key_of_fields;
