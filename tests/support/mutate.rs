// SPDX-License-Identifier: Apache-2.0
//! Fuzzing on a stable compiler: inputs that are nearly right, made from good ones by a seeded dice.
//!
//! Each target is a plain function of bytes. It panics if a promise is broken, and says whether the input was accepted:
//! accepted inputs are kept and changed further, so that a run walks away from where it began. A run is a fixed number
//! of rounds of a fixed seed, the same on every machine; `FUZZ_SEED=7 FUZZ_ROUNDS=100 cargo test --test fuzz` looks
//! elsewhere and a hundred times longer. A failure prints the input that caused it.

#![allow(dead_code)] // each test binary uses its own part of this

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Inputs that are kept to be changed further; beyond that one of them is replaced.
const KEPT: usize = 512;
/// Longer inputs are not made: what only length can break has tests of its own.
const LONGEST: usize = 16 << 10;
/// More address space than this is taken by nobody but an allocation that believes a length it has read.
const ALLOWED_KIB: u64 = 768 << 10;

/// Numbers at which something is cut, doubled or overflows, in both byte orders.
const NUMBERS: [u64; 12] = [
    0,
    1,
    0x7f,
    0xff,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0xffff_ffff,
    0x3fff_ffff,
    0x7fff_ffff_ffff_ffff,
    0xffff_ffff_ffff_ffff,
    1 << 30,
];

/// Seeded randomness (SplitMix64).
pub struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    /// A stretch of something that long, mostly a short one.
    fn stretch(&mut self, of: usize) -> std::ops::Range<usize> {
        let start = self.below(of + 1);
        let longest = if self.below(4) == 0 { of } else { 16 };
        start..(start + self.below(longest + 1)).min(of)
    }
}

fn variable(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// Runs a target: first every seed, which must be accepted, then `rounds` inputs made from them.
#[track_caller]
pub fn fuzz(name: &str, seeds: &[&[u8]], words: &[&str], rounds: u64, target: impl Fn(&[u8]) -> bool) {
    let seed = variable("FUZZ_SEED", 1);
    let taken = address_space();
    let mut kept: Vec<Vec<u8>> = seeds.iter().map(|seed| seed.to_vec()).collect();
    for input in &kept {
        assert!(attempt(name, seed, input, &target), "{name}: a seed is refused: {}", input.escape_ascii());
    }
    let mut dice = Dice(seed ^ name.bytes().fold(0, |hash: u64, byte| hash.rotate_left(7) ^ u64::from(byte)));
    let mut accepted = 0;
    let rounds = rounds * variable("FUZZ_ROUNDS", 1);
    for _ in 0..rounds {
        let input = changed(&kept, words, &mut dice);
        if attempt(name, seed, &input, &target) {
            accepted += 1;
            match kept.len() {
                KEPT => {
                    // The seeds stay.
                    let at = seeds.len() + dice.below(KEPT - seeds.len());
                    kept[at] = input;
                }
                _ => kept.push(input),
            }
        }
    }
    println!("{name}: {rounds} inputs, {accepted} accepted");
    if let (Some(before), Some(after)) = (taken, address_space()) {
        assert!(after < before + ALLOWED_KIB, "{name}: the address space has grown to {after} KiB");
    }
}

fn attempt(name: &str, seed: u64, input: &[u8], target: &impl Fn(&[u8]) -> bool) -> bool {
    catch_unwind(AssertUnwindSafe(|| target(input))).unwrap_or_else(|panic| {
        eprintln!("{name} fails with FUZZ_SEED={seed} on b\"{}\"", input.escape_ascii());
        resume_unwind(panic)
    })
}

/// The most address space that the process has had, where that can be asked: also what was asked for and not used.
fn address_space() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmPeak:"))?;
    line.split_whitespace().next()?.parse().ok()
}

fn changed(kept: &[Vec<u8>], words: &[&str], dice: &mut Dice) -> Vec<u8> {
    let mut input = kept[dice.below(kept.len())].clone();
    for _ in 0..=dice.below(3) {
        change(&mut input, kept, words, dice);
    }
    input.truncate(LONGEST);
    input
}

fn change(input: &mut Vec<u8>, kept: &[Vec<u8>], words: &[&str], dice: &mut Dice) {
    let at = dice.below(input.len());
    match dice.below(11) {
        0 if !input.is_empty() => input[at] ^= 1 << dice.below(8),
        1 if !input.is_empty() => input[at] = dice.next() as u8,
        2 => _ = input.drain(dice.stretch(input.len())),
        3 => {
            let part = input[dice.stretch(input.len())].to_vec();
            insert(input, &part, dice);
        }
        4 => {
            let other = &kept[dice.below(kept.len())];
            let part = other[dice.stretch(other.len())].to_vec();
            let place = dice.stretch(input.len());
            input.splice(place, part);
        }
        5 => input.truncate(at),
        6 => {
            let number = NUMBERS[dice.below(NUMBERS.len())];
            let bytes = if dice.below(2) == 0 { number.to_le_bytes() } else { number.to_be_bytes() };
            let size = [1, 2, 4, 8][dice.below(4)];
            let bytes = if dice.below(2) == 0 { &bytes[..size] } else { &bytes[8 - size..] };
            for (place, byte) in input.iter_mut().skip(at).zip(bytes) {
                *place = *byte;
            }
        }
        7 => {
            // A whole number in a text becomes another.
            let digit = input.iter().skip(at).position(u8::is_ascii_digit).map(|found| at + found);
            if let Some(start) = digit {
                let length = input[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
                let number = NUMBERS[dice.below(NUMBERS.len())].wrapping_add(dice.next() % 3);
                input.splice(start..start + length, number.to_string().into_bytes());
            }
        }
        8 => {
            let other = kept[dice.below(kept.len())].clone();
            input.truncate(at);
            input.extend_from_slice(&other[dice.below(other.len() + 1)..]);
        }
        _ if !words.is_empty() => {
            let word = words[dice.below(words.len())].as_bytes();
            match dice.below(2) {
                0 => insert(input, word, dice),
                _ => _ = input.splice(dice.stretch(input.len()), word.iter().copied()),
            }
        }
        _ => {
            let byte = [dice.next() as u8];
            insert(input, &byte, dice);
        }
    }
}

fn insert(input: &mut Vec<u8>, part: &[u8], dice: &mut Dice) {
    let at = dice.below(input.len() + 1);
    input.splice(at..at, part.iter().copied());
}
