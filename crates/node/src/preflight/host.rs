//! Checks before a host is made a node.

use checks::{Check, Kind, kind};
use cluster::KubernetesVersion;
use cri::{CriError, Version};
use names::port::Part;
use names::{component, path};

use super::input::HostInput;
use super::{around, endpoint, ports, ranges};
use crate::facts::{CgroupVersion, Facts};
use crate::record::Record;
use crate::{Root, containerd, drop_ins, units};

/// kubeadm's minimum for a control-plane node.
const MIN_CPUS: usize = 2;

/// kubeadm's minimum for a control-plane node, in MiB.
const MIN_MEMORY_MIB: u64 = 1700;

/// The moment before which no clock can be right: 2026-01-01, in seconds since the epoch.
const EARLIEST: u64 = 1_767_225_600;

/// Makes all checks of a host that shall become a node. Changes nothing.
pub async fn host(root: &Root, facts: &Facts, input: &HostInput<'_>) -> Vec<Check> {
    let mut checks = of_facts(facts, input);
    let wanted = wanted_ports(input);
    let numbers: Vec<u16> = wanted.iter().map(|(port, _)| *port).collect();
    checks.extend(ports::check(&wanted, &ports::listeners(root, &numbers)));
    checks.extend(around::programs(root, facts, input));
    checks.extend(around::file_systems(root, input, is_ours(root, input.ca)));
    checks.extend(foreign_files(root, input));
    checks.extend(unit_commands(root, input));
    checks.extend(around::cni_config(root, input));
    checks.extend(ranges::check(facts, input, is_ours(root, input.ca)));
    checks.extend(endpoint::check(root, input).await);
    checks.push(if input.existing_containerd { existing_runtime(root).await } else { own_runtime(root) });
    checks
}

fn wanted_ports(input: &HostInput<'_>) -> Vec<(u16, &'static str)> {
    let mut ports = ports::ports_of(|part| match part {
        Part::Kubelet => true,
        Part::KubeProxy => input.kube_proxy,
        Part::ControlPlane => input.control_plane,
        Part::Etcd => input.local_etcd,
    });
    if input.control_plane {
        ports.push((input.api_port, component::KUBE_APISERVER));
    }
    ports
}

/// The checks that follow from facts alone.
fn of_facts(facts: &Facts, input: &HostInput<'_>) -> Vec<Check> {
    vec![
        privileged(facts),
        init_system(facts),
        cpus(facts, input),
        memory(facts, input),
        swap(facts),
        cgroups(facts),
        overlayfs(facts),
        hostname(input.node_name),
        addresses(facts),
        resolver(facts),
        disk(facts, input),
        clock(std::time::SystemTime::now()),
        kubelet_version(input),
    ]
}

fn privileged(facts: &Facts) -> Check {
    const NAME: &Kind = &kind::IS_PRIVILEGED_USER;
    if facts.root { Check::passed(NAME) } else { Check::failed(NAME, "you are not root", "run it with sudo") }
}

fn init_system(facts: &Facts) -> Check {
    const NAME: &Kind = &kind::INIT_SYSTEM;
    if facts.systemctl {
        return Check::passed(NAME);
    }
    Check::failed(
        NAME,
        "there is no systemctl, by which containerd and the kubelet are run",
        "use a host with systemd, or try kubestrap on this machine in a sandbox: kubestrap sandbox create",
    )
}

fn cpus(facts: &Facts, input: &HostInput<'_>) -> Check {
    const NAME: &Kind = &kind::NUM_CPU;
    if facts.cpus >= MIN_CPUS || !input.control_plane {
        return Check::passed(NAME);
    }
    let cause = format!("{} CPU is there and a control plane wants {MIN_CPUS}", facts.cpus);
    Check::warning(NAME, cause, "expect a slow control plane, or use a larger host")
}

fn memory(facts: &Facts, input: &HostInput<'_>) -> Check {
    const NAME: &Kind = &kind::MEM;
    if facts.memory_mib >= MIN_MEMORY_MIB || !input.control_plane {
        return Check::passed(NAME);
    }
    let cause =
        format!("{} MiB of memory are there and a control plane needs {MIN_MEMORY_MIB}", facts.memory_mib);
    Check::failed(NAME, cause, "use a larger host")
}

fn swap(facts: &Facts) -> Check {
    const NAME: &Kind = &kind::SWAP;
    if !facts.swap {
        return Check::passed(NAME);
    }
    Check::warning(
        NAME,
        "swap is on: pods may be slowed down by it, and their memory limits mean less",
        "turn it off with: swapoff -a (and in /etc/fstab)",
    )
}

fn cgroups(facts: &Facts) -> Check {
    const NAME: &Kind = &kind::SYSTEM_VERIFICATION;
    let needed: &[&str] = match facts.cgroup_version {
        CgroupVersion::V1 => &["cpu", "cpuacct", "cpuset", "devices", "freezer", "memory", "pids"],
        CgroupVersion::V2 => &["cpu", "cpuset", "devices", "freezer", "memory", "pids"],
    };
    let missing: Vec<&str> =
        needed.iter().copied().filter(|name| !facts.cgroup_controllers.iter().any(|c| c == name)).collect();
    if !missing.is_empty() {
        let cause = format!("the cgroup controllers {} are missing", missing.join(", "));
        return Check::failed(
            NAME,
            cause,
            "enable them on the kernel's command line, such as: cgroup_enable=memory",
        );
    }
    if facts.cgroup_version == CgroupVersion::V1 && facts.sandbox.is_none() {
        let cause = "this host uses cgroup v1, which Kubernetes supports no longer for new features";
        return Check::warning(NAME, cause, "boot with: systemd.unified_cgroup_hierarchy=1");
    }
    Check::passed(NAME)
}

fn overlayfs(facts: &Facts) -> Check {
    const NAME: &Kind = &kind::OVERLAYFS;
    if facts.overlayfs {
        return Check::passed(NAME);
    }
    Check::warning(
        NAME,
        "the kernel has no overlayfs yet, which containers need",
        "nothing, when it is a module: it will be loaded; else use another kernel",
    )
}

/// How many bytes the value of a label has at most (`LabelValueMaxLength` in
/// staging/src/k8s.io/apimachinery/pkg/api/validate/content/kube.go).
const LABEL_VALUE: usize = 63;

/// The name must be one that Kubernetes takes for an object, an RFC 1123 subdomain, and for the value of a label: each
/// kubelet labels its node with it.
fn hostname(name: &str) -> Check {
    const NAME: &Kind = &kind::HOSTNAME;
    let good = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    let label = |l: &str| {
        l.bytes().all(|c| good(c) || c == b'-')
            && l.bytes().next().is_some_and(good)
            && l.bytes().last().is_some_and(good)
    };
    let cause = if name.split('.').next() == Some("localhost") {
        format!("{name:?} cannot be a node's name: every host calls itself so")
    } else if name.len() > LABEL_VALUE {
        let length = name.len();
        format!("{name:?} cannot be a node's name: it has {length} characters, and {LABEL_VALUE} are allowed")
    } else if name.split('.').all(label) {
        return Check::passed(NAME);
    } else {
        format!("{name:?} cannot be a node's name: only a-z, 0-9, - and . are allowed")
    };
    Check::failed(
        NAME,
        cause,
        "rename the host with hostnamectl set-hostname, or give another name with --node-name",
    )
}

fn addresses(facts: &Facts) -> Check {
    const NAME: &Kind = &kind::NODE_ADDRESS;
    if !facts.addresses.preferred.is_empty() {
        return Check::passed(NAME);
    }
    let cause = "no interface that is up has an address other than loopback";
    Check::failed(NAME, cause, "bring the network up")
}

fn resolver(facts: &Facts) -> Check {
    const NAME: &Kind = &kind::RESOLVER;
    if !facts.resolv_conf_empty {
        return Check::passed(NAME);
    }
    let file = facts.resolv_conf.as_deref().unwrap_or(path::RESOLV_CONF);
    if let Some(server) = facts.loopback_resolver {
        return Check::warning(
            NAME,
            format!(
                "{file} names {server}, which in a pod is the pod itself: cluster DNS is told to ask no other server, and pods will resolve names of the cluster only"
            ),
            "name the servers that this one asks there, if pods shall reach names outside",
        );
    }
    Check::warning(
        NAME,
        format!("{file} names no server: pods will resolve names of the cluster only"),
        "add a nameserver line if pods shall reach names outside",
    )
}

fn disk(facts: &Facts, input: &HostInput<'_>) -> Check {
    const NAME: &Kind = &kind::DISK_SPACE;
    const GIB: u64 = 1 << 30;
    // Images lie there compressed and unpacked; a cluster's own data and logs need a while for 1 GiB.
    let needed = input.needed_bytes * 2 + GIB;
    if facts.free_bytes >= needed {
        return Check::passed(NAME);
    }
    let mib = |bytes: u64| bytes >> 20;
    let cause =
        format!("{} MiB are free below /var/lib and {} MiB are needed", mib(facts.free_bytes), mib(needed));
    Check::failed(NAME, cause, "free some space there")
}

fn clock(now: std::time::SystemTime) -> Check {
    const NAME: &Kind = &kind::CLOCK;
    let seconds = now.duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_secs());
    if seconds >= EARLIEST {
        return Check::passed(NAME);
    }
    let cause = "the clock is wrong: it shows a time before this program was written";
    Check::failed(NAME, cause, "set it, such as with: timedatectl set-ntp true")
}

/// The version skew that Kubernetes allows.
fn kubelet_version(input: &HostInput<'_>) -> Check {
    const NAME: &Kind = &kind::KUBELET_VERSION;
    let version = |text: &str| text.parse::<KubernetesVersion>().ok();
    let (Some(kubelet), Some(cluster)) = (version(input.kubelet_version), version(input.cluster_version))
    else {
        let cause = format!("cannot compare {:?} with {:?}", input.kubelet_version, input.cluster_version);
        return Check::unknown(NAME, cause, "look whether the bundle is whole with: kubestrap bundle verify");
    };
    if cluster.allows_kubelet(kubelet) {
        return Check::passed(NAME);
    }
    let cause = format!(
        "a kubelet {} cannot work with a control plane {}",
        input.kubelet_version, input.cluster_version
    );
    Check::failed(NAME, cause, "use a bundle of the cluster's own minor version")
}

/// Drop-ins of others that would have systemd run something else as our units.
fn unit_commands(root: &Root, input: &HostInput<'_>) -> Vec<Check> {
    let containerd = (!input.existing_containerd).then_some(containerd::UNIT);
    let units = [path::KUBELET_UNIT].into_iter().chain(containerd);
    units.map(|unit| drop_ins::check(|path| root.path(path), unit)).collect()
}

/// Files of another cluster or another installer, which must not be overwritten.
fn foreign_files(root: &Root, input: &HostInput<'_>) -> Vec<Check> {
    let mut checks = Vec::new();
    let mut ours = vec![path::KUBELET_CONFIG.to_owned(), units::path(path::KUBELET_UNIT)];
    if !input.existing_containerd {
        ours.extend([path::CONTAINERD_CONFIG.to_owned(), units::path(containerd::UNIT)]);
    }
    let record = Record::read(root).ok().flatten();
    checks.extend(ours.iter().map(|path| written_by_us(root, path, record.as_ref())));
    checks.push(same_cluster(root, input.ca));
    if is_ours(root, input.ca) {
        return checks;
    }
    if input.control_plane {
        checks.extend(
            [component::ETCD].into_iter().chain(component::CONTROL_PLANE).map(|n| no_static_pod(root, n)),
        );
    }
    if input.local_etcd {
        checks.push(etcd_data(root, input));
    }
    checks
}

/// One that an install of ours has placed is ours, whoever has put another one there since.
fn written_by_us(root: &Root, path: &str, record: Option<&Record>) -> Check {
    let name = kind::FILE_AVAILABLE.of_path(path);
    if record.is_some_and(|record| record.files.contains_key(path)) {
        return Check::passed(name);
    }
    match std::fs::read_to_string(root.path(path)) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Check::passed(name),
        Err(error) => Check::unknown(name, format!("{path}: {error}"), "make it readable or remove it"),
        Ok(text) if containerd::is_ours(&text) => Check::passed(name),
        Ok(_) => {
            let remedy = if path.contains("containerd") {
                format!("keep your containerd with --use-existing-containerd, or move {path} away")
            } else {
                format!("move {path} away if nothing else on this host needs it")
            };
            Check::failed(name, format!("{path} is there and kubestrap did not write it"), remedy)
        }
    }
}

/// Whether this host is a node of the cluster that shall be brought up: by its CA. All that lies
/// here is ours then, left by a run before.
fn is_ours(root: &Root, ca: Option<&str>) -> bool {
    let found = std::fs::read_to_string(root.path(path::CA_CERTIFICATE));
    ca.is_some_and(|ca| found.is_ok_and(|found| found.trim() == ca.trim()))
}

fn same_cluster(root: &Root, ca: Option<&str>) -> Check {
    let name = kind::FILE_AVAILABLE.of_path(path::CA_CERTIFICATE);
    if is_ours(root, ca) || !root.path(path::CA_CERTIFICATE).exists() {
        return Check::passed(name);
    }
    let cause = format!("{} is another cluster's: this host is a node already", path::CA_CERTIFICATE);
    Check::failed(name, cause, "remove that cluster from this host first: kubestrap reset, or kubeadm reset")
}

fn no_static_pod(root: &Root, component: &str) -> Check {
    let path = format!("{}/{component}.yaml", path::STATIC_PODS);
    let name = kind::FILE_AVAILABLE.of_path(&path);
    if !root.path(&path).exists() {
        return Check::passed(name);
    }
    let cause = format!("{path} is there: a control plane of static pods runs on this host");
    Check::failed(name, cause, "remove that control plane first, such as with: kubeadm reset")
}

fn etcd_data(root: &Root, input: &HostInput<'_>) -> Check {
    let name = kind::DIR_AVAILABLE.of_path(input.etcd_data_dir);
    match host::fs::list(&root.path(input.etcd_data_dir)) {
        Ok(entries) if entries.is_empty() => Check::passed(name),
        Ok(_) => {
            let cause = format!("{} holds data of an etcd that is not this cluster's", input.etcd_data_dir);
            Check::failed(name, cause, "move that directory away")
        }
        Err(error) => Check::unknown(name, error.to_string(), "make it readable"),
    }
}

/// A containerd of our own needs the socket for itself.
fn own_runtime(root: &Root) -> Check {
    const NAME: &Kind = &kind::CRI;
    let unit_is_ours = std::fs::read_to_string(root.path(units::path(containerd::UNIT)))
        .is_ok_and(|text| containerd::is_ours(&text));
    let answers = std::os::unix::net::UnixStream::connect(root.path(path::CRI_SOCKET)).is_ok();
    if unit_is_ours || !answers {
        return Check::passed(NAME);
    }
    Check::failed(
        NAME,
        format!("another containerd listens on {}", path::CRI_SOCKET),
        "keep it with --use-existing-containerd, or remove it, such as with: apt-get remove containerd",
    )
}

async fn existing_runtime(root: &Root) -> Check {
    const NAME: &Kind = &kind::CRI;
    let ask = async {
        let runtime = root.machine().runtime(root.path(path::CRI_SOCKET)).await?;
        Ok::<_, CriError>((runtime.version().await?, runtime.runtime_config().await?))
    };
    match ask.await {
        Ok((version, config)) => runtime_version(&version, config.is_some()),
        Err(error) => {
            let remedy = "start containerd, or leave --use-existing-containerd away and have one installed";
            Check::failed(NAME, crate::execute::chain(&error), remedy)
        }
    }
}

/// The kubelet asks the runtime for its cgroup driver by the call RuntimeConfig and does not start
/// without; containerd has it since 2.0.
fn runtime_version(version: &Version, has_runtime_config: bool) -> Check {
    const NAME: &Kind = &kind::CRI;
    if has_runtime_config {
        return Check::passed(NAME);
    }
    Check::failed(
        NAME,
        format!(
            "{} {} lacks the CRI call RuntimeConfig, which the kubelet needs",
            version.runtime, version.version
        ),
        "install containerd 2.0 or later, or remove it and leave --use-existing-containerd away",
    )
}

#[cfg(test)]
#[path = "host_tests.rs"]
mod tests;
