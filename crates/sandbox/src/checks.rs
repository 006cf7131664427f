//! What a host must have to run sandboxes. All that is missing is told at once.

use std::path::Path;

use host::command::Command;
use names::path::below_root;

use crate::cgroup::Cgroups;
use crate::error::{Error, Problem, Result};
use crate::systemd::{JOURNALD, SYSTEMD};

/// `OVERLAYFS_SUPER_MAGIC` of linux/magic.h.
const OVERLAY_MAGIC: i64 = 0x794c_7630;

/// Checks the host; `dir` is where sandboxes are kept, or will be, and `root` is what a node is made
/// of when that is not this machine.
pub(crate) fn host(dir: &Path, root: Option<&Path>) -> Result<()> {
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
    let (install, merge) = match root {
        None => ("install systemd (of this machine it need not be pid 1)", "install `usrmerge`"),
        Some(_) => ("install systemd in that root", "install `usrmerge` in that root"),
    };
    let base = root.unwrap_or(Path::new("/"));
    for program in [SYSTEMD, JOURNALD].map(|program| base.join(below_root(program))) {
        if !std::fs::metadata(&program).is_ok_and(|m| m.is_file()) {
            let what = format!("no program {}, of which nodes' systemd is made", program.display());
            problem(&what, install);
        }
    }
    for link in ["bin", "sbin", "lib"].map(|link| base.join(link)) {
        if !std::fs::symlink_metadata(&link).is_ok_and(|m| m.is_symlink()) {
            problem(&format!("{} is no link into /usr", link.display()), merge);
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
    if !fits_mount_options(dir) {
        return bad("mount options cannot carry a path with `,`, `:`, `\\` or spaces");
    }
    Ok(())
}

/// Refuses a user's root that no node can be made of; `dir` is where sandboxes are kept.
pub(crate) fn root(root: &Path, dir: &Path) -> Result<()> {
    let bad = |reason| Err(Error::BadRoot { root: root.to_owned(), reason });
    if root == Path::new("/") {
        return bad("that is this machine, of which nodes are made when no root is given");
    }
    if !root.is_dir() {
        return bad("that is no directory");
    }
    if dir.starts_with(root) || root.starts_with(dir) {
        return bad("sandboxes are kept in it, or it is where they are kept");
    }
    if !fits_mount_options(root) {
        return bad("mount options cannot carry a path with `,`, `:`, `\\` or spaces");
    }
    Ok(())
}

fn fits_mount_options(path: &Path) -> bool {
    !path.as_os_str().as_encoded_bytes().iter().any(|b| b",:\\ \n".contains(b))
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

    #[test]
    fn a_root_is_a_directory_apart_from_this_machine_and_its_sandboxes() {
        let temp = tempfile::tempdir().unwrap();
        let path = |name: &str| {
            let path = temp.path().join(name);
            std::fs::create_dir_all(&path).unwrap();
            path
        };
        let kept = path("kept");
        assert!(root(&path("plain"), &kept).is_ok());
        assert!(root(Path::new("/"), &kept).is_err());
        for bad in [temp.path().join("nothing"), path("a,b"), path("kept/inside"), temp.path().to_owned()] {
            assert!(matches!(root(&bad, &kept), Err(Error::BadRoot { .. })), "{}", bad.display());
        }
    }

    #[test]
    fn what_a_root_lacks_is_told_at_once() {
        let temp = tempfile::tempdir().unwrap();
        let (dir, root) = (temp.path().join("kept"), temp.path().join("plain"));
        std::fs::create_dir_all(root.join("usr")).unwrap();
        let Err(Error::Unsupported(problems)) = host(&dir, Some(&root)) else { panic!("nothing is lacking") };
        let of_root = |problem: &&Problem| problem.what.contains(root.to_str().unwrap());
        assert_eq!(problems.iter().filter(of_root).count(), 5, "{problems:?}");
        assert!(problems.iter().filter(of_root).all(|p| p.remedy.ends_with("in that root")), "{problems:?}");
    }
}
