// SPDX-License-Identifier: Apache-2.0
//! `jobbie restore`: a data directory out of an archive.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use jobbie_store::{Options, restore};
use serde_json::json;

use super::archive::{PIECE, Progress, Watched};
use super::exit::Exit;
use super::out::{Out, note};

const EXAMPLES: &str = "Examples:
  jobbie restore jobs.backup --data-dir /var/lib/jobbie
  zstd -d < jobs.backup.zst | jobbie restore - --data-dir /var/lib/jobbie

The directory must be empty or not exist. It becomes a new node of its own, whatever the archive was made of: other nodes
join it with empty directories. Jobs that were out with a worker are handed out again when their lease ends.";

/// Make a data directory out of an archive.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Command {
    /// The archive; `-` is stdin.
    archive: PathBuf,
    /// The directory to make.
    #[arg(long, env = "JOBBIE_DATA_DIR", value_name = "DIR")]
    data_dir: PathBuf,
}

impl Command {
    pub fn run(self, out: Out) -> Result<Exit> {
        let (input, length): (Box<dyn Read>, Option<u64>) = if self.archive.as_os_str() == "-" {
            (Box::new(io::stdin().lock()), None)
        } else {
            let file = File::open(&self.archive);
            let file = file.with_context(|| format!("cannot open {}", self.archive.display()))?;
            let length = file.metadata().ok().filter(std::fs::Metadata::is_file).map(|data| data.len());
            (Box::new(file), length)
        };
        let input = Watched { input, progress: Progress::new("restoring", length) };
        let input = BufReader::with_capacity(PIECE, input);
        let options = Options::new(&self.data_dir);
        let restored = restore::restore(input, &self.archive, &options)
            .with_context(|| format!("nothing was restored to {}", self.data_dir.display()))?;
        for violation in &restored.violations {
            note(format!("{}: {}", violation.name, violation.text));
        }
        let index = restored.applied.map_or(0, |at| at.index);
        if out.is_json() {
            let violations: Vec<_> =
                restored.violations.iter().map(|v| json!({"name": v.name, "text": v.text})).collect();
            out.line(
                json!({
                    "node_id": format!("{:016x}", restored.node_id), "index": index,
                    "rows": restored.rows, "violations": violations,
                })
                .to_string(),
            )?;
        } else {
            out.line(format!(
                "restored {} rows as of log index {index} to {}, as node {:016x}",
                restored.rows,
                self.data_dir.display(),
                restored.node_id
            ))?;
        }
        Ok(if restored.violations.is_empty() { Exit::Done } else { Exit::Damaged })
    }
}
