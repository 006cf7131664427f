//! What a host must have to run sandboxes. All that is missing is told at once.

use std::path::Path;

use host::command::Command;

use crate::cgroup::Cgroups;
use crate::error::{Error, Problem, Result};
use crate::systemd::{JOURNALD, SYSTEMD};

/// `OVERLAYFS_SUPER_MAGIC` of linux/magic.h.
const OVERLAY_MAGIC: i64 = 0x794c_7630;

/// Checks the host; `dir` is where sandboxes are kept, or will be.
pub(crate) fn host(dir: &Path) -> Result<()> {
    let mut problems = Vec::new();
    let mut problem = |what: &str, remedy| problems.push(Problem { what: what.to_owned(), remedy });
    if !rustix::process::geteuid().is_root() {
        problem("not root", "run it with sudo");
    }
    if Command::new("ip").arg("-V").run().is_err() {
        problem("no program `ip`", "install iproute2");
    }
    let filesystems = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    if !filesystems.lines().any(|l| l.split_ascii_whitespace().last() == Some("overlay")) {
        problem("the kernel has no overlay file system", "run `modprobe overlay`");
    }
    let cgroups = Cgroups::mounted()?;
    if cgroups.is_empty() {
        problem("no cgroup hierarchy is mounted", "mount one: `mount -t cgroup2 none /sys/fs/cgroup`");
    } else if !cgroups.suit_systemd() {
        problem(
            "cgroup v1 is mounted without the two hierarchies in which systemd finds its processes",
            "mount them: `mount -t cgroup2 none /sys/fs/cgroup/unified` and \
             `mount -t cgroup -o none,name=systemd none /sys/fs/cgroup/systemd`",
        );
    }
    for program in [SYSTEMD, JOURNALD] {
        if !std::fs::metadata(program).is_ok_and(|m| m.is_file()) {
            let remedy = "install systemd (of this machine it need not be pid 1)";
            problem(&format!("no program {program}, of which nodes' systemd is made"), remedy);
        }
    }
    for link in ["/bin", "/sbin", "/lib"] {
        if !std::fs::symlink_metadata(link).is_ok_and(|m| m.is_symlink()) {
            problem(&format!("{link} is no link into /usr"), "install `usrmerge`");
        }
    }
    let disk = dir.ancestors().find_map(|d| rustix::fs::statfs(d).ok());
    if disk.is_some_and(|s| s.f_type == OVERLAY_MAGIC) {
        problem(
            &format!("{} is on an overlay file system, which nodes cannot stack theirs on", dir.display()),
            "choose a directory on a disk with --dir",
        );
    }
    if problems.is_empty() { Ok(()) } else { Err(Error::Unsupported(problems)) }
}

/// Refuses a directory that nodes' own overlays would contain.
pub(crate) fn dir(dir: &Path) -> Result<()> {
    let bad = |reason| Err(Error::BadDir { dir: dir.to_owned(), reason });
    if !dir.is_absolute() {
        return bad("the path is not absolute");
    }
    if dir.starts_with("/usr") || dir.starts_with("/etc") {
        return bad("each node lays its own files over /usr and /etc; choose a directory elsewhere");
    }
    if dir.starts_with("/proc") || dir.starts_with("/sys") || dir.starts_with("/dev") {
        return bad("that is no disk");
    }
    if dir.as_os_str().as_encoded_bytes().iter().any(|b| b",:\\ \n".contains(b)) {
        return bad("mount options cannot carry a path with `,`, `:`, `\\` or spaces");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_below_an_overlay_is_refused() {
        assert!(dir(Path::new("/var/lib/kubestrap/sandboxes")).is_ok());
        for bad in ["relative", "/usr/x", "/etc", "/var/a b", "/var/a,b", "/proc/1"] {
            assert!(dir(Path::new(bad)).is_err(), "{bad}");
        }
    }
}
