//! What a node's systemd finds on its disk: the host's program with a closed list of its units,
//! and settings of our own. Of all that the host would start nothing is there to be started.

use std::path::Path;

use crate::error::Result;

/// The program that becomes pid 1.
pub(crate) const SYSTEMD: &str = "/usr/lib/systemd/systemd";

/// The program that writes the journal.
pub(crate) const JOURNALD: &str = "/usr/lib/systemd/systemd-journald";

/// Where the host's package keeps its units, and the node its copies.
const UNIT_DIR: &str = "usr/lib/systemd/system";

/// Directories in which nothing of the host's shows: its units, what would make more of them, and
/// settings that would come before ours.
pub(crate) const OPAQUE: [&str; 7] = [
    "etc/systemd",
    UNIT_DIR,
    "usr/lib/systemd/system-generators",
    "usr/lib/systemd/system-environment-generators",
    "usr/lib/systemd/system.conf.d",
    "usr/lib/systemd/journald.conf.d",
    "usr/local/lib/systemd",
];

/// The units that a node has of the host's systemd: what others order themselves by, the journal,
/// and the ways down. Which of them there are depends on systemd's version; none is missed.
const UNITS: [&str; 29] = [
    "basic.target",
    "sysinit.target",
    "multi-user.target",
    "local-fs-pre.target",
    "local-fs.target",
    "remote-fs.target",
    "swap.target",
    "network-pre.target",
    "network.target",
    "network-online.target",
    "nss-lookup.target",
    "time-set.target",
    "time-sync.target",
    "paths.target",
    "slices.target",
    "sockets.target",
    "timers.target",
    "shutdown.target",
    "umount.target",
    "final.target",
    "halt.target",
    "poweroff.target",
    "reboot.target",
    "systemd-halt.service",
    "systemd-poweroff.service",
    "systemd-reboot.service",
    "systemd-journald.service",
    "systemd-journald.socket",
    "systemd-journald-dev-log.socket",
];

/// Who pulls in what: the target, and the unit of [`UNITS`] that it wants.
const WANTED: [(&str, &str); 3] = [
    ("sysinit.target", "systemd-journald.service"),
    ("sockets.target", "systemd-journald.socket"),
    ("sockets.target", "systemd-journald-dev-log.socket"),
];

/// What a node's systemd is told.
pub(crate) const SYSTEM_CONF: &[u8] = include_bytes!("../files/system.conf");

/// What a node's journal is told.
pub(crate) const JOURNALD_CONF: &[u8] = include_bytes!("../files/journald.conf");

/// Lays all of it on a new node's disk.
pub(crate) fn lay(disk: &Path) -> Result<()> {
    let units = disk.join(UNIT_DIR);
    for name in UNITS {
        let theirs = Path::new("/").join(UNIT_DIR).join(name);
        if theirs.exists() {
            host::fs::copy(&theirs, &units.join(name), 0o644)?;
        }
    }
    for (target, unit) in WANTED {
        want(&units, target, unit)?;
    }
    lay_booted(disk)?;
    host::fs::symlink(Path::new("multi-user.target"), &units.join("default.target"))?;
    let etc = disk.join("etc/systemd");
    host::fs::write(&etc.join("system.conf"), SYSTEM_CONF, 0o644)?;
    host::fs::write(&etc.join("journald.conf"), JOURNALD_CONF, 0o644)?;
    Ok(host::fs::create_dir_all(&etc.join("system/multi-user.target.wants"), 0o755)?)
}

/// Lays the unit that says when the node is up, beside those of the distribution.
pub(crate) fn lay_booted(disk: &Path) -> Result<()> {
    const NAME: &str = "kubestrap-booted.service";
    let units = disk.join(UNIT_DIR);
    host::fs::create_dir_all(&units, 0o755)?;
    host::fs::write(&units.join(NAME), include_bytes!("../files/kubestrap-booted.service"), 0o644)?;
    want(&units, "multi-user.target", NAME)
}

fn want(units: &Path, target: &str, unit: &str) -> Result<()> {
    let wants = units.join(format!("{target}.wants"));
    host::fs::create_dir_all(&wants, 0o755)?;
    Ok(host::fs::symlink(&Path::new("..").join(unit), &wants.join(unit))?)
}
