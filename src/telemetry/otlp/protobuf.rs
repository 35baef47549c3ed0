// SPDX-License-Identifier: Apache-2.0
//! As much of Protocol Buffers as OTLP needs to be written: fields with their numbers, nothing is ever read.
//!
//! OTLP's messages are few, frozen at version 1, and written in one direction; code that is generated for all of
//! them would be the largest dependency of the server.

const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const LENGTH: u64 = 2;
const FIXED32: u64 = 5;

/// A message that is being written. Fields that have their default are left out, as the format says.
#[derive(Clone, Debug, Default)]
pub struct Message(Vec<u8>);

impl Message {
    /// Its bytes.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn key(&mut self, field: u32, kind: u64) {
        self.varint(u64::from(field) << 3 | kind);
    }

    /// Bytes, text or a message, also if empty: an element of a list, or one side of a choice.
    pub fn element(&mut self, field: u32, bytes: &[u8]) {
        self.key(field, LENGTH);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    /// Bytes or text.
    pub fn bytes(&mut self, field: u32, bytes: impl AsRef<[u8]>) {
        if !bytes.as_ref().is_empty() {
            self.element(field, bytes.as_ref());
        }
    }

    /// A message within this one.
    pub fn message(&mut self, field: u32, message: &Self) {
        self.element(field, &message.0);
    }

    /// A number from 0 on, an enumeration, or a truth value.
    pub fn number(&mut self, field: u32, value: u64) {
        if value != 0 {
            self.chosen_number(field, value as i64);
        }
    }

    /// A signed number as one side of a choice: written also if it is 0.
    pub fn chosen_number(&mut self, field: u32, value: i64) {
        self.key(field, VARINT);
        self.varint(value as u64);
    }

    /// Eight bytes.
    pub fn fixed64(&mut self, field: u32, value: u64) {
        if value != 0 {
            self.key(field, FIXED64);
            self.0.extend_from_slice(&value.to_le_bytes());
        }
    }

    /// Four bytes.
    pub fn fixed32(&mut self, field: u32, value: u32) {
        if value != 0 {
            self.key(field, FIXED32);
            self.0.extend_from_slice(&value.to_le_bytes());
        }
    }

    /// A number with a fraction as one side of a choice, or that may be absent: written also if it is 0.
    pub fn double(&mut self, field: u32, value: f64) {
        self.key(field, FIXED64);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    /// A list of eight bytes each.
    pub fn packed(&mut self, field: u32, values: impl Iterator<Item = [u8; 8]>) {
        self.bytes(field, values.flatten().collect::<Vec<u8>>());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of the format's documentation, and what their rules give.
    #[test]
    fn fields_are_written_as_the_format_says() {
        let write = |fields: &dyn Fn(&mut Message)| {
            let mut message = Message::default();
            fields(&mut message);
            message.into_bytes()
        };
        assert_eq!(write(&|m| m.number(1, 150)), [0x08, 0x96, 0x01]);
        assert_eq!(write(&|m| m.bytes(2, "testing")), b"\x12\x07testing");
        let inner = write(&|m| {
            let mut inner = Message::default();
            inner.number(1, 150);
            m.message(3, &inner);
        });
        assert_eq!(inner, [0x1a, 0x03, 0x08, 0x96, 0x01]);
        assert_eq!(write(&|m| m.chosen_number(1, -2))[1..], [254, 255, 255, 255, 255, 255, 255, 255, 255, 1]);
        assert_eq!(write(&|m| m.fixed64(16, 1)), [0x81, 0x01, 1, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(write(&|m| m.fixed32(1, 258)), [0x0d, 2, 1, 0, 0]);
        assert_eq!(write(&|m| m.double(1, 1.0)), [0x09, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f]);
        assert_eq!(write(&|m| m.packed(6, [1u64.to_le_bytes()].into_iter()))[..3], [0x32, 8, 1]);
        let nothing = write(&|m| {
            m.number(1, 0);
            m.bytes(2, "");
            m.fixed64(3, 0);
            m.packed(4, std::iter::empty());
        });
        assert_eq!(nothing, [0u8; 0]);
    }
}
