// SPDX-License-Identifier: Apache-2.0
//! Secrets: where they come from, and how one that is presented is compared with what is stored.

use std::fmt;
use std::hint::black_box;

use sha2::{Digest as _, Sha256};

/// What a minted secret begins with, so that scanners of repositories and logs know it.
const PREFIX: &str = "jb_";
/// Lower case, without letters and digits that look alike (Crockford).
const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// The SHA-256 of a secret: all that is kept of it.
#[derive(Clone, Copy)]
pub struct Secret([u8; 32]);

impl Secret {
    /// Of the text that was presented.
    #[must_use]
    pub fn of(text: &str) -> Self {
        Self(Sha256::digest(text.as_bytes()).into())
    }

    /// From its hexadecimal form; `None` if it is none.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        if text.len() != 64 || !text.is_ascii() {
            return None;
        }
        for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        }
        Some(Self(bytes))
    }

    /// In hexadecimal.
    #[must_use]
    pub fn to_hex(self) -> String {
        hex(&self.0)
    }

    /// Where to look for it: enough to find few candidates, and all that the time of a look tells.
    #[must_use]
    pub const fn bucket(&self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        u64::from_le_bytes([a, b, c, d, e, f, g, h])
    }

    /// Compares in constant time.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        let differ = self.0.iter().zip(&other.0).fold(0, |differ, (a, b)| black_box(differ | (a ^ b)));
        black_box(differ) == 0
    }
}

/// A hash is no secret, but it has no place in a log either.
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// A new secret: `jb_` and 52 characters with 256 random bits.
///
/// # Errors
/// If the operating system gives no randomness.
pub fn mint() -> Result<String, getrandom::Error> {
    let mut text = String::from(PREFIX);
    let mut random = [0; 33];
    getrandom::fill(&mut random)?;
    let (mut bits, mut held) = (0u32, 0);
    let mut bytes = random.iter();
    while text.len() < PREFIX.len() + 52 {
        if held < 5 {
            bits = (bits << 8) | u32::from(*bytes.next().unwrap_or(&0));
            held += 8;
        }
        held -= 5;
        text.push(char::from(DIGITS[(bits >> held) as usize & 31]));
    }
    Ok(text)
}

/// An id that nothing has yet: a prefix and 64 random bits.
///
/// # Errors
/// If the operating system gives no randomness.
pub fn id(prefix: &str) -> Result<String, getrandom::Error> {
    let mut random = [0; 8];
    getrandom::fill(&mut random)?;
    Ok(format!("{prefix}{}", hex(&random)))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn a_secret_is_known_by_its_hash() {
        let secret = Secret::of("abc");
        assert_eq!(secret.to_hex(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert!(secret.is(&Secret::from_hex(&secret.to_hex()).unwrap()));
        assert_eq!(format!("{secret:?}"), "Secret(…)");
        for bad in ["", "ba78", &"g".repeat(64), &"é".repeat(32), &"0".repeat(65)] {
            assert!(Secret::from_hex(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn every_bit_of_a_hash_counts() {
        let secret = Secret::of("abc");
        for bit in 0..256 {
            let mut other = secret;
            other.0[bit / 8] ^= 1 << (bit % 8);
            assert!(!secret.is(&other), "{bit}");
        }
        assert!(secret.is(&secret));
    }

    #[test]
    fn secrets_and_ids_are_fresh_and_plain() {
        let secrets: HashSet<String> = (0..100).map(|_| mint().unwrap()).collect();
        assert_eq!(secrets.len(), 100);
        let used: HashSet<u8> = secrets.iter().flat_map(|secret| secret.bytes().skip(3)).collect();
        assert_eq!(used.len(), 32, "all digits are used");
        assert!(secrets.iter().all(|s| s.len() == 55 && s.starts_with("jb_") && s.is_ascii()));
        assert!(id("key_").unwrap().len() == 20 && id("key_").unwrap() != id("key_").unwrap());
    }
}
