//! The network of all sandboxes of one directory: a bridge in a network namespace of its own,
//! with no way out. The namespace is kept by a bind mount in the sandboxes' directory and goes
//! with the last of them.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use host::command::Command;
use host::netns;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

use crate::error::{Result, Tried};
use crate::record::{Record, address6, gateway};

/// `NSFS_MAGIC` of linux/magic.h: what statfs says of a namespace's file.
const NSFS_MAGIC: i64 = 0x6e73_6673;

/// Where the fabric's namespace of a sandboxes' directory is mounted.
pub(crate) fn path(dir: &Path) -> PathBuf {
    dir.join("fabric.netns")
}

/// True when the fabric exists.
pub(crate) fn exists(dir: &Path) -> bool {
    rustix::fs::statfs(path(dir)).is_ok_and(|stat| stat.f_type == NSFS_MAGIC)
}

/// Makes the fabric, or what is missing of it.
pub(crate) fn ensure(dir: &Path) -> Result<PathBuf> {
    let path = path(dir);
    if !exists(dir) {
        host::fs::write(&path, b"", 0o600)?;
        let made = std::thread::scope(|scope| scope.spawn(|| keep_new_netns(&path)).join());
        made.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
    }
    netns::run_in(&path, configure)??;
    Ok(path)
}

/// Makes a network namespace and mounts it at `path`; the calling thread is in it afterwards.
fn keep_new_netns(path: &Path) -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNET).tried(|| "make a network namespace".into())?;
    mount(Some("/proc/thread-self/ns/net"), path, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .tried(|| format!("mount a network namespace at {}", path.display()))
}

fn configure() -> Result<()> {
    if Command::new("ip").args(["link", "show", "dev", "br0"]).run().is_err() {
        ip("link add name br0 type bridge stp_state 0 forward_delay 0\n")?;
    }
    // Forwarding with nowhere to forward to: who tries an outside address is told so at once
    // instead of waiting for an answer.
    sysctl("net/ipv4/ip_forward", "1");
    sysctl("net/ipv6/conf/all/forwarding", "1");
    sysctl("net/ipv4/icmp_ratelimit", "0");
    sysctl("net/ipv6/icmp/ratelimit", "0");
    let (v4, v6) = (gateway(), address6(gateway()));
    ip(&format!(
        "link set lo up\n\
         link set br0 up\n\
         addr replace {v4}/24 dev br0\n\
         addr replace {v6}/64 dev br0 nodad\n\
         route replace unreachable 0.0.0.0/0\n\
         route replace unreachable ::/0\n"
    ))
}

/// Connects the calling thread's fresh network namespace to the fabric and sets it up as a
/// node's.
pub(crate) fn attach(fabric: &Path, record: &Record) -> Result<()> {
    let (veth, mac, address, address6) = (record.veth(), record.mac(), record.address, record.address6());
    let fabric_path = fabric.display();
    ip(&format!(
        "link set lo up\n\
         link add name eth0 address {mac} type veth peer name {veth} netns {fabric_path}\n"
    ))?;
    netns::run_in(fabric, || ip(&format!("link set {veth} master br0 up\n")))??;
    sysctl("net/ipv4/ip_forward", "1");
    sysctl("net/ipv6/conf/all/disable_ipv6", "0");
    sysctl("net/ipv6/conf/all/forwarding", "1");
    sysctl("net/ipv6/conf/default/forwarding", "1");
    // Only there where the br_netfilter module is loaded.
    sysctl("net/bridge/bridge-nf-call-iptables", "1");
    sysctl("net/bridge/bridge-nf-call-ip6tables", "1");
    let (gateway4, gateway6) = (gateway(), self::address6(gateway()));
    ip(&format!(
        "link set eth0 up\n\
         addr replace {address}/24 dev eth0\n\
         addr replace {address6}/64 dev eth0 nodad\n\
         route replace default via {gateway4}\n\
         route replace default via {gateway6}\n"
    ))
}

/// Pulls a node's cable out: nothing comes or goes any more, though the node keeps its address.
pub(crate) fn unplug(dir: &Path, record: &Record) -> Result<()> {
    on_cable(dir, record, |veth| format!("link set {veth} down\n"))
}

/// Removes the fabric's end of a node's cable, and so both ends.
pub(crate) fn detach(dir: &Path, record: &Record) -> Result<()> {
    on_cable(dir, record, |veth| format!("link del {veth}\n"))
}

/// Does something to the fabric's end of a node's cable, when there is one.
fn on_cable(dir: &Path, record: &Record, batch: impl Fn(&str) -> String + Sync) -> Result<()> {
    if !exists(dir) {
        return Ok(());
    }
    let veth = record.veth();
    netns::run_in(&path(dir), || {
        if Command::new("ip").args(["link", "show", "dev", &veth]).run().is_ok() {
            // The kernel may remove it at the same moment, with the node's namespace.
            let _ = ip(&batch(&veth));
        }
    })?;
    Ok(())
}

/// Removes the fabric.
pub(crate) fn remove(dir: &Path) -> Result<()> {
    let path = path(dir);
    while exists(dir) {
        umount2(&path, MntFlags::MNT_DETACH).tried(|| format!("unmount {}", path.display()))?;
    }
    host::fs::remove_file(&path)?;
    Ok(())
}

fn ip(batch: &str) -> Result<()> {
    Command::new("ip").args(["-batch", "-"]).stdin(batch).run()?;
    Ok(())
}

/// Sets a kernel parameter of the calling thread's network namespace, where the kernel has it.
fn sysctl(name: &str, value: &str) {
    let path = Path::new("/proc/sys").join(name);
    let result = OpenOptions::new().write(true).open(&path).and_then(|mut f| f.write_all(value.as_bytes()));
    if let Err(error) = result
        && fs::exists(&path).unwrap_or(false)
    {
        tracing::warn!(name, value, %error, "cannot set a kernel parameter");
    }
}
