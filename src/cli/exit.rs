// SPDX-License-Identifier: Apache-2.0
//! Exit codes: the part of the command line that scripts depend on. They do not change.

use std::fmt;
use std::io;
use std::process::ExitCode;

use jobbie_store::restore::RestoreError;
use jobbie_store::{Fault, OpenError};

use crate::client::Error;

/// The explanation at the end of `jobbie --help`.
pub const HELP: &str = "\
Exit codes:
  0  done
  1  the server refused or failed, or it is unknown whether it did it
     jobs wait, work --drain, work --once: also if a job did not complete
  2  the command line is wrong
  3  no connection to the server; nothing was sent
  4  nothing there: no job to fetch, a wait ran out, or no such job or queue
 65  the data directory or an archive is damaged, or of a newer format: starting again does not help
 70  a part of the server failed for good, and `jobbie server` ended";

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// The server said no, or something failed.
    Failed = 1,
    /// The command line is wrong.
    Usage = 2,
    /// No connection: nothing was sent.
    Unreachable = 3,
    /// Nothing found, or a wait ran out.
    Nothing = 4,
    /// Data on disk that cannot be used.
    Damaged = 65,
}

impl Exit {
    /// The one that says more about a series of calls: something done wrong before something not done, something
    /// not done before nothing there.
    pub fn worse(self, other: Self) -> Self {
        let rank = |exit| match exit {
            Self::Done => 0,
            Self::Nothing => 1,
            Self::Unreachable => 2,
            Self::Failed => 3,
            Self::Damaged => 4,
            Self::Usage => 5,
        };
        if rank(other) > rank(self) { other } else { self }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// An error that is the caller's.
#[derive(Debug)]
pub struct Usage(pub String);

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// A usage error as `anyhow::Error`.
pub fn usage(why: impl Into<String>) -> anyhow::Error {
    anyhow::Error::new(Usage(why.into()))
}

/// The exit code that an error stands for, and whether it is worth a line on stderr.
pub fn of(error: &anyhow::Error) -> (Exit, bool) {
    for cause in error.chain() {
        if cause.is::<Usage>() {
            return (Exit::Usage, true);
        }
        if let Some(error) = cause.downcast_ref::<Error>() {
            let exit = match error {
                Error::Address(_) => Exit::Usage,
                Error::Connect { .. } => Exit::Unreachable,
                Error::Refused(r) if r.code == "NOT_FOUND" => Exit::Nothing,
                Error::Refused(_) | Error::Broken { .. } | Error::TimedOut { .. } | Error::Nonsense(_) => {
                    Exit::Failed
                }
            };
            return (exit, true);
        }
        let is_damage = cause.downcast_ref::<OpenError>().is_some_and(OpenError::is_damage)
            || cause.downcast_ref::<RestoreError>().is_some_and(RestoreError::is_damage)
            || cause.downcast_ref::<Fault>().is_some_and(|fault| !fault.is_passing());
        if is_damage {
            return (Exit::Damaged, true);
        }
        // `jobbie jobs | head`: the reader has seen enough.
        if cause.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe) {
            return (Exit::Done, false);
        }
    }
    (Exit::Failed, true)
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;
    use crate::client::Refusal;

    fn code(error: impl Into<anyhow::Error>) -> (Exit, bool) {
        let wrapped: anyhow::Result<()> = Err(error.into());
        of(&wrapped.context("while testing").unwrap_err())
    }

    fn refused(body: &[u8]) -> Error {
        Error::Refused(Refusal::read(404, None, body))
    }

    #[test]
    fn each_error_has_its_code() {
        let refusal = io::Error::from(io::ErrorKind::ConnectionRefused);
        assert_eq!(code(Error::Connect { authority: "h:1".into(), source: refusal }).0, Exit::Unreachable);
        assert_eq!(code(Error::Address("x".into())).0, Exit::Usage);
        assert_eq!(code(Usage("x".into())).0, Exit::Usage);
        assert_eq!(code(refused(br#"{"error":"no","code":"NOT_FOUND"}"#)).0, Exit::Nothing);
        // A 404 that is not from jobbie says that the address is wrong, not that the job is missing.
        assert_eq!(code(refused(b"<html>")).0, Exit::Failed);
        assert_eq!(code(refused(br#"{"error":"no","code":"CONFLICT"}"#)).0, Exit::Failed);
        let reset = io::Error::from(io::ErrorKind::ConnectionReset);
        assert_eq!(code(Error::Broken { authority: "h:1".into(), source: reset }).0, Exit::Failed);
        assert_eq!(code(io::Error::from(io::ErrorKind::NotFound)).0, Exit::Failed);
        assert_eq!(code(OpenError::NoIdentity { dir: "d".into() }).0, Exit::Damaged);
        assert_eq!(code(OpenError::Locked { dir: "d".into(), pid: None }).0, Exit::Failed);
        assert_eq!(code(io::Error::from(io::ErrorKind::BrokenPipe)), (Exit::Done, false));
    }
}
