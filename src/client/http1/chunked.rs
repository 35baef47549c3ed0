// SPDX-License-Identifier: Apache-2.0
//! Decoder of chunked transfer encoding. Pure: bytes in, bytes out, any split of the input gives the same result.

use std::io;

/// Longest size line or trailer line that is accepted; real ones are under twenty bytes.
const MAX_LINE: usize = 4 << 10;

/// Where in the encoding the decoder is.
#[derive(Debug, Default)]
pub struct Chunked {
    state: State,
    line: Vec<u8>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Size,
    Data(u64),
    DataEnd,
    Trailer,
    Done,
}

impl Chunked {
    /// Whether the last chunk and the trailers were seen.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Appends decoded bytes to `out` and returns how much of `input` was used.
    pub fn decode(&mut self, input: &[u8], out: &mut Vec<u8>) -> io::Result<usize> {
        let mut used = 0;
        while used < input.len() && self.state != State::Done {
            let rest = &input[used..];
            if let State::Data(left) = self.state {
                let take = rest.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                out.extend_from_slice(&rest[..take]);
                used += take;
                let left = left - take as u64;
                self.state = if left == 0 { State::DataEnd } else { State::Data(left) };
                continue;
            }
            let (taken, complete) = match rest.iter().position(|b| *b == b'\n') {
                Some(end) => (end + 1, true),
                None => (rest.len(), false),
            };
            self.line.extend_from_slice(&rest[..taken]);
            used += taken;
            if self.line.len() > MAX_LINE {
                return Err(wrong("a line of the encoding is too long"));
            }
            if complete {
                self.state = self.after_line()?;
                self.line.clear();
            }
        }
        Ok(used)
    }

    fn after_line(&self) -> io::Result<State> {
        let line = self.line.trim_ascii();
        match self.state {
            State::Size => {
                let digits = line.split(|b| *b == b';').next().unwrap_or_default().trim_ascii();
                let digits =
                    std::str::from_utf8(digits).map_err(|_| wrong("a chunk size is not a number"))?;
                match u64::from_str_radix(digits, 16) {
                    Ok(0) => Ok(State::Trailer),
                    Ok(size) => Ok(State::Data(size)),
                    Err(_) => Err(wrong("a chunk size is not a number")),
                }
            }
            State::DataEnd if line.is_empty() => Ok(State::Size),
            State::DataEnd => Err(wrong("a chunk is longer than announced")),
            State::Trailer if line.is_empty() => Ok(State::Done),
            other => Ok(other),
        }
    }
}

fn wrong(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = b"4\r\nWiki\r\n6;x=1\r\npedia \r\nE\r\nin \r\n\r\nchunks.\r\n0\r\nX-T: 1\r\n\r\nNEXT";

    #[test]
    fn any_split_gives_the_same() {
        for step in 1..TEXT.len() {
            let (mut decoder, mut out, mut at) = (Chunked::default(), Vec::new(), 0);
            while !decoder.is_done() {
                let end = (at + step).min(TEXT.len());
                at += decoder.decode(&TEXT[at..end], &mut out).unwrap();
            }
            assert_eq!(out, b"Wikipedia in \r\n\r\nchunks.", "step {step}");
            assert_eq!(&TEXT[at..], b"NEXT");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [&b"zz\r\n"[..], b"2\r\nabc\r\n", b"-1\r\n", b"\r\n"] {
            assert!(Chunked::default().decode(text, &mut Vec::new()).is_err());
        }
    }
}
