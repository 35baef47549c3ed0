// SPDX-License-Identifier: Apache-2.0
//! Under which conditions a run was made: without them its numbers mean nothing.

use std::path::Path;

use anyhow::Result;
use serde::Serialize;
use serde_json::Value;

use super::disk;
use super::stats::Spread;
use crate::client::Client;

/// How far two runs on one machine are apart even if nothing else runs there: what repeated runs on two shared cores of
/// a virtual machine showed.
const NOISE: &str =
    "rates of shared cores repeat within 10 to 25 %: compare ratios and CPU per job, and repeat";

/// What was measured, where and how.
#[derive(Debug, Clone, Serialize)]
pub struct Conditions {
    /// Version of the server.
    pub version: String,
    /// `fsync` or `relaxed`.
    pub durability: String,
    /// Whether each scenario had a server of its own.
    pub is_spawned: bool,
    /// One small write and one fdatasync in the server's directory, measured before everything else.
    pub fdatasync: Option<Spread>,
    /// Type of the file system of that directory.
    pub file_system: Option<String>,
    /// Version of the kernel.
    pub kernel: Option<String>,
    /// What the processor calls itself.
    pub processor: Option<String>,
    /// Cores that server, load and everything else share.
    pub cores: usize,
    /// Bytes of payload.
    pub payload: usize,
    /// Seconds that a row is measured.
    pub seconds: f64,
    /// Optimised build or not.
    pub build: &'static str,
}

impl Conditions {
    /// Looks at the machine, asks the server, and measures the disk below `dir`.
    pub async fn find(
        client: &Client,
        dir: Option<&Path>,
        is_spawned: bool,
        payload: usize,
        seconds: f64,
    ) -> Result<Self> {
        let info: Value = client.get("/info").await?.json()?;
        let text = |name: &str| info[name].as_str().unwrap_or("unknown").to_owned();
        Ok(Self {
            version: text("version"),
            durability: text("durability"),
            is_spawned,
            fdatasync: match dir {
                Some(dir) => disk::spread(dir).await?,
                None => None,
            },
            file_system: dir.and_then(file_system),
            kernel: read("/proc/sys/kernel/osrelease"),
            processor: read("/proc/cpuinfo").as_deref().and_then(processor),
            cores: std::thread::available_parallelism().map_or(0, Into::into),
            payload,
            seconds,
            build: if cfg!(debug_assertions) { "debug" } else { "release" },
        })
    }

    /// One fact a line, as a person reads them.
    pub fn lines(&self) -> Vec<String> {
        let unknown = || "unknown".to_owned();
        let sync = self.fdatasync.map_or_else(unknown, |spread| {
            format!(
                "p50 {:.3} ms, p99 {:.3} ms",
                f64::from(spread.p50_us) / 1e3,
                f64::from(spread.p99_us) / 1e3
            )
        });
        let servers = match self.is_spawned {
            true => "each scenario on a fresh server",
            false => "a server that was there before",
        };
        let mut lines = vec![
            format!(
                "jobbie {}, {} build, durability {}, {servers}",
                self.version, self.build, self.durability
            ),
            format!("{} bytes of payload, {} s a row", self.payload, self.seconds),
            format!(
                "{} cores shared by server and load, {}, Linux {}",
                self.cores,
                self.processor.clone().unwrap_or_else(unknown),
                self.kernel.clone().unwrap_or_else(unknown),
            ),
            format!("fdatasync {sync}, {}", self.file_system.clone().unwrap_or_else(unknown)),
        ];
        if self.durability != "fsync" {
            lines.push("warning: the server does not sync before it answers".into());
        }
        if cfg!(debug_assertions) {
            lines.push("warning: a debug build is several times slower".into());
        }
        lines.extend(
            self.fdatasync.as_ref().and_then(disk::remark).map(|remark| format!("warning: {remark}")),
        );
        lines.push(NOISE.into());
        lines
    }
}

fn read(path: &str) -> Option<String> {
    Some(std::fs::read_to_string(path).ok()?.trim().to_owned())
}

fn processor(cpuinfo: &str) -> Option<String> {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn file_system(dir: &Path) -> Option<String> {
    let dir = dir.canonicalize().ok()?;
    type_of(&std::fs::read_to_string("/proc/self/mounts").ok()?, &dir)
}

/// The type of the longest mount point that is above `dir`; of two mounts on one point the later hides the earlier.
fn type_of(mounts: &str, dir: &Path) -> Option<String> {
    let points = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        Some((fields.next()?, fields.next()?))
    });
    let above = points.filter(|(point, _)| dir.starts_with(point));
    above.max_by_key(|(point, _)| point.len()).map(|(_, kind)| kind.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_mount_counts() {
        let mounts = "overlay / overlay rw 0 0\ntmpfs /tmp tmpfs rw 0 0\n/dev/a /tmp/disk ext4 rw 0 0\n";
        let of = |dir: &str| type_of(mounts, Path::new(dir));
        assert_eq!(of("/tmp/disk/x").as_deref(), Some("ext4"));
        assert_eq!(of("/tmp/diskette").as_deref(), Some("tmpfs"));
        assert_eq!(of("/home").as_deref(), Some("overlay"));
        assert_eq!(type_of("", Path::new("/")), None);
    }

    #[test]
    fn processors_have_names() {
        assert_eq!(processor("processor\t: 0\nmodel name\t: Fast 9000\n").as_deref(), Some("Fast 9000"));
        assert_eq!(processor("processor\t: 0\n"), None);
    }
}
