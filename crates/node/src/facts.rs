//! What kind of host this is: cgroup version, init system, capabilities, addresses, memory.
//!
//! Reading is done once, in [`detect`]; everything that decides by these facts is pure and gets
//! them as a value.

use std::fs;
use std::net::IpAddr;
use std::path::Path;

use host::resolve::name_servers;
use names::path;
use serde::{Deserialize, Serialize};

mod network;

use crate::Root;

pub use network::{Addresses, By, Reached};

/// A larger file of name servers is none, in bytes.
const LARGEST_RESOLV_CONF: u64 = 1 << 20;

/// Bit of CAP_SYS_RESOURCE in the capability sets (capability.h).
const CAP_SYS_RESOURCE: u32 = 24;

/// How control groups are mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CgroupVersion {
    /// One hierarchy for each controller.
    V1,
    /// The unified hierarchy.
    V2,
}

/// Who creates control groups; kubelet and runc must agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CgroupDriver {
    /// The processes themselves, in the file system.
    Cgroupfs,
    /// systemd, asked over D-Bus.
    Systemd,
}

impl CgroupDriver {
    /// The name in the kubelet's configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cgroupfs => "cgroupfs",
            Self::Systemd => "systemd",
        }
    }
}

/// What a sandbox says about its node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sandbox {
    /// The cgroup, in every hierarchy, below which the node's pods must stay; absolute.
    #[serde(default)]
    pub cgroup_root: Option<String>,
}

/// Everything about a host that its configuration or its preflight depends on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Facts {
    /// The host's name, in lower case as the kubelet would register it.
    pub hostname: String,
    /// Its addresses. Which of them are the node's is said by [`crate::identity`].
    pub addresses: Addresses,
    /// What the host reaches already, and no range of the cluster may be.
    pub reached: Vec<Reached>,
    /// How control groups are mounted.
    pub cgroup_version: CgroupVersion,
    /// Controllers that can be used.
    pub cgroup_controllers: Vec<String>,
    /// True when systemd is pid 1.
    pub systemd: bool,
    /// True when `systemctl` is to be had.
    pub systemctl: bool,
    /// Set on a sandbox node.
    pub sandbox: Option<Sandbox>,
    /// True when oom scores may be lowered and limits raised.
    pub cap_sys_resource: bool,
    /// True when we run as root.
    pub root: bool,
    /// True when the kernel has overlayfs, built in or loaded.
    pub overlayfs: bool,
    /// CPUs that we may use.
    pub cpus: usize,
    /// Memory, in MiB.
    pub memory_mib: u64,
    /// True when swap space is in use.
    pub swap: bool,
    /// The resolver file that pods should get: systemd-resolved's own where its stub is
    /// configured, since no pod reaches the stub; `None` when the host has none.
    pub resolv_conf: Option<String>,
    /// True when that file names no server that pods can ask.
    pub resolv_conf_empty: bool,
    /// The server on loopback that it names all the same.
    pub loopback_resolver: Option<IpAddr>,
    /// Bytes free below `/var/lib`.
    pub free_bytes: u64,
}

impl Facts {
    /// Those of a usual host, which passes preflight: what tests begin with, here and in other crates.
    pub fn example(hostname: &str) -> Self {
        Self {
            hostname: hostname.to_owned(),
            addresses: Addresses::example(IpAddr::from([192, 0, 2, 1])),
            reached: Vec::new(),
            cgroup_version: CgroupVersion::V2,
            cgroup_controllers: ["cpu", "cpuset", "devices", "freezer", "memory", "pids"]
                .map(str::to_owned)
                .to_vec(),
            systemd: true,
            systemctl: true,
            sandbox: None,
            cap_sys_resource: true,
            root: true,
            overlayfs: true,
            cpus: 2,
            memory_mib: 4096,
            swap: false,
            resolv_conf: Some(path::RESOLV_CONF.to_owned()),
            resolv_conf_empty: false,
            loopback_resolver: None,
            free_bytes: 100 << 30,
        }
    }

    /// The driver that kubelet and runc shall use: systemd's where that is pid 1, but not in a sandbox, whose
    /// pods have a cgroup of their own beside that of its systemd.
    pub fn cgroup_driver(&self) -> CgroupDriver {
        if self.systemd && self.sandbox.is_none() { CgroupDriver::Systemd } else { CgroupDriver::Cgroupfs }
    }
}

/// Reads the facts of the host that we run on. What cannot be read counts as missing: preflight
/// names it then.
pub fn detect(root: &Root) -> Facts {
    let cgroup_version = cgroup_version();
    let resolv_conf = resolv_conf(root);
    let status = read("/proc/self/status");
    let servers = resolv_conf.as_ref().map(|file| name_servers(&read(root.path(file)))).unwrap_or_default();
    Facts {
        hostname: rustix::system::uname().nodename().to_string_lossy().to_lowercase(),
        addresses: Addresses::now(),
        reached: network::reached(),
        cgroup_version,
        cgroup_controllers: controllers(cgroup_version),
        systemd: Path::new(path::RUNTIME_UNITS).is_dir(),
        systemctl: in_path(root, "systemctl"),
        sandbox: sandbox(root),
        cap_sys_resource: has_capability(&status, CAP_SYS_RESOURCE),
        root: rustix::process::geteuid().is_root(),
        overlayfs: read("/proc/filesystems")
            .lines()
            .any(|l| l.trim_start_matches("nodev").trim() == "overlay"),
        cpus: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        memory_mib: memory_mib(&read("/proc/meminfo")),
        swap: read("/proc/swaps").lines().count() > 1,
        resolv_conf_empty: !is_for_pods(&servers),
        loopback_resolver: servers.into_iter().find(IpAddr::is_loopback),
        resolv_conf,
        free_bytes: free_bytes(&root.path("/var/lib")),
    }
}

fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn cgroup_version() -> CgroupVersion {
    // CGROUP2_SUPER_MAGIC of linux/magic.h.
    match rustix::fs::statfs("/sys/fs/cgroup") {
        Ok(stat) if stat.f_type == 0x6367_7270 => CgroupVersion::V2,
        _ => CgroupVersion::V1,
    }
}

fn controllers(version: CgroupVersion) -> Vec<String> {
    match version {
        CgroupVersion::V2 => {
            let mut names: Vec<String> = read("/sys/fs/cgroup/cgroup.controllers")
                .split_ascii_whitespace()
                .map(str::to_owned)
                .collect();
            // Built into v2 without a name of their own there.
            names.extend(["devices", "freezer"].map(str::to_owned));
            names
        }
        CgroupVersion::V1 => v1_controllers(&read("/proc/mounts")),
    }
}

/// The controllers of all mounted v1 hierarchies: the mount option is the controller's name.
fn v1_controllers(mounts: &str) -> Vec<String> {
    let known = |option: &&str| {
        !matches!(*option, "rw" | "ro") && !option.contains("relatime") && !option.contains('=')
    };
    let mut names: Vec<String> = mounts
        .lines()
        .map(|line| line.split_ascii_whitespace().collect::<Vec<_>>())
        .filter(|fields| fields.get(2) == Some(&"cgroup"))
        .flat_map(|fields| {
            fields.get(3).copied().unwrap_or_default().split(',').filter(known).collect::<Vec<_>>()
        })
        .filter(|option| !matches!(*option, "nosuid" | "nodev" | "noexec" | "xattr"))
        .map(str::to_owned)
        .collect();
    names.sort();
    names.dedup();
    names
}

fn sandbox(root: &Root) -> Option<Sandbox> {
    let text = fs::read_to_string(root.path(path::SANDBOX_FACTS)).ok()?;
    // An unreadable file still says that this is a sandbox.
    Some(serde_json::from_str(&text).unwrap_or_default())
}

fn has_capability(status: &str, bit: u32) -> bool {
    let set = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    set.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).is_some_and(|set| set & (1 << bit) != 0)
}

fn memory_mib(meminfo: &str) -> u64 {
    let kib = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    kib.and_then(|text| text.split_ascii_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) / 1024
}

/// The file to give to pods: the plain one unless that names a server on loopback, which in a pod is the pod itself, and
/// systemd-resolved has one with the servers that it asks.
fn resolv_conf(root: &Root) -> Option<String> {
    let of_pods = |path: &str| {
        let servers = name_servers(&host::fs::read_small_text(&root.path(path), LARGEST_RESOLV_CONF).ok()?);
        Some(is_for_pods(&servers))
    };
    let plain = of_pods(path::RESOLV_CONF)?;
    let instead = !plain && of_pods(path::RESOLVED_RESOLV_CONF) == Some(true);
    Some(if instead { path::RESOLVED_RESOLV_CONF } else { path::RESOLV_CONF }.to_owned())
}

/// Whether pods can ask these: cluster DNS would ask itself at one of loopback, for ever.
fn is_for_pods(servers: &[IpAddr]) -> bool {
    !servers.is_empty() && !servers.iter().any(IpAddr::is_loopback)
}

fn free_bytes(dir: &Path) -> u64 {
    rustix::fs::statvfs(dir).map_or(0, |stat| stat.f_bavail * stat.f_frsize)
}

/// True when a program of that name lies in one of the places where an init system looks.
pub(crate) fn in_path(root: &Root, program: &str) -> bool {
    ["/usr/local/sbin", path::PROGRAMS, "/usr/sbin", "/usr/bin", "/sbin", "/bin"]
        .iter()
        .any(|dir| root.path(dir).join(program).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_read_from_the_effective_set() {
        let status = "CapPrm:\t000001ffffffffff\nCapEff:\t000001fffeffffff\n";
        assert!(!has_capability(status, CAP_SYS_RESOURCE));
        assert!(has_capability(status, 21));
        assert!(!has_capability("", 21));
    }

    #[test]
    fn v1_controllers_are_the_mount_options() {
        let mounts = "tmpfs /sys/fs/cgroup tmpfs rw,mode=755 0 0\n\
            cgroup /sys/fs/cgroup/cpu cgroup rw,nosuid,relatime,cpu,cpuacct 0 0\n\
            cgroup /sys/fs/cgroup/memory cgroup rw,relatime,memory 0 0\n\
            cgroup /sys/fs/cgroup/systemd cgroup rw,relatime,name=systemd 0 0\n";
        assert_eq!(v1_controllers(mounts), ["cpu", "cpuacct", "memory"]);
    }

    #[test]
    fn the_resolver_s_stub_is_never_given_to_pods() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::below(dir.path());
        assert_eq!(resolv_conf(&root), None);
        let etc = root.path("/etc");
        host::fs::create_dir_all(&etc, 0o755).unwrap();
        host::fs::write(&etc.join("resolv.conf"), b"nameserver 127.0.0.53\n", 0o644).unwrap();
        assert_eq!(resolv_conf(&root).as_deref(), Some("/etc/resolv.conf"));
        let resolved = root.path("/run/systemd/resolve");
        host::fs::create_dir_all(&resolved, 0o755).unwrap();
        host::fs::write(&resolved.join("resolv.conf"), b"nameserver 192.0.2.1\n", 0o644).unwrap();
        assert_eq!(resolv_conf(&root).as_deref(), Some("/run/systemd/resolve/resolv.conf"));
    }

    #[test]
    fn a_resolver_on_loopback_is_none_for_pods() {
        let of_pods = |text: &str| is_for_pods(&name_servers(text));
        assert!(of_pods("# x\nsearch a\nnameserver 192.0.2.1\nnameserver fe80::1%eth0\n"));
        for text in [
            "# nameserver 192.0.2.1\nsearch example.org\n",
            "nameserver 127.0.0.1\n",
            "nameserver ::1\n",
            "nameserver 127.0.0.53\noptions edns0\n",
            // Cluster DNS asks any of them.
            "nameserver 192.0.2.1\nnameserver 127.0.0.1\n",
        ] {
            assert!(!of_pods(text), "{text}");
        }
    }

    #[test]
    fn a_sandbox_is_known_by_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::below(dir.path());
        assert_eq!(sandbox(&root), None);
        host::fs::create_dir_all(&root.path("/etc/kubestrap"), 0o755).unwrap();
        host::fs::write(&root.path(path::SANDBOX_FACTS), br#"{"cgroupRoot":"/demo","more":1}"#, 0o644)
            .unwrap();
        assert_eq!(sandbox(&root).unwrap().cgroup_root.as_deref(), Some("/demo"));
    }

    #[test]
    fn memory_is_in_mib() {
        assert_eq!(memory_mib("MemTotal:       24659408 kB\nMemFree: 1 kB\n"), 24081);
    }
}
