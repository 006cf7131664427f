//! A node that is made of a root file system of the user's, such as one of mmdebstrap: it boots that
//! root's own systemd with that root's own units. Here is what it is not left to do, and why.

use std::path::Path;

use host::command::Command;

use crate::error::Result;
use crate::systemd::{self, JOURNALD_CONF, SYSTEM_CONF};

/// Units of a distribution that reach out of a node: what they act on is the machine's, which has no
/// namespace for it. Whether a root has them is no matter.
const MASKED: [&str; 11] = [
    // Devices: a node has seven of its own, and to trigger the others sets the machine's udev to work.
    "systemd-udevd.service",
    "systemd-udevd-control.socket",
    "systemd-udevd-kernel.socket",
    "systemd-udev-trigger.service",
    "systemd-udev-settle.service",
    // The kernel: modules and formats of programs that a node registers stay on the machine.
    "systemd-modules-load.service",
    "modprobe@.service",
    "systemd-binfmt.service",
    "proc-sys-fs-binfmt_misc.automount",
    "proc-sys-fs-binfmt_misc.mount",
    // The console is a file that is written to: nobody logs in there, and a login program begins by
    // hanging up whoever has the terminal, and that is the one who writes the file.
    "console-getty.service",
];

/// Settings beside that root's own, which they do not replace.
const SETTINGS: [(&str, &[u8]); 4] = [
    ("systemd/system.conf.d/kubestrap-sandbox.conf", SYSTEM_CONF),
    ("systemd/journald.conf.d/kubestrap-sandbox.conf", JOURNALD_CONF),
    (
        "systemd/system/systemd-sysctl.service.d/kubestrap-sandbox.conf",
        include_bytes!("../files/sysctl.conf"),
    ),
    // The table of another disk would be waited for.
    ("fstab", b"# The file systems of this node are mounted before it boots.\n"),
];

/// Copies to the disk what is the node's alone from its first boot on: no layer, since containers'
/// own layers come to lie in it, and those cannot be stacked on one.
pub(crate) fn copy(root: &Path, disk: &Path, dirs: &[&str]) -> Result<()> {
    for name in dirs {
        let from = root.join(name);
        if from.is_dir() {
            // With owners, times and attributes; the directory's content, not the directory.
            Command::new("cp").arg("--archive").args([from.join("."), disk.join(name)]).run()?;
        }
    }
    Ok(())
}

/// Lays what goes on top of that root's `/etc` and `/usr`.
pub(crate) fn lay(disk: &Path) -> Result<()> {
    let etc = disk.join("etc");
    for (name, text) in SETTINGS {
        let path = etc.join(name);
        host::fs::create_dir_all(path.parent().unwrap_or(&etc), 0o755)?;
        host::fs::write(&path, text, 0o644)?;
    }
    for unit in MASKED {
        host::fs::symlink(Path::new("/dev/null"), &etc.join("systemd/system").join(unit))?;
    }
    systemd::lay_booted(disk)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_the_nodes_alone_is_copied_and_the_rest_is_not() {
        let temp = tempfile::tempdir().unwrap();
        let (root, disk) = (temp.path().join("root"), temp.path().join("disk"));
        for dir in ["var/lib/a", "etc", "usr/bin", "boot"] {
            host::fs::create_dir_all(&root.join(dir), 0o755).unwrap();
        }
        host::fs::create_dir_all(&disk.join("var"), 0o755).unwrap();
        host::fs::write(&root.join("var/lib/a/.hidden"), b"kept", 0o640).unwrap();
        host::fs::symlink(Path::new("/run"), &root.join("var/run")).unwrap();
        copy(&root, &disk, &["var", "srv"]).unwrap();
        assert_eq!(host::fs::read(&disk.join("var/lib/a/.hidden")).unwrap(), b"kept");
        assert_eq!(std::fs::read_link(disk.join("var/run")).unwrap(), Path::new("/run"));
        assert!(!disk.join("boot").exists() && !disk.join("usr").exists());
    }

    #[test]
    fn nothing_of_a_root_is_hidden_but_what_reaches_out() {
        let disk = tempfile::tempdir().unwrap();
        for dir in ["etc", "usr"] {
            host::fs::create_dir_all(&disk.path().join(dir), 0o755).unwrap();
        }
        lay(disk.path()).unwrap();
        let units = host::fs::list(&disk.path().join("etc/systemd/system")).unwrap();
        let masked = |path: &&std::path::PathBuf| {
            std::fs::read_link(path).is_ok_and(|target| target == Path::new("/dev/null"))
        };
        assert_eq!(units.iter().filter(masked).count(), MASKED.len());
        // And the settings of the one that is left with what is the node's.
        assert_eq!(units.len(), MASKED.len() + 1);
        assert!(disk.path().join("usr/lib/systemd/system/kubestrap-booted.service").is_file());
    }
}
