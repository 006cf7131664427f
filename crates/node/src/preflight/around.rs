//! What a node finds around it on the host: programs of others, file systems, networks of other clusters.

use std::path::{Path, PathBuf};

use checks::{Check, kind};
use names::path;
use rustix::fs::StatVfsMountFlags;

use super::input::HostInput;
use crate::facts::{self, Facts};
use crate::{Root, kernel};

/// Programs of the host by which the kubelet mounts volumes.
const MOUNTS: [&str; 2] = ["mount", "umount"];

/// What the kubelet needs of a file system of its own for pods' volumes and logs, before it evicts pods, in bytes.
const KUBELET_BYTES: u64 = 256 << 20;

/// What a young etcd writes: its log, allocated ahead in files of 64 MB, the database, and snapshots, in bytes.
const ETCD_BYTES: u64 = 512 << 20;

/// The endings of files that the runtime takes for a pod network (`ConfFiles` in pkg of
/// containernetworking/cni, libcni/api.go).
const CNI_ENDINGS: [&str; 3] = ["conf", "conflist", "json"];

/// Programs of others that are called later. (kube-proxy brings `nft` and `iptables` of its own, and clears connections
/// without the program conntrack.)
pub(super) fn programs(root: &Root, facts: &Facts, input: &HostInput<'_>) -> Vec<Check> {
    let mount = |name| {
        let cause = || format!("the program {name} is missing, by which the kubelet mounts volumes");
        let remedy = "install it, such as with: apt-get install mount";
        find(root, name).unwrap_or_else(|n| Check::failed(n, cause(), remedy))
    };
    let mut checks: Vec<Check> = MOUNTS.into_iter().map(mount).collect();
    let iptables: &[&str] = if input.ipv6 { &["iptables", "ip6tables"] } else { &["iptables"] };
    for name in iptables.iter().filter(|_| input.flannel) {
        let cause = || format!("the program {name} is missing: pods with a hostPort will not start");
        let remedy = "install it, such as with: apt-get install iptables";
        checks.push(find(root, name).unwrap_or_else(|n| Check::warning(n, cause(), remedy)));
    }
    let missing: Vec<String> =
        kernel::modules(facts).into_iter().filter(|module| !kernel::has_module(root, module)).collect();
    if !missing.is_empty() {
        let cause =
            || format!("the program modprobe is missing, by which {} would be loaded", missing.join(", "));
        let remedy = "install it, such as with: apt-get install kmod";
        checks.push(find(root, "modprobe").unwrap_or_else(|n| Check::warning(n, cause(), remedy)));
    }
    checks
}

/// The check of a program that is there, else its name.
fn find(root: &Root, program: &str) -> Result<Check, checks::Name> {
    let name = kind::FILE_EXISTING.of(program);
    if facts::in_path(root, program) { Ok(Check::passed(name)) } else { Err(name) }
}

/// What matters of a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileSystem {
    device: u64,
    free: u64,
    read_only: bool,
    no_exec: bool,
}

/// What a directory of a node is for.
#[derive(Clone, Copy, Debug)]
struct Use<'a> {
    path: &'a str,
    bytes: u64,
    programs: bool,
}

/// Directories of a node whose file system is another one than that of /var/lib, which is looked at as a whole.
pub(super) fn file_systems(root: &Root, input: &HostInput<'_>, ours: bool) -> Vec<Check> {
    let common = file_system(root, "/var/lib");
    let judge = |wanted: &Use<'_>| Some(room(wanted, file_system(root, wanted.path)?, common));
    uses(input, ours).iter().filter_map(judge).collect()
}

fn uses<'a>(input: &HostInput<'a>, ours: bool) -> Vec<Use<'a>> {
    let data = |path, bytes| Use { path, bytes, programs: false };
    let programs = |path| Use { path, bytes: 0, programs: true };
    let mut uses =
        vec![data(path::KUBELET, KUBELET_BYTES), programs(path::CNI_PLUGINS), programs(path::PROGRAMS)];
    if !input.existing_containerd {
        // A node that has its images already needs no room for them.
        uses.push(data(path::CONTAINERD_ROOT, if ours { 0 } else { input.needed_bytes * 2 }));
    }
    if input.local_etcd {
        uses.push(data(input.etcd_data_dir, if ours { 0 } else { ETCD_BYTES }));
    }
    uses
}

fn room(wanted: &Use<'_>, found: FileSystem, common: Option<FileSystem>) -> Check {
    let name = kind::FILE_SYSTEM.of_path(wanted.path);
    let path = wanted.path;
    let own = common.is_none_or(|common| common.device != found.device);
    if found.read_only {
        return Check::failed(
            name,
            format!("{path} is on a file system that is mounted read-only"),
            "mount it with rw",
        );
    }
    if wanted.programs && found.no_exec {
        let cause =
            format!("{path} is on a file system that is mounted with noexec: programs there cannot be run");
        return Check::failed(
            name,
            cause,
            format!("mount it without noexec, such as with: mount -o remount,exec {path}"),
        );
    }
    if own && found.free < wanted.bytes {
        let mib = |bytes: u64| bytes.div_ceil(1 << 20);
        let cause = format!(
            "{} MiB are free on the file system of {path} and {} MiB are needed",
            found.free >> 20,
            mib(wanted.bytes)
        );
        return Check::failed(name, cause, "make it larger, or free some space there");
    }
    Check::passed(name)
}

/// The file system that a path lies on, or would lie on; none when that cannot be found out.
fn file_system(root: &Root, path: &str) -> Option<FileSystem> {
    let path = root.path(path);
    let there: PathBuf = path.ancestors().find(|path| path.exists()).map(Path::to_owned)?;
    let device = rustix::fs::stat(&there).ok()?.st_dev;
    let stat = rustix::fs::statvfs(&there).ok()?;
    Some(FileSystem {
        device,
        free: stat.f_bavail * stat.f_frsize,
        read_only: stat.f_flag.contains(StatVfsMountFlags::RDONLY),
        no_exec: stat.f_flag.contains(StatVfsMountFlags::NOEXEC),
    })
}

/// Configurations of pod networks that others left: the runtime takes the first by its name.
pub(super) fn cni_config(root: &Root, input: &HostInput<'_>) -> Option<Check> {
    input.flannel.then(|| {
        let Foreign { before, behind } = foreign_cni(&root.path(path::CNI_CONFIG));
        let remedy = format!(
            "move it away, or the other network with it; where that network shall stay, set network.provider=none ({} is flannel's)",
            path::FLANNEL_CNI_CONFIG
        );
        if let Some(first) = before.first() {
            let cause = format!(
                "{}/{first} is of another pod network and sorts before flannel's file: all pods would be in that network",
                path::CNI_CONFIG
            );
            return Check::failed(&kind::CNI_CONFIG, cause, remedy);
        }
        if let Some(first) = behind.first().filter(|_| !root.path(path::FLANNEL_CNI_CONFIG).exists()) {
            let cause = format!(
                "{}/{first} is of another pod network: pods that start before flannel does would be in it",
                path::CNI_CONFIG
            );
            return Check::warning(&kind::CNI_CONFIG, cause, remedy);
        }
        Check::passed(&kind::CNI_CONFIG)
    })
}

/// Files of other pod networks, by how they sort against flannel's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Foreign {
    /// The runtime takes the first of these.
    pub before: Vec<String>,
    /// They count until flannel's is there.
    pub behind: Vec<String>,
}

/// What others left in the directory of pod networks.
pub fn foreign_cni(dir: &Path) -> Foreign {
    let ours = Path::new(path::FLANNEL_CNI_CONFIG).file_name().unwrap_or_default();
    let counts = |path: &PathBuf| {
        path.extension().and_then(|e| e.to_str()).is_some_and(|ending| CNI_ENDINGS.contains(&ending))
    };
    let entries = host::fs::list(dir).unwrap_or_default().into_iter().filter(counts);
    let mut foreign = Foreign::default();
    for entry in entries {
        let Some(name) = entry.file_name().filter(|name| *name != ours) else { continue };
        let list = if name < ours { &mut foreign.before } else { &mut foreign.behind };
        list.push(name.to_string_lossy().into_owned());
    }
    foreign
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input() -> HostInput<'static> {
        HostInput::example()
    }

    fn problems(checks: &[Check]) -> Vec<String> {
        checks.iter().filter(|check| check.is_problem()).map(ToString::to_string).collect()
    }

    fn root(files: &[&str]) -> (tempfile::TempDir, Root) {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::below(dir.path());
        for path in files {
            let path = root.path(path);
            host::fs::create_dir_all(path.parent().unwrap(), 0o755).unwrap();
            host::fs::write(&path, b"", 0o755).unwrap();
        }
        (dir, root)
    }

    #[test]
    fn programs_that_are_called_later_are_looked_at() {
        let facts = Facts::example("a");
        let found = |files: &[&str], input: &HostInput<'_>| {
            let (_dir, root) = root(files);
            problems(&programs(&root, &facts, input))
                .iter()
                .map(|told| told.split(':').next().unwrap().to_owned())
                .collect::<Vec<_>>()
        };
        let all = ["/bin/mount", "/usr/bin/umount", "/usr/sbin/iptables", "/sbin/modprobe"];
        assert_eq!(found(&all, &input()), Vec::<String>::new());
        let expected = [
            "FileExisting-mount failed",
            "FileExisting-umount failed",
            "FileExisting-iptables warning",
            "FileExisting-modprobe warning",
        ];
        assert_eq!(found(&[], &input()), expected);
        let ipv6 = HostInput { ipv6: true, ..input() };
        assert_eq!(found(&all, &ipv6), ["FileExisting-ip6tables warning"]);
        let own_network = HostInput { flannel: false, ..input() };
        let loaded = ["/bin/mount", "/bin/umount", "/sys/module/overlay/x", "/sys/module/br_netfilter/x"];
        assert_eq!(found(&loaded, &own_network), Vec::<String>::new());
    }

    #[test]
    fn a_file_system_of_its_own_has_to_be_fit_for_what_goes_there() {
        let good = FileSystem { device: 2, free: 1 << 30, read_only: false, no_exec: false };
        let common = Some(FileSystem { device: 1, ..good });
        let data = Use { path: "/var/lib/containerd", bytes: 300 << 20, programs: false };
        let told = |wanted: &Use<'_>, found, common| room(wanted, found, common).to_string();
        assert_eq!(told(&data, good, common), "FileSystem--var-lib-containerd ok");
        let small = FileSystem { free: 200 << 20, ..good };
        insta::assert_snapshot!(
            told(&data, small, common),
            @"FileSystem--var-lib-containerd failed: 200 MiB are free on the file system of /var/lib/containerd and 300 MiB are needed; make it larger, or free some space there"
        );
        assert!(told(&data, small, Some(small)).ends_with(" ok"), "DiskSpace tells of that one");
        let no_exec = FileSystem { no_exec: true, ..good };
        assert!(told(&data, no_exec, common).ends_with(" ok"), "nothing is run from there");
        let programs = Use { path: "/opt/cni/bin", bytes: 0, programs: true };
        assert!(
            told(&programs, no_exec, Some(no_exec))
                .contains("failed: /opt/cni/bin is on a file system that is mounted with noexec")
        );
        assert!(told(&programs, FileSystem { read_only: true, ..good }, common).contains("read-only"));
    }

    #[test]
    fn the_file_system_of_what_is_not_there_yet_is_that_of_its_parent() {
        let (dir, root) = root(&["/var/lib/x"]);
        let of = |path: &str| file_system(&root, path).unwrap().device;
        assert_eq!(of("/var/lib/containerd/deep"), rustix::fs::stat(dir.path()).unwrap().st_dev);
        let paths: Vec<&str> = uses(&input(), false).iter().map(|u| u.path).collect();
        assert_eq!(
            paths,
            ["/var/lib/kubelet", "/opt/cni/bin", "/usr/local/bin", "/var/lib/containerd", "/var/lib/etcd"]
        );
    }

    #[test]
    fn another_network_s_file_is_told_by_how_it_sorts() {
        let told = |names: &[&str]| {
            let files: Vec<String> = names.iter().map(|name| format!("/etc/cni/net.d/{name}")).collect();
            let (_dir, root) = root(&files.iter().map(String::as_str).collect::<Vec<_>>());
            cni_config(&root, &input()).unwrap().to_string()
        };
        for foreign in ["00-podman-bridge.conflist", "05-cilium.conf", "10-calico.conflist", "1.json"] {
            let told = told(&["10-flannel.conflist", foreign]);
            assert!(told.starts_with(&format!("CniConfig failed: /etc/cni/net.d/{foreign} ")), "{told}");
        }
        assert!(
            told(&["87-podman-bridge.conflist"])
                .contains("warning: /etc/cni/net.d/87-podman-bridge.conflist")
        );
        for fine in [
            &["10-flannel.conflist", "87-podman-bridge.conflist"][..],
            &["calico-kubeconfig", "00-x.conf.bak"],
            &[],
        ] {
            assert_eq!(told(fine), "CniConfig ok", "{fine:?}");
        }
        let (_dir, root) = root(&["/etc/cni/net.d/05-cilium.conf"]);
        assert_eq!(cni_config(&root, &HostInput { flannel: false, ..input() }), None);
    }
}
