// SPDX-License-Identifier: Apache-2.0
//! `jobbie backup`: one consistent archive of a running server, or of a data directory that no server uses.

use std::path::PathBuf;

use anyhow::Result;
use jobbie_store::{Options, offline};
use serde_json::json;

use super::Context;
use super::archive::{PIECE, Progress, Target, size};
use super::exit::Exit;
use super::out::note;

const EXAMPLES: &str = "Examples:
  jobbie backup jobs.backup
  jobbie backup - | zstd > jobs.backup.zst
  jobbie backup jobs.backup --data-dir /var/lib/jobbie

The archive has everything that was acknowledged before the command began, and nothing half done. It is read again and
checked before it gets its name. With --data-dir no server may use the directory. `jobbie restore` reads the archive.";

/// Write everything into one archive.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Command {
    /// Where the archive goes; `-` is stdout.
    file: PathBuf,
    /// Back up this directory instead of a running server.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Replace the file if it is there.
    #[arg(long)]
    force: bool,
}

impl Command {
    pub async fn run(self, context: &Context) -> Result<Exit> {
        let target = Target::open(&self.file, self.force)?;
        let bytes = match &self.data_dir {
            Some(dir) => from_directory(&Options::new(dir), target).await?,
            None => from_server(context, target).await?,
        };
        match self.file.to_str() {
            // Nothing else may be on stdout then.
            Some("-") => note(format!("backed up {}", size(bytes))),
            _ if context.out.is_json() => {
                context
                    .out
                    .line(json!({"file": self.file.display().to_string(), "bytes": bytes}).to_string())?;
            }
            _ => context.out.line(format!("backed up {} to {}", size(bytes), self.file.display()))?,
        }
        Ok(Exit::Done)
    }
}

async fn from_server(context: &Context, mut target: Target) -> Result<u64> {
    let mut body = context.client.open("/admin/backup").await?;
    let mut progress = Progress::new("backing up", body.length());
    let mut piece = Vec::with_capacity(PIECE);
    while body.read(&mut piece).await? {
        progress.add(piece.len());
        target.write(&piece)?;
        piece.clear();
    }
    target.finish()?;
    Ok(progress.done())
}

async fn from_directory(options: &Options, mut target: Target) -> Result<u64> {
    let mut opened = offline::open_offline(options).await?;
    let snapshot = offline::snapshot(&mut opened).await?;
    let mut progress = Progress::new("backing up", Some(snapshot.len()));
    let mut piece = vec![0; PIECE];
    loop {
        let read = snapshot.read_at(progress.done(), &mut piece)?;
        if read == 0 {
            break;
        }
        target.write(&piece[..read])?;
        progress.add(read);
    }
    target.finish()?;
    opened.log.shutdown();
    Ok(progress.done())
}
