//! A new node's disk: what it finds there at its first boot.

use std::path::Path;

use names::path::{self, below_root};
use rustix::fs::XattrFlags;

use crate::error::{Result, Tried};
use crate::link::link;
use crate::record::Record;
use crate::{own, systemd};

/// Directories of the disk that appear in the node under the same name.
pub(crate) const PLAIN: [&str; 5] = ["var", "opt", "root", "home", "srv"];

/// Directories that are the host's, or its root's, with the node's own layer on top.
pub(crate) const LAYERED: [&str; 2] = ["usr", "etc"];

/// Directories in which nothing of the host's shows: programs and settings that would make the
/// node something else than a fresh machine.
const OPAQUE: [&str; 6] = [
    path::KUBERNETES,
    path::CONTAINERD_CONFIG_DIR,
    path::CNI,
    path::KUBESTRAP,
    path::PROGRAMS,
    "/usr/local/sbin",
];

/// Fills `disk` for a new node; `program` becomes its `kubestrap`.
pub(crate) fn fill(disk: &Path, record: &Record, program: &Path) -> Result<()> {
    for dir in PLAIN.iter().chain(&LAYERED).chain(&["work/usr", "work/etc"]) {
        host::fs::create_dir_all(&disk.join(dir), 0o755)?;
    }
    if let Some(root) = &record.root {
        own::copy(root, disk, &PLAIN)?;
    }
    host::fs::create_dir_all(&disk.join("root"), 0o700)?;
    for dir in ["var/lib", "var/log", "var/cache", "var/spool", below_root(path::CNI_PLUGINS)] {
        host::fs::create_dir_all(&disk.join(dir), 0o755)?;
    }
    host::fs::create_dir_all(&disk.join("var/tmp"), 0o1777)?;
    link("/run", &disk.join("var/run"))?;
    link("/run/lock", &disk.join("var/lock"))?;
    if record.root.is_none() {
        hide(disk)?;
    }
    for dir in [path::PROGRAMS, path::KUBESTRAP] {
        host::fs::create_dir_all(&disk.join(below_root(dir)), 0o755)?;
    }
    etc(&disk.join("etc"), record)?;
    match record.root {
        None => systemd::lay(disk)?,
        Some(_) => own::lay(disk)?,
    }
    Ok(host::fs::copy(program, &disk.join(below_root(path::KUBESTRAP_PROGRAM)), 0o755)?)
}

/// Keeps what the host has in these directories from showing in the node.
fn hide(disk: &Path) -> Result<()> {
    for dir in OPAQUE.iter().chain(&systemd::OPAQUE) {
        let dir = disk.join(below_root(dir));
        host::fs::create_dir_all(&dir, 0o755)?;
        rustix::fs::setxattr(&dir, "trusted.overlay.opaque", b"y", XattrFlags::empty())
            .tried(|| format!("hide the host's files in {}", dir.display()))?;
    }
    Ok(())
}

fn etc(etc: &Path, record: &Record) -> Result<()> {
    let (hostname, address) = (&record.hostname, record.address);
    let hosts = format!(
        "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n{address}\t{hostname}\n{}\t{hostname}\n",
        record.address6()
    );
    // A name server would have to be reachable, and CoreDNS would forward to one on loopback,
    // that is to itself.
    let resolv = "# This node has no name server: its network has no way out.\n";
    let unique = host::fs::read_to_string(Path::new("/proc/sys/kernel/random/uuid"))?.replace('-', "");
    // What crate `node` needs to know and cannot see from inside.
    let facts = serde_json::json!({ "version": 1, "name": record.name, "cgroupRoot": record.cgroup });
    for (name, text) in [
        ("hostname", format!("{hostname}\n")),
        ("hosts", hosts),
        ("resolv.conf", resolv.to_owned()),
        ("machine-id", unique),
        ("kubestrap/sandbox.json", format!("{facts}\n")),
    ] {
        host::fs::write(&etc.join(name), text.as_bytes(), 0o644)?;
    }
    Ok(())
}
