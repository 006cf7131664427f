//! Whether the values make sense: each for itself, and together.

use std::net::IpAddr;

use crate::error::did_you_mean;
use crate::special::special;
use crate::tree::{KeyPath, Step};
use crate::{
    AuditConfig, Cidr, ClusterConfig, Component, Endpoint, EtcdConfig, Host, ImageReference,
    KubernetesVersion, NetworkConfig,
};

/// Something that makes no sense, and the keys that are involved; the first is named in messages
/// unless only another one is written in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) keys: Vec<KeyPath>,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

impl Problem {
    fn new(keys: &[&str], message: impl Into<String>) -> Self {
        Self {
            keys: keys.iter().filter_map(|key| KeyPath::parse(key)).collect(),
            message: message.into(),
            hint: None,
        }
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// The Service range must hold the DNS Service, the tenth address: 16 addresses, as kubeadm has it.
const SERVICE_RANGE_MIN_BITS: u8 = 4;
/// The apiserver takes no IPv6 Service range larger than this (pkg/registry/core/service/ipallocator).
const SERVICE_RANGE_IPV6_MIN_PREFIX: u8 = 64;
/// The controller-manager keeps one bit for each node: 65 536 at most (kubeadm's PodSubnetNodeMaskMaxDiff).
const NODE_MASK_MAX_DIFFERENCE: u8 = 16;

/// Every problem of a configuration.
pub(crate) fn validate(config: &ClusterConfig) -> Vec<Problem> {
    let mut problems = Vec::new();
    problems.extend(version(config.kubernetes_version));
    problems.extend(api(config));
    network(&config.network, &mut problems);
    enough_parts(config, &mut problems);
    endpoint_outside_ranges(config, &mut problems);
    problems.extend(etcd(config));
    problems.extend(audit(&config.audit));
    certificates(config, &mut problems);
    if config.control_plane.nodes == 0 {
        problems
            .push(Problem::new(&["controlPlane.nodes"], "a cluster needs at least one control-plane node"));
    }
    problems.extend(min_ready(config.guardian.min_ready_seconds));
    extra_args(config, &mut problems);
    feature_gates(config, &mut problems);
    problems.extend(config.images.overrides.keys().filter_map(|name| image_override(name)));
    problems.extend(config.images.digests.keys().filter_map(|name| image_digest(name)));
    problems
}

fn version(version: KubernetesVersion) -> Option<Problem> {
    let minors = KubernetesVersion::SUPPORTED_MINORS.map(|minor| format!("1.{minor}")).join(" and ");
    (!version.is_supported()).then(|| {
        Problem::new(&["kubernetesVersion"], format!("Kubernetes {version} is not supported"))
            .hint(format!("{minors} are"))
    })
}

fn api(config: &ClusterConfig) -> Option<Problem> {
    let port = config.api.port;
    if port == 0 {
        return Some(Problem::new(&["api.port"], "0 is not a port"));
    }
    let taken = names::port::TABLE.into_iter().find(|taken| taken.number == port)?;
    Some(Problem::new(&["api.port"], format!("port {port} is taken by {}", taken.listener)))
}

fn network(network: &NetworkConfig, problems: &mut Vec<Problem>) {
    let ranges = [("network.podCIDRs", &network.pod_cidrs), ("network.serviceCIDRs", &network.service_cidrs)];
    for (key, cidrs) in ranges {
        problems.extend(families(key, cidrs));
        problems.extend(cidrs.iter().enumerate().filter_map(|(at, cidr)| not_special(key, at, *cidr)));
    }
    let of_pods: Vec<bool> = network.pod_cidrs.iter().map(|cidr| cidr.is_ipv6()).collect();
    let of_services: Vec<bool> = network.service_cidrs.iter().map(|cidr| cidr.is_ipv6()).collect();
    if of_pods != of_services && !of_pods.is_empty() && !of_services.is_empty() {
        let message = "pod and Service ranges must be of the same families, in the same order";
        problems.push(Problem::new(&["network.serviceCIDRs", "network.podCIDRs"], message));
    }
    overlaps(network, problems);
    for (at, cidr) in network.service_cidrs.iter().enumerate() {
        problems.extend(service_range(at, *cidr));
    }
    for (at, cidr) in network.pod_cidrs.iter().enumerate() {
        problems.extend(node_mask(network, at, *cidr));
    }
    if network.flannel.port == 0 {
        problems.push(Problem::new(&["network.flannel.port"], "0 is not a port"));
    }
    if !(1..=0x00ff_ffff).contains(&network.flannel.vni) {
        let message = format!("expected a whole number from 1 to 16777215, not {}", network.flannel.vni);
        problems.push(Problem::new(&["network.flannel.vni"], message));
    }
}

fn min_ready(seconds: u32) -> Option<Problem> {
    let message = || format!("expected a whole number of seconds from 10 to 3600, not {seconds}");
    (!(10..=3600).contains(&seconds)).then(|| Problem::new(&["guardian.minReadySeconds"], message()))
}

fn families(key: &str, cidrs: &[Cidr]) -> Option<Problem> {
    match cidrs {
        [] => Some(Problem::new(&[key], "at least one range is needed")),
        [_] => None,
        [first, second] if first.is_ipv6() != second.is_ipv6() => None,
        [_, _] => Some(Problem::new(&[key], "two ranges must be of different families: one IPv4, one IPv6")),
        _ => Some(Problem::new(&[key], "more than two ranges: one for each family is the most")),
    }
}

fn not_special(key: &str, at: usize, cidr: Cidr) -> Option<Problem> {
    let (special, meaning) = special(cidr)?;
    let message = format!("the range {cidr} overlaps {special}, which is {meaning}");
    let hint = "choose a private range, such as one of 10.0.0.0/8 or fd00::/8";
    Some(Problem::new(&[&format!("{key}[{at}]")], message).hint(hint))
}

/// A node gets a part of each pod range; one without is never ready.
fn enough_parts(config: &ClusterConfig, problems: &mut Vec<Problem>) {
    let (network, nodes) = (&config.network, config.control_plane.nodes);
    for (at, cidr) in network.pod_cidrs.iter().enumerate() {
        let masks = &network.node_cidr_masks;
        let (family, mask) = if cidr.is_ipv6() { ("ipv6", masks.ipv6) } else { ("ipv4", masks.ipv4) };
        // Where it is shorter not even one fits, which is told already.
        let Some(bits) = mask.checked_sub(cidr.prefix_len()) else { continue };
        let parts = 1_u64.checked_shl(bits.into()).unwrap_or(u64::MAX);
        if parts < u64::from(nodes) {
            let keys = [format!("network.podCIDRs[{at}]"), format!("network.nodeCIDRMasks.{family}")];
            let message = format!(
                "the pod range {cidr} has parts of /{mask} for {parts} nodes, and controlPlane.nodes is {nodes}"
            );
            let hint = "make it larger, or network.nodeCIDRMasks longer";
            problems.push(Problem::new(&[&keys[0], &keys[1], "controlPlane.nodes"], message).hint(hint));
        }
    }
}

fn overlaps(network: &NetworkConfig, problems: &mut Vec<Problem>) {
    for (s, service) in network.service_cidrs.iter().enumerate() {
        for (p, pod) in network.pod_cidrs.iter().enumerate().filter(|(_, pod)| pod.overlaps(*service)) {
            let keys = [format!("network.serviceCIDRs[{s}]"), format!("network.podCIDRs[{p}]")];
            let message = format!("the Service range {service} overlaps the pod range {pod}");
            problems.push(
                Problem::new(&[&keys[0], &keys[1]], message).hint("choose ranges with no address in common"),
            );
        }
    }
}

fn service_range(at: usize, cidr: Cidr) -> Option<Problem> {
    let key = format!("network.serviceCIDRs[{at}]");
    let bits = cidr.net().max_prefix_len() - cidr.prefix_len();
    let too = |word, limit| Problem::new(&[&key], format!("the range {cidr} is too {word}")).hint(limit);
    if bits < SERVICE_RANGE_MIN_BITS {
        let limit = cidr.net().max_prefix_len() - SERVICE_RANGE_MIN_BITS;
        return Some(too("small", format!("the prefix may be /{limit} at most")));
    }
    if cidr.is_ipv6() && cidr.prefix_len() < SERVICE_RANGE_IPV6_MIN_PREFIX {
        return Some(too("large", format!("the prefix must be /{SERVICE_RANGE_IPV6_MIN_PREFIX} at least")));
    }
    None
}

fn node_mask(network: &NetworkConfig, at: usize, cidr: Cidr) -> Option<Problem> {
    let (family, mask, longest) = if cidr.is_ipv6() {
        ("ipv6", network.node_cidr_masks.ipv6, 126)
    } else {
        ("ipv4", network.node_cidr_masks.ipv4, 30)
    };
    let (mask_key, range_key) =
        (format!("network.nodeCIDRMasks.{family}"), format!("network.podCIDRs[{at}]"));
    if mask > longest {
        return Some(Problem::new(&[&mask_key], format!("a node needs more addresses than /{mask} has")));
    }
    let keys = [range_key.as_str(), mask_key.as_str()];
    if mask < cidr.prefix_len() {
        let message = format!("the pod range {cidr} is smaller than one node's part, /{mask}");
        return Some(Problem::new(&keys, message).hint("make it larger, or network.nodeCIDRMasks longer"));
    }
    if mask - cidr.prefix_len() > NODE_MASK_MAX_DIFFERENCE {
        let message = format!("the pod range {cidr} has more than 65536 parts of /{mask} for nodes");
        return Some(Problem::new(&keys, message).hint("make it smaller, or network.nodeCIDRMasks shorter"));
    }
    None
}

/// An endpoint inside the cluster's own ranges would never be reached.
fn endpoint_outside_ranges(config: &ClusterConfig, problems: &mut Vec<Problem>) {
    let Some(Host::Ip(address)) = config.api.endpoint.as_ref().map(Endpoint::host) else {
        return;
    };
    if address.is_unspecified() {
        let message = format!("{address} is no address that a client can dial");
        problems.push(Problem::new(&["api.endpoint"], message));
    }
    problems.extend(inside(*address, "network.podCIDRs", "pod", &config.network.pod_cidrs));
    problems.extend(inside(*address, "network.serviceCIDRs", "Service", &config.network.service_cidrs));
}

fn inside(address: IpAddr, key: &str, what: &str, cidrs: &[Cidr]) -> Option<Problem> {
    let cidr = cidrs.iter().find(|cidr| cidr.contains(address))?;
    let message = format!("the endpoint {address} lies in the {what} range {cidr}");
    Some(Problem::new(&["api.endpoint", key], message))
}

fn etcd(config: &ClusterConfig) -> Option<Problem> {
    match &config.etcd {
        EtcdConfig::Local(local) if !local.data_dir.starts_with('/') => Some(Problem::new(
            &["etcd.local.dataDir"],
            format!("expected an absolute path, not {:?}", local.data_dir),
        )),
        EtcdConfig::External(external) if external.endpoints.is_empty() => {
            Some(Problem::new(&["etcd.external.endpoints"], "at least one endpoint is needed"))
        }
        _ => None,
    }
}

/// A directory that becomes a component's own is not one that everybody uses.
fn audit(audit: &AuditConfig) -> Option<Problem> {
    const DEPTH: usize = 3;
    let parts: Vec<&str> = audit.path.split('/').collect();
    let clean = parts.iter().skip(1).all(|part| !["", ".", ".."].contains(part));
    if !audit.path.starts_with('/') || !clean || parts.len() <= DEPTH {
        let message = format!(
            "expected a directory of kube-apiserver's own such as {}, not {:?}",
            names::path::AUDIT,
            audit.path
        );
        return Some(Problem::new(&["audit.path"], message));
    }
    (audit.max_size == 0).then(|| Problem::new(&["audit.maxSize"], "a file needs at least 1 MiB"))
}

fn certificates(config: &ClusterConfig, problems: &mut Vec<Problem>) {
    let certificates = &config.certificates;
    let external = matches!(config.etcd, EtcdConfig::External(_));
    if external && certificates.etcd_ca.is_some() {
        let message = "an etcd CA signs for etcd.local only";
        problems.push(
            Problem::new(&["certificates.etcdCA", "etcd.external"], message)
                .hint("with external etcd give etcd.external.caFile and a client certificate"),
        );
    }
    if certificates.ca.is_none() && certificates.leaf_validity > certificates.ca_validity {
        let message = format!(
            "{} is longer than the CA is valid, {}",
            certificates.leaf_validity, certificates.ca_validity
        );
        problems.push(Problem::new(&["certificates.leafValidity", "certificates.caValidity"], message));
    }
}

/// Flags that belong to a key of their own, or on which kubestrap depends.
const OWNED_FLAGS: [(&str, &str, &str); 18] = [
    ("kubeAPIServer", "audit-log-path", "set audit.path instead"),
    ("kubeAPIServer", "audit-log-maxage", "set audit.maxAge instead"),
    ("kubeAPIServer", "audit-log-maxbackup", "set audit.maxBackups instead"),
    ("kubeAPIServer", "audit-log-maxsize", "set audit.maxSize instead"),
    ("kubeAPIServer", "secure-port", "set api.port instead"),
    ("kubeAPIServer", "service-cluster-ip-range", "set network.serviceCIDRs instead"),
    ("kubeAPIServer", "etcd-servers", "set etcd.external.endpoints instead"),
    ("kubeAPIServer", "permit-port-sharing", "two apiservers share the port while one replaces the other"),
    ("kubeControllerManager", "cluster-cidr", "set network.podCIDRs instead"),
    ("kubeControllerManager", "service-cluster-ip-range", "set network.serviceCIDRs instead"),
    ("kubeControllerManager", "node-cidr-mask-size-ipv4", "set network.nodeCIDRMasks.ipv4 instead"),
    ("kubeControllerManager", "node-cidr-mask-size-ipv6", "set network.nodeCIDRMasks.ipv6 instead"),
    ("kubeControllerManager", "cluster-name", "set clusterName instead"),
    ("kubeProxy", "proxy-mode", "set proxy.mode instead"),
    ("kubeProxy", "cluster-cidr", "set network.podCIDRs instead"),
    ("kubelet", "cluster-dns", "it follows from network.serviceCIDRs"),
    ("kubelet", "cluster-domain", "set network.dnsDomain instead"),
    ("etcd", "data-dir", "set etcd.local.dataDir instead"),
];

fn extra_args(config: &ClusterConfig, problems: &mut Vec<Problem>) {
    let components = &config.components;
    let all = [
        ("kubeAPIServer", &components.kube_api_server),
        ("kubeControllerManager", &components.kube_controller_manager),
        ("kubeScheduler", &components.kube_scheduler),
        ("kubeProxy", &components.kube_proxy),
        ("kubelet", &components.kubelet),
        ("etcd", &components.etcd),
    ];
    for (component, settings) in all {
        let flags = settings.extra_args.keys();
        problems.extend(flags.filter_map(|flag| extra_arg(component, flag)));
    }
    if matches!(config.etcd, EtcdConfig::External(_)) && !components.etcd.extra_args.is_empty() {
        let message = "kubestrap does not run an external etcd, so it cannot set its flags";
        problems.push(Problem::new(&["components.etcd", "etcd.external"], message));
    }
}

fn extra_arg(component: &str, flag: &str) -> Option<Problem> {
    let key = KeyPath(
        ["components", component, "extraArgs", flag]
            .into_iter()
            .map(|key| Step::Key(key.to_owned()))
            .collect(),
    );
    let problem =
        |message: String, hint: String| Some(Problem { keys: vec![key], message, hint: Some(hint) });
    if flag.starts_with('-') {
        let bare = flag.trim_start_matches('-');
        return problem("a flag is written without dashes".to_owned(), format!("write {bare:?}"));
    }
    let is_flag = flag.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    if flag.is_empty() || !is_flag {
        let hint = "a flag's name has lower-case letters, digits and '-'".to_owned();
        return problem(format!("{flag:?} is no name of a flag"), hint);
    }
    if flag == "feature-gates" {
        return problem(
            "the flag \"feature-gates\" cannot be set here".to_owned(),
            "set featureGates instead".to_owned(),
        );
    }
    let (_, _, instead) =
        OWNED_FLAGS.into_iter().find(|(owner, owned, _)| *owner == component && *owned == flag)?;
    problem(format!("the flag {flag:?} cannot be set here"), instead.to_owned())
}

fn feature_gates(config: &ClusterConfig, problems: &mut Vec<Problem>) {
    let is_gate = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_uppercase()) && name.chars().all(|c| c.is_ascii_alphanumeric())
    };
    let bad = config.feature_gates.keys().filter(|name| !is_gate(name));
    problems.extend(bad.map(|name| {
        let keys = vec![KeyPath(vec![Step::Key("featureGates".to_owned()), Step::Key(name.clone())])];
        let hint = Some("gates are written like \"ImageVolume\"".to_owned());
        Problem { keys, message: format!("{name:?} is no name of a feature gate"), hint }
    }));
}

/// A digest is that of a tag: under another name it would say nothing.
fn image_digest(name: &str) -> Option<Problem> {
    let has_tag = name.parse::<ImageReference>().is_ok() && !name.contains('@');
    let keys = ["images", "digests", name].into_iter().map(|key| Step::Key(key.to_owned())).collect();
    (!has_tag).then(|| Problem {
        keys: vec![KeyPath(keys)],
        message: format!("{name:?} is no image with registry and tag"),
        hint: Some("write it as registry.k8s.io/kube-proxy:v1.37.2".to_owned()),
    })
}

fn image_override(name: &str) -> Option<Problem> {
    if Component::from_name(name).is_some() {
        return None;
    }
    let names = Component::ALL.map(Component::name);
    let hint = match did_you_mean(name, names) {
        Some(meant) => format!("did you mean {meant:?}?"),
        None => format!("known are {}", names.join(", ")),
    };
    let keys = ["images", "overrides", name].into_iter().map(|key| Step::Key(key.to_owned())).collect();
    Some(Problem {
        keys: vec![KeyPath(keys)],
        message: format!("there is no image {name:?}"),
        hint: Some(hint),
    })
}
