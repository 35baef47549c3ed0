// SPDX-License-Identifier: Apache-2.0
//! Reading what a child writes, bounded: a command that prints for ever must not fill the worker's memory, and must
//! not block on a full pipe either.

use std::collections::VecDeque;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::task::JoinHandle;

/// The server's largest result.
const MAX_STDOUT: usize = 1 << 20;
/// Lines of stderr that are kept for the job's record.
const MAX_LINES: usize = 20;
/// Bytes of one such line: all of them stay below the server's limits for an error (16 KiB) and a backtrace (64 KiB).
const MAX_LINE: usize = 1 << 10;

/// What a child wrote to stdout.
#[derive(Debug, Default)]
pub struct Captured {
    /// The beginning, or everything.
    pub head: Vec<u8>,
    /// The end, if it does not fit.
    pub tail: Vec<u8>,
    /// Whether something is missing.
    pub is_cut: bool,
}

impl Captured {
    /// How much of the end is kept when not everything is.
    const TAIL: usize = 64 << 10;

    /// Takes what was read.
    pub fn push(&mut self, bytes: &[u8]) {
        let room = MAX_STDOUT - self.head.len();
        self.head.extend_from_slice(&bytes[..bytes.len().min(room)]);
        if bytes.len() > room {
            self.is_cut = true;
        }
        if self.is_cut {
            self.tail.extend_from_slice(&bytes[bytes.len().min(room)..]);
            let excess = self.tail.len().saturating_sub(Self::TAIL);
            self.tail.drain(..excess);
        }
    }
}

/// The last lines of a text.
#[derive(Debug, Default)]
pub struct Tail {
    lines: VecDeque<String>,
}

impl Tail {
    /// Adds a line.
    pub fn push(&mut self, line: &str) {
        if line.trim().is_empty() {
            return;
        }
        if self.lines.len() == MAX_LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(cut(line));
    }

    /// The lines.
    pub fn text(&self) -> String {
        self.lines.iter().map(String::as_str).collect::<Vec<_>>().join("\n")
    }
}

/// At most [`MAX_LINE`] bytes, with an ellipsis where something is missing.
fn cut(line: &str) -> String {
    if line.len() <= MAX_LINE {
        return line.to_owned();
    }
    format!("{}…", &line[..line.floor_char_boundary(MAX_LINE - '…'.len_utf8())])
}

/// Reads everything.
pub fn read(
    pipe: Option<impl AsyncRead + Send + Unpin + 'static>,
    mut each: impl FnMut(&[u8]) + Send + 'static,
) -> JoinHandle<Captured> {
    tokio::spawn(async move {
        let mut captured = Captured::default();
        let mut buf = vec![0; 16 << 10];
        if let Some(mut pipe) = pipe {
            while let Ok(count @ 1..) = pipe.read(&mut buf).await {
                each(&buf[..count]);
                captured.push(&buf[..count]);
            }
        }
        captured
    })
}

/// Reads line by line, hands each line on, and keeps the last ones.
pub fn read_lines(
    pipe: Option<impl AsyncRead + Send + Unpin + 'static>,
    mut each: impl FnMut(&str) + Send + 'static,
) -> JoinHandle<Tail> {
    tokio::spawn(async move {
        let mut tail = Tail::default();
        let (mut buf, mut line) = (vec![0; 16 << 10], Vec::new());
        let mut take = |line: &mut Vec<u8>| {
            let text = String::from_utf8_lossy(line);
            let text = text.trim_end_matches('\r');
            each(text);
            tail.push(text);
            line.clear();
        };
        if let Some(mut pipe) = pipe {
            while let Ok(count @ 1..) = pipe.read(&mut buf).await {
                for part in buf[..count].split_inclusive(|b| *b == b'\n') {
                    line.extend_from_slice(part.strip_suffix(b"\n").unwrap_or(part));
                    // A line without an end is cut into lines.
                    if part.ends_with(b"\n") || line.len() > 64 << 10 {
                        take(&mut line);
                    }
                }
            }
        }
        if !line.is_empty() {
            take(&mut line);
        }
        tail
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_are_handed_on_and_the_last_are_kept() {
        let text: String = (1..=30).map(|n| format!("line {n}\r\n\n")).collect::<String>() + "end";
        let (sent, seen) = std::sync::mpsc::channel();
        let pipe = std::io::Cursor::new(text.into_bytes());
        let tail = read_lines(Some(pipe), move |line| sent.send(line.to_owned()).unwrap()).await.unwrap();
        assert_eq!(seen.iter().count(), 61);
        let kept = tail.text();
        assert!(kept.starts_with("line 12\n") && kept.ends_with("line 30\nend"), "{kept}");
    }

    #[test]
    fn a_backtrace_of_wide_characters_fits_the_servers_limit() {
        let mut tail = Tail::default();
        for _ in 0..MAX_LINES {
            tail.push(&format!("x{}", "🦀".repeat(2 * MAX_LINE)));
        }
        let kept = tail.text();
        assert!(kept.len() <= jobbie_web::wire::Limits::default().backtrace, "{} bytes", kept.len());
        assert!(kept.lines().all(|line| line.len() > MAX_LINE - 8 && line.ends_with("🦀…")));
        assert_eq!(cut(&"x".repeat(MAX_LINE)), "x".repeat(MAX_LINE));
    }

    #[test]
    fn endless_output_is_bounded() {
        let mut captured = Captured::default();
        for n in 0..100_u8 {
            captured.push(&[n; 50_000]);
        }
        assert_eq!((captured.head.len(), captured.tail.len()), (MAX_STDOUT, Captured::TAIL));
        assert!(captured.is_cut && captured.tail.ends_with(&[99]));
    }
}
