// SPDX-License-Identifier: Apache-2.0
//! Aligned columns. Cells come from strangers (payloads, errors, worker names): control characters are shown, never
//! sent to the terminal.

use std::fmt;

/// Longest cell of a table with several columns; the last column may be longer.
const MAX_CELL: usize = 60;

/// Rows of cells, printed in columns.
#[derive(Debug, Default)]
pub struct Table {
    head: Vec<&'static str>,
    right: Vec<bool>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with a head. A name that starts with `>` is a column of numbers, set to the right.
    pub fn new(columns: &[&'static str]) -> Self {
        Self {
            head: columns.iter().map(|c| c.trim_start_matches('>')).collect(),
            right: columns.iter().map(|c| c.starts_with('>')).collect(),
            rows: Vec::new(),
        }
    }

    /// A table without a head.
    pub fn plain() -> Self {
        Self::default()
    }

    /// Adds a row.
    pub fn row<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = S>) {
        let cells: Vec<String> = cells.into_iter().map(|cell| clean(&cell.into())).collect();
        let last = cells.len().saturating_sub(1);
        let cells =
            cells.into_iter().enumerate().map(|(i, c)| if i < last { shortened(&c, MAX_CELL) } else { c });
        self.rows.push(cells.collect());
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head: Vec<String> = self.head.iter().map(|name| name.to_uppercase()).collect();
        let lines = || std::iter::once(&head).filter(|h| !h.is_empty()).chain(&self.rows);
        let columns = lines().map(Vec::len).max().unwrap_or(0);
        let mut widths = vec![0; columns];
        for line in lines() {
            for (width, cell) in widths.iter_mut().zip(line) {
                *width = (*width).max(cell.chars().count());
            }
        }
        for line in lines() {
            let mut text = String::new();
            for (i, cell) in line.iter().enumerate() {
                let pad = " ".repeat(widths[i] - cell.chars().count());
                let is_right = self.right.get(i).copied().unwrap_or(false);
                let (before, after) = if is_right { (pad.as_str(), "") } else { ("", pad.as_str()) };
                let gap = if i == 0 { "" } else { "  " };
                text.push_str(&format!("{gap}{before}{cell}{after}"));
            }
            writeln!(f, "{}", text.trim_end())?;
        }
        Ok(())
    }
}

/// The text on one line, without anything a terminal would obey.
pub fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => out.push('⏎'),
            '\t' => out.push(' '),
            // Control characters, and the marks that reorder or hide text.
            c if c.is_control()
                || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') =>
            {
                out.push('\u{fffd}');
            }
            c => out.push(c),
        }
    }
    out
}

/// At most `limit` characters, with an ellipsis where something is missing.
pub fn shortened(text: &str, limit: usize) -> String {
    if text.chars().count() <= limit {
        return text.to_owned();
    }
    let mut out: String = text.chars().take(limit.saturating_sub(1)).collect();
    out.push('…');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(&["queue", ">pending", "note"]);
        table.row(["mail", "7", ""]);
        table.row(["größer", "1200", "paused"]);
        assert_eq!(table.to_string(), "QUEUE   PENDING  NOTE\nmail          7\ngrößer     1200  paused\n");
    }

    #[test]
    fn without_a_head_and_without_rows() {
        let mut table = Table::plain();
        assert_eq!((table.to_string().as_str(), table.is_empty()), ("", true));
        table.row(["id", "job_1"]);
        table.row(["queue", "mail"]);
        assert_eq!(table.to_string(), "id     job_1\nqueue  mail\n");
    }

    #[test]
    fn strangers_do_not_drive_the_terminal() {
        assert_eq!(clean("a\u{1b}[2Jb\nc\td\u{202e}e"), "a\u{fffd}[2Jb⏎c d\u{fffd}e");
        assert_eq!(shortened("abcdef", 4), "abc…");
        assert_eq!(shortened("abcd", 4), "abcd");
    }
}
