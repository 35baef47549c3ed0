// SPDX-License-Identifier: Apache-2.0
//! The `text/event-stream` grammar, as in the HTML standard: fields `event`, `data`, `id`, `retry`; lines end with
//! LF, CR or CRLF; an empty line ends the event; an event without data is not delivered; ids stick.

/// A batch is at most 16 MiB, so no event is longer than this.
const MAX_EVENT: usize = 32 << 20;

/// One event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Event {
    /// The event's name; `message` when the server gave none.
    pub name: String,
    /// The last id seen on the stream up to this event.
    pub id: String,
    /// The data lines, joined with newlines.
    pub data: String,
}

/// Collects bytes until an event is complete.
#[derive(Debug, Default)]
pub struct Parser {
    line: Vec<u8>,
    after_cr: bool,
    started: bool,
    name: String,
    id: String,
    data: String,
    has_data: bool,
}

impl Parser {
    /// Reads bytes and hands every completed event to `emit`.
    pub fn push(&mut self, bytes: &[u8], mut emit: impl FnMut(Event)) -> Result<(), &'static str> {
        let mut rest = bytes;
        while !rest.is_empty() {
            if std::mem::take(&mut self.after_cr) && rest[0] == b'\n' {
                rest = &rest[1..];
                continue;
            }
            let Some(end) = rest.iter().position(|b| matches!(b, b'\n' | b'\r')) else {
                self.line.extend_from_slice(rest);
                break;
            };
            self.line.extend_from_slice(&rest[..end]);
            self.after_cr = rest[end] == b'\r';
            rest = &rest[end + 1..];
            let line = std::mem::take(&mut self.line);
            self.take_line(&String::from_utf8_lossy(&line), &mut emit);
            self.line = line;
            self.line.clear();
        }
        if self.line.len() + self.data.len() > MAX_EVENT {
            Err("an event of the stream is too long")
        } else {
            Ok(())
        }
    }

    fn take_line(&mut self, line: &str, emit: &mut impl FnMut(Event)) {
        let line = if std::mem::replace(&mut self.started, true) {
            line
        } else {
            line.strip_prefix('\u{feff}').unwrap_or(line)
        };
        if line.is_empty() {
            let name = std::mem::take(&mut self.name);
            let data = std::mem::take(&mut self.data);
            if std::mem::take(&mut self.has_data) {
                let name = if name.is_empty() { "message".to_owned() } else { name };
                emit(Event { name, id: self.id.clone(), data });
            }
            return;
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.name),
            "data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.data.push('\n');
                }
                self.data.push_str(value);
            }
            "id" if !value.contains('\0') => value.clone_into(&mut self.id),
            _ => {} // comments, `retry`, and fields of the future
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(chunks: &[&str]) -> Vec<(String, String, String)> {
        let (mut parser, mut out) = (Parser::default(), Vec::new());
        for chunk in chunks {
            parser.push(chunk.as_bytes(), |e| out.push((e.name, e.id, e.data))).unwrap();
        }
        out
    }

    fn event(name: &str, id: &str, data: &str) -> (String, String, String) {
        (name.into(), id.into(), data.into())
    }

    #[test]
    fn fields_and_several_data_lines() {
        let got = parse(&[": hello\n\nevent: job\nid: 7.1\ndata: {\"a\":\ndata:  1}\nretry: 5\n\ndata\n\n"]);
        assert_eq!(got, [event("job", "7.1", "{\"a\":\n 1}"), event("message", "7.1", "")]);
    }

    #[test]
    fn an_event_without_data_is_not_delivered_but_its_id_sticks() {
        assert_eq!(parse(&["event: ping\nid: 9.0\n\ndata: x\n\n"]), [event("message", "9.0", "x")]);
    }

    #[test]
    fn every_line_ending_and_every_split() {
        let text = "\u{feff}event: a\r\ndata: 1\r\n\r\nevent: b\rdata: ü\r\rdata: 3\n\n";
        let whole = parse(&[text]);
        assert_eq!(whole, [event("a", "", "1"), event("b", "", "ü"), event("message", "", "3")]);
        let (mut parser, mut out) = (Parser::default(), Vec::new());
        for byte in text.as_bytes() {
            parser.push(&[*byte], |e| out.push((e.name, e.id, e.data))).unwrap();
        }
        assert_eq!(out, whole);
    }

    #[test]
    fn an_unfinished_event_is_dropped() {
        assert!(parse(&["data: half"]).is_empty());
    }
}
