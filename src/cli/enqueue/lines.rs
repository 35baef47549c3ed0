// SPDX-License-Identifier: Apache-2.0
//! Many jobs: `--lines` and `--count`. Batches are all or nothing, so after a failure it is known which line to go
//! on from, and it is said. If the last batch may have been enqueued, that is said too, with the key that makes going
//! on safe.

use std::fs::File;
use std::io::{BufRead, BufReader};

use anyhow::{Context as _, Result};

use super::super::body::Body;
use super::super::exit::{Exit, usage};
use super::super::out::note;
use super::super::{Context, input, progress};
use super::{Run, is_unknown};

/// Jobs per request: large enough that the request costs nothing per job, small enough that little is repeated.
const BATCH: usize = 1_000;
/// Bytes of payload per request; the server takes 16 MiB in all.
const BATCH_BYTES: usize = 8 << 20;
/// Longest line that is read: the server's largest payload may be raised, but not past a request.
const MAX_LINE: usize = 16 << 20;

/// One job per line. Empty lines are skipped.
pub(super) async fn run(
    run: &Run<'_>,
    job: &Body,
    file: &str,
    is_text: bool,
    from_line: u64,
) -> Result<Exit> {
    let lines = match file {
        "-" => Lines { reader: Box::new(BufReader::new(std::io::stdin())), read: 0, size: None },
        path => {
            let file = File::open(path).map_err(|e| usage(format!("cannot read {path}: {e}")))?;
            // Of a pipe nobody knows how long it is.
            let size = file.metadata().ok().filter(std::fs::Metadata::is_file).map(|about| about.len());
            Lines { reader: Box::new(BufReader::new(file)), read: 0, size }
        }
    };
    let mut progress = Progress::new(run.context);
    // Where the batch that is being collected began.
    let mut start = from_line.max(1);
    match enqueue_lines(run, lines, job, is_text, &mut start, &mut progress).await {
        Ok(()) => progress.finish(),
        Err(e) => {
            progress.line.clear();
            let (enqueued, option) = (progress.enqueued, run.option(&e));
            let doubt = match is_unknown(&e) {
                true => format!(", and it is unknown whether the batch from line {start} on was"),
                false => String::new(),
            };
            Err(e.context(format!(
                "{enqueued} jobs were enqueued{doubt}; go on with --from-line {start}{option}"
            )))
        }
    }
}

/// The lines of the input, and how much of it they are.
struct Lines {
    reader: Box<dyn BufRead>,
    read: u64,
    size: Option<u64>,
}

impl Lines {
    /// Reads the next line; its bytes, 0 at the end. One that is too long comes cut off behind the limit.
    fn next(&mut self, line: &mut Vec<u8>) -> Result<usize> {
        line.clear();
        let bytes = std::io::Read::take(&mut self.reader, MAX_LINE as u64 + 1).read_until(b'\n', line)?;
        self.read += bytes as u64;
        Ok(bytes)
    }

    fn share(&self) -> Option<f64> {
        self.size.map(|size| self.read as f64 / size.max(1) as f64)
    }
}

async fn enqueue_lines(
    run: &Run<'_>,
    mut lines: Lines,
    job: &Body,
    is_text: bool,
    start: &mut u64,
    progress: &mut Progress<'_>,
) -> Result<()> {
    let (mut jobs, mut bytes, mut number, mut line) = (Vec::new(), 0, 0_u64, Vec::new());
    loop {
        if lines.next(&mut line)? == 0 {
            break;
        }
        number += 1;
        if line.len() > MAX_LINE {
            return Err(usage(format!("line {number} is longer than {} MiB", MAX_LINE >> 20)));
        }
        let text = std::str::from_utf8(&line).map_err(|_| usage(format!("line {number} is not UTF-8")))?;
        let text = text.trim_end_matches(['\n', '\r']);
        if number < *start || text.trim().is_empty() {
            continue;
        }
        // What is complete goes out before a line that is wrong stops everything.
        if jobs.len() >= BATCH || bytes + text.len() > BATCH_BYTES && !jobs.is_empty() {
            let ids = run.send_batch(*start, &jobs).await?;
            // Before anything else can fail: these lines are not to be sent again.
            (bytes, *start) = (0, number);
            jobs.clear();
            progress.add(ids, lines.share())?;
        }
        let payload = if is_text { input::string(text) } else { input::parse("payload", text) };
        let payload = payload.with_context(|| format!("line {number}"))?;
        let mut next = job.clone();
        next.set("payload", &payload)?;
        jobs.push(next);
        bytes += text.len();
    }
    if !jobs.is_empty() {
        let ids = run.send_batch(*start, &jobs).await?;
        *start = number + 1;
        progress.add(ids, lines.share())?;
    }
    Ok(())
}

/// The same job many times.
pub(super) async fn repeat(run: &Run<'_>, job: &Body, count: u64) -> Result<Exit> {
    let mut progress = Progress::new(run.context);
    // Large payloads make smaller batches.
    let size = serde_json::to_vec(job)?.len();
    let per_batch = (BATCH_BYTES / size).clamp(1, BATCH);
    let mut left = usize::try_from(count)?;
    while left > 0 {
        let jobs = vec![job.clone(); left.min(per_batch)];
        match run.send_batch(count - left as u64, &jobs).await {
            Ok(ids) => {
                let enqueued = progress.enqueued + ids.len() as u64;
                progress.add(ids, Some(enqueued as f64 / count as f64))?;
            }
            Err(e) => {
                progress.line.clear();
                let (enqueued, option) = (progress.enqueued, run.option(&e));
                let doubt = match is_unknown(&e) {
                    true => format!(", and of the next {} it is unknown", jobs.len()),
                    false => String::new(),
                };
                let again = match option.is_empty() {
                    true => String::new(),
                    false => format!("; the same command with{option} enqueues what is missing"),
                };
                return Err(e.context(format!("{enqueued} of {count} jobs were enqueued{doubt}{again}")));
            }
        }
        left -= jobs.len();
    }
    progress.finish()
}

/// Tells how far it has come: ids on stdout for programs, a line on stderr for people.
struct Progress<'a> {
    context: &'a Context,
    enqueued: u64,
    line: progress::Progress,
}

impl<'a> Progress<'a> {
    fn new(context: &'a Context) -> Self {
        Self { context, enqueued: 0, line: progress::Progress::new("jobs enqueued") }
    }

    /// Counts a batch; `share` is how much of all of them that makes, if it is known.
    fn add(&mut self, ids: Vec<String>, share: Option<f64>) -> Result<()> {
        self.enqueued += ids.len() as u64;
        if self.context.out.is_json() {
            let lines: Vec<String> =
                ids.iter().map(|id| serde_json::json!({ "job_id": id }).to_string()).collect();
            self.context.out.line(lines.join("\n"))?;
        }
        self.line.show(self.enqueued, share);
        Ok(())
    }

    fn finish(&mut self) -> Result<Exit> {
        self.line.clear();
        let seconds = self.line.elapsed().as_secs_f64();
        let rate = self.enqueued as f64 / seconds.max(0.001);
        note(format!("{} jobs enqueued in {seconds:.1} s ({rate:.0} per second)", self.enqueued));
        Ok(Exit::Done)
    }
}
