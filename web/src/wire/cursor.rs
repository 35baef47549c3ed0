// SPDX-License-Identifier: Apache-2.0
//! Where the next page of a listing begins, as text. Callers send back what they were given.

use jobbie_actors::ports::Cursor;
use jobbie_broker::{JobNo, Timestamp};

use crate::error::Problem;

/// The cursor as it is given out.
#[must_use]
pub fn write(cursor: Cursor) -> String {
    format!("{:x}-{:x}", cursor.at.0, cursor.job.0)
}

/// Reads what [`write()`] wrote.
///
/// # Errors
/// `VALIDATION` if it is something else.
pub fn read(text: &str) -> Result<Cursor, Problem> {
    let parse = || {
        let (at, job) = text.split_once('-')?;
        let number = |digits: &str| u64::from_str_radix(digits, 16).ok();
        Some(Cursor { at: Timestamp(number(at)?), job: JobNo(number(job)?) })
    };
    parse().ok_or_else(|| Problem::field("cursor", "is not one that a listing gave out"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_and_nothing_else_does() {
        let cursor = Cursor { at: Timestamp(1_795_000_000_123), job: JobNo(u64::MAX) };
        assert_eq!(read(&write(cursor)).unwrap(), cursor);
        for bad in ["", "1", "x-1", "1-", "-1", "1-2-3", "11111111111111111-1"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
