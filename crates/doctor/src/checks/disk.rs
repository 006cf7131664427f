//! Room and permission to write: a checkpoint is worth nothing where the next one cannot be
//! written, and containers do not start on a full disk.

use std::io;
use std::path::Path;

use ::checks::{Check, Kind};
use rustix::fs::StatVfsMountFlags;

use crate::files::Files;

/// With less room than this containers do not start well and a generation (some 100 KiB) is at
/// risk, in bytes.
const LEAST_BYTES: u64 = 128 << 20;
/// With fewer inodes than this neither container nor generation (some 60 files) has enough.
const LEAST_INODES: u64 = 1000;
/// kubelet's hard eviction threshold `nodefs.inodesFree`, in percent.
const INODES_PERCENT: u64 = 5;

/// How full a file system is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Room {
    pub(crate) bytes: u64,
    pub(crate) free_bytes: u64,
    /// 0 where the file system has no fixed number of inodes.
    pub(crate) inodes: u64,
    pub(crate) free_inodes: u64,
    pub(crate) read_only: bool,
}

impl Room {
    /// Asks the kernel.
    ///
    /// # Errors
    /// When there is no such path.
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        let stat = rustix::fs::statvfs(path)?;
        Ok(Self {
            bytes: stat.f_blocks * stat.f_frsize,
            free_bytes: stat.f_bavail * stat.f_frsize,
            inodes: stat.f_files,
            free_inodes: stat.f_favail,
            read_only: stat.f_flag.contains(StatVfsMountFlags::RDONLY),
        })
    }
}

/// The file system of a directory; `gc_percent` is how full it may be before the kubelet removes
/// images that are not in use, among them those of older generations.
pub(crate) fn room(name: &Kind, files: &Files, dir: &str, gc_percent: u64) -> Check {
    // A directory that is not there yet will be on the file system of the one above it.
    let there = Path::new(dir).ancestors().find(|dir| files.is_dir(dir)).unwrap_or_else(|| Path::new("/"));
    match Room::of(&files.path(there)) {
        Ok(room) => judge(name, dir, room, gc_percent),
        Err(error) => Check::unknown(name, format!("{dir}: {error}"), "see that it is there"),
    }
}

fn judge(name: &Kind, dir: &str, room: Room, gc_percent: u64) -> Check {
    let remedy = "make room: journalctl --vacuum-size=100M; and remove images that nothing uses, which `ctr -n k8s.io images list` names";
    let mib = room.free_bytes >> 20;
    let mut fatal = Vec::new();
    let mut minor = Vec::new();
    if room.read_only {
        fatal.push(format!("the file system of {dir} is read-only"));
    }
    if room.free_bytes < LEAST_BYTES {
        fatal.push(format!("the file system of {dir} has {mib} MiB left"));
    } else if room.bytes > 0 && gc_percent < 100 {
        let used = 100 - room.free_bytes * 100 / room.bytes;
        if used >= gc_percent {
            minor.push(format!(
                "the file system of {dir} is {used} % full: the kubelet removes images that are not in use"
            ));
        }
    }
    if room.inodes > 0 && room.free_inodes < LEAST_INODES {
        fatal.push(format!("the file system of {dir} has {} inodes left", room.free_inodes));
    } else if room.inodes > 0 && room.free_inodes * 100 / room.inodes < INODES_PERCENT {
        minor.push(format!("the file system of {dir} has less than {INODES_PERCENT} % of its inodes left"));
    }
    Check::of_problems(name, &fatal, &minor, format!("{dir} has {mib} MiB left"), remedy)
}

/// Tries it: writes a small file as everything here is written, and takes it away again.
pub(crate) fn writable(name: &Kind, files: &Files, dir: &Path) -> Check {
    // The leading dot matters: a kubelet ignores such files in its static pod directory.
    let probe = files.path(dir).join(format!(".kubestrap-doctor-{}", std::process::id()));
    let result = host::fs::write(&probe, b"probe\n", 0o600).and_then(|()| host::fs::remove_file(&probe));
    match result {
        Ok(_) => Check::ok(name, format!("{} can be written", dir.display())),
        Err(error) if error.source.kind() == io::ErrorKind::PermissionDenied => {
            Check::unknown(name, format!("{}: {}", dir.display(), error.source), "run this as root")
        }
        Err(error) => {
            let cause = format!("{} cannot be written: {}", dir.display(), error.source);
            Check::failed(
                name,
                cause,
                "see that it is there, that its file system is not read-only, and that there is room",
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use ::checks::{Outcome, kind};
    use node::Root;

    use super::*;

    const GOOD: Room =
        Room { bytes: 10 << 30, free_bytes: 5 << 30, inodes: 100_000, free_inodes: 90_000, read_only: false };

    #[test]
    fn what_is_full_is_told() {
        let check = |room: Room, gc: u64| judge(&kind::DISK_CONTAINERS, "/d", room, gc);
        assert_eq!(check(GOOD, 85).result, Outcome::Ok);
        let full = check(Room { free_bytes: 127 << 20, ..GOOD }, 85);
        assert_eq!(
            (full.result, full.what.as_str()),
            (Outcome::Failed, "the file system of /d has 127 MiB left")
        );
        let nearly = Room { free_bytes: 1 << 30, ..GOOD };
        assert_eq!(check(nearly, 85).result, Outcome::Warning);
        assert_eq!(check(nearly, 100).result, Outcome::Ok, "the kubelet removes nothing then");
        assert_eq!(check(Room { free_inodes: 999, ..GOOD }, 85).result, Outcome::Failed);
        assert_eq!(check(Room { free_inodes: 4000, ..GOOD }, 85).result, Outcome::Warning);
        assert_eq!(
            check(Room { inodes: 0, free_inodes: 0, ..GOOD }, 85).result,
            Outcome::Ok,
            "btrfs has no number"
        );
        assert_eq!(check(Room { read_only: true, ..GOOD }, 85).result, Outcome::Failed);
    }

    #[test]
    fn writing_is_tried_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::new(Root::below(dir.path()));
        assert_eq!(writable(&kind::WRITABLE_CHECKPOINTS, &files, Path::new("/")).result, Outcome::Ok);
        assert!(host::fs::list(dir.path()).unwrap().is_empty());
        assert_eq!(writable(&kind::WRITABLE_CHECKPOINTS, &files, Path::new("/gone")).result, Outcome::Failed);
    }
}
