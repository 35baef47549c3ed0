// SPDX-License-Identifier: Apache-2.0
//! The body of an answer that is too long for memory, piece by piece.

use super::http1::{Conn, Framing};
use super::{CALL_TIMEOUT, Error};

/// A body that is being received.
pub struct Body {
    conn: Conn,
    framing: Framing,
    authority: String,
    length: Option<u64>,
}

impl Body {
    pub(super) fn new(conn: Conn, framing: Framing, authority: String) -> Self {
        let length = if let Framing::Length(length) = &framing { Some(*length) } else { None };
        Self { conn, framing, authority, length }
    }

    /// Its length, if the server has said it.
    pub const fn length(&self) -> Option<u64> {
        self.length
    }

    /// Appends the next piece to `out`; false at the end. A server that falls silent, or ends before it has sent
    /// what it announced, is an error.
    pub async fn read(&mut self, out: &mut Vec<u8>) -> Result<bool, Error> {
        let reading = self.conn.read_some(&mut self.framing, out);
        match tokio::time::timeout(CALL_TIMEOUT, reading).await {
            Ok(Ok(more)) => Ok(more),
            Ok(Err(source)) => Err(Error::Broken { authority: self.authority.clone(), source }),
            Err(_) => Err(Error::TimedOut { authority: self.authority.clone(), after: CALL_TIMEOUT }),
        }
    }
}
