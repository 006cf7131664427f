//! What a node's systemd finds on its disk: the host's program with a closed list of its units,
//! and settings of our own. Of all that the host would start nothing is there to be started.

use std::path::Path;

use crate::error::Result;
use crate::link::link;

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

/// Who pulls in what: a unit of [`UNITS`] or ours, and the target that wants it.
const WANTED: [(&str, &str); 4] = [
    ("sysinit.target", "systemd-journald.service"),
    ("sockets.target", "systemd-journald.socket"),
    ("sockets.target", "systemd-journald-dev-log.socket"),
    ("multi-user.target", "kubestrap-booted.service"),
];

/// Lays all of it on a new node's disk.
pub(crate) fn lay(disk: &Path) -> Result<()> {
    let units = disk.join(UNIT_DIR);
    for name in UNITS {
        let theirs = Path::new("/").join(UNIT_DIR).join(name);
        if theirs.exists() {
            host::fs::copy(&theirs, &units.join(name), 0o644)?;
        }
    }
    let booted = include_bytes!("../files/kubestrap-booted.service");
    host::fs::write(&units.join("kubestrap-booted.service"), booted, 0o644)?;
    for (target, unit) in WANTED {
        let wants = units.join(format!("{target}.wants"));
        host::fs::create_dir_all(&wants, 0o755)?;
        link(&format!("../{unit}"), &wants.join(unit))?;
    }
    link("multi-user.target", &units.join("default.target"))?;
    let etc = disk.join("etc/systemd");
    host::fs::write(&etc.join("system.conf"), include_bytes!("../files/system.conf"), 0o644)?;
    host::fs::write(&etc.join("journald.conf"), include_bytes!("../files/journald.conf"), 0o644)?;
    Ok(host::fs::create_dir_all(&etc.join("system/multi-user.target.wants"), 0o755)?)
}
