// SPDX-License-Identifier: Apache-2.0
//! Server-sent events: a pure line parser, and a stream that feeds it from a connection.

mod parser;

use std::collections::VecDeque;
use std::time::Duration;

use super::Error;
use super::http1::{Conn, Framing};

pub use parser::{Event, Parser};

/// The server pings every 15 s; three missed ones mean that the connection is dead though nobody said so.
const SILENCE: Duration = Duration::from_secs(45);

/// An open event stream. Dropping it closes the connection.
pub struct EventStream {
    conn: Conn,
    framing: Framing,
    parser: Parser,
    ready: VecDeque<Event>,
    scratch: Vec<u8>,
    authority: String,
}

impl EventStream {
    pub(super) fn new(conn: Conn, framing: Framing, authority: String) -> Self {
        Self {
            conn,
            framing,
            parser: Parser::default(),
            ready: VecDeque::new(),
            scratch: Vec::new(),
            authority,
        }
    }

    /// An event that has already been received.
    pub fn buffered(&mut self) -> Option<Event> {
        self.ready.pop_front()
    }

    /// The next event; `None` when the server ended the stream. Cancel-safe.
    pub async fn next(&mut self) -> Result<Option<Event>, Error> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(event));
            }
            self.scratch.clear();
            let more =
                tokio::time::timeout(SILENCE, self.conn.read_some(&mut self.framing, &mut self.scratch))
                    .await;
            match more {
                Ok(Ok(true)) => {
                    let ready = &mut self.ready;
                    self.parser
                        .push(&self.scratch, |event| ready.push_back(event))
                        .map_err(|why| Error::Nonsense(why.to_owned()))?;
                }
                Ok(Ok(false)) => return Ok(None),
                Ok(Err(source)) => return Err(Error::Broken { authority: self.authority.clone(), source }),
                Err(_) => return Err(Error::TimedOut { authority: self.authority.clone(), after: SILENCE }),
            }
        }
    }
}
