// SPDX-License-Identifier: Apache-2.0
//! From typed keys and rows to the bytes in the keyspaces and back.

use std::any::Any;

use fjall::Slice;
use jobbie_broker::codec;
use jobbie_broker::tables::{Key, Pair, Space, Table};

use crate::keyspaces::Fault;

/// Writes a key as it lies in its keyspace: the number of the table, then the key.
pub(crate) fn write_key<T: Table>(key: &T::Key, out: &mut Vec<u8>) {
    out.clear();
    out.push(T::SPACE as u8);
    key.write(out);
}

/// A key as it lies in its keyspace.
pub(crate) fn key<T: Table>(key: &T::Key) -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    write_key::<T>(key, &mut out);
    out
}

/// The bounds of the rows whose key begins with `prefix` and is not below `from`.
pub(crate) fn bounds(space: Space, prefix: &[u8], from: Option<&[u8]>) -> (Vec<u8>, Vec<u8>) {
    let mut start = vec![space as u8];
    start.extend_from_slice(prefix);
    let mut end = start.clone();
    // The first byte is the number of a table and never 255, so there is always a byte to count up.
    while let Some(last) = end.pop() {
        if let Some(next) = last.checked_add(1) {
            end.push(next);
            break;
        }
    }
    if let Some(from) = from
        && from > prefix
    {
        start.truncate(1);
        start.extend_from_slice(from);
    }
    (start, end)
}

/// Reads a row.
pub(crate) fn row<T: Table>(key: &[u8], bytes: &[u8]) -> Result<T::Row, Fault> {
    codec::decode(bytes).map_err(|source| Fault::row(T::SPACE, key, source))
}

/// Reads a key as it lies in its keyspace.
pub(crate) fn read_key<T: Table>(bytes: &[u8]) -> Result<T::Key, Fault> {
    let key = bytes.split_first().and_then(|(_, key)| T::Key::from_bytes(key));
    key.ok_or_else(|| Fault::key(T::SPACE, bytes))
}

/// Reads a key and its row.
pub(crate) fn pair<T: Table>((key, bytes): &(Slice, Slice)) -> Result<Pair<T>, Fault> {
    Ok((read_key::<T>(key)?, row::<T>(key, bytes)?))
}

/// The same value under the type that its table says it has.
pub(crate) fn same<A: 'static, B: 'static>(value: &A) -> &B {
    let value: &dyn Any = value;
    value.downcast_ref().expect("a table has one key type and one row type")
}

/// The same value, moved, under the type that its table says it has.
pub(crate) fn moved<A: 'static, B: 'static>(value: A) -> B {
    let mut value = Some(value);
    let value: &mut dyn Any = &mut value;
    let value = value.downcast_mut::<Option<B>>().expect("a table has one key type and one row type");
    value.take().expect("it was put in two lines above")
}
