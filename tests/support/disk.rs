// SPDX-License-Identifier: Apache-2.0
//! A small disk: a file system in memory, mounted in a mount namespace of its own, so that nothing else sees it
//! and it goes with the process that holds it.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use tempfile::TempDir;

/// The disk; gone when dropped.
pub struct SmallDisk {
    holder: Child,
    mount: TempDir,
    /// In a user namespace, for whom is not root.
    user: bool,
}

impl SmallDisk {
    /// A disk of that many MiB. `None` if the system allows no mounts, not even in a user namespace: the test
    /// cannot be run and says so.
    pub fn of_mib(size: u32) -> Option<Arc<Self>> {
        for user in [false, true] {
            if let Some(disk) = Self::mount_in(user, size) {
                return Some(Arc::new(disk));
            }
        }
        let mut stderr = std::io::stderr().lock();
        // Not `eprintln`, which the test harness keeps to itself when the test passes.
        let _ = writeln!(
            stderr,
            "\n*** SKIPPED: no file system can be mounted here; a full disk is NOT tested ***"
        );
        None
    }

    fn mount_in(user: bool, size: u32) -> Option<Self> {
        let mount = tempfile::Builder::new().prefix("jobbie-disk-").tempdir().ok()?;
        let script =
            format!("mount -t tmpfs -o size={size}m,mode=0700 tmpfs \"$0\" && echo mounted && exec cat");
        let mut holder = Command::new("unshare")
            .args(if user { ["-r", "-m"].as_slice() } else { ["-m"].as_slice() })
            .args(["sh", "-c", &script])
            .arg(mount.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let mut said = [0; 8];
        let mounted = holder.stdout.as_mut()?.read_exact(&mut said).is_ok() && said.starts_with(b"mounted");
        if mounted {
            return Some(Self { holder, mount, user });
        }
        let _ = holder.kill();
        let _ = holder.wait();
        None
    }

    /// Where it is mounted, for who runs inside.
    pub fn mount(&self) -> &Path {
        self.mount.path()
    }

    /// The same place, for who is outside.
    pub fn outside(&self) -> PathBuf {
        let inside = self.mount.path().strip_prefix("/").expect("a temporary directory is absolute");
        PathBuf::from(format!("/proc/{}/root", self.holder.id())).join(inside)
    }

    /// A command that runs inside.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.holder.id().to_string(), "-m"]);
        if self.user {
            command.args(["-U", "--preserve-credentials"]);
        }
        command.args(["--", program]);
        command
    }

    /// Writes a file of zeros until the disk has only that much left.
    pub fn fill(&self, name: &str, left: u64) {
        let mut file = std::fs::File::create(self.outside().join(name)).expect("the disk takes files");
        let zeros = vec![0; 256 << 10];
        while self.free() > left + zeros.len() as u64 {
            file.write_all(&zeros).expect("there is room");
        }
    }

    /// What is left on it.
    pub fn free(&self) -> u64 {
        let found = rustix::fs::statvfs(self.outside()).expect("the disk is mounted");
        found.f_bavail * found.f_frsize
    }

    /// Gives it another size.
    pub fn resize(&self, mib: u32) {
        let size = format!("remount,size={mib}m");
        let status = self.command("mount").args(["-o", &size]).arg(self.mount()).status();
        assert!(status.is_ok_and(|status| status.success()), "remount to {mib} MiB");
    }

    /// Removes a file.
    pub fn remove(&self, name: &str) {
        std::fs::remove_file(self.outside().join(name)).expect("the file is there");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
