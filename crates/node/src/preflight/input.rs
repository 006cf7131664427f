//! What the checks of a host are told.

use cluster::Cidr;

/// What the checks of a host need to know beside the host itself.
#[derive(Clone, Debug)]
pub struct HostInput<'a> {
    /// The node's name in the cluster.
    pub node_name: &'a str,
    /// Whether a control plane shall run here.
    pub control_plane: bool,
    /// The name under which clients reach the API; none where it is an address.
    pub api_name: Option<&'a str>,
    /// The port of the API.
    pub api_port: u16,
    /// Whether the cluster has kube-proxy, which runs on every node.
    pub kube_proxy: bool,
    /// Whether etcd shall run here.
    pub local_etcd: bool,
    /// The directory of etcd's data.
    pub etcd_data_dir: &'a str,
    /// The cluster's CA, PEM, when there is one already: files of the same cluster are ours.
    pub ca: Option<&'a str>,
    /// Bytes that images and programs will take.
    pub needed_bytes: u64,
    /// The Kubernetes version of the control plane, `v1.37.2`.
    pub cluster_version: &'a str,
    /// The version of the kubelet that will be installed.
    pub kubelet_version: &'a str,
    /// Leave containerd to the host.
    pub existing_containerd: bool,
    /// The ranges of pods.
    pub pod_ranges: &'a [Cidr],
    /// The ranges of Services.
    pub service_ranges: &'a [Cidr],
    /// Whether flannel connects the pods.
    pub flannel: bool,
    /// Whether pods have IPv6 addresses.
    pub ipv6: bool,
}

#[cfg(test)]
impl HostInput<'static> {
    /// That of a control-plane node which passes: what tests begin with.
    pub(crate) fn example() -> Self {
        Self {
            node_name: "a.example.org",
            control_plane: true,
            api_name: None,
            api_port: 6443,
            kube_proxy: true,
            local_etcd: true,
            etcd_data_dir: "/var/lib/etcd",
            ca: None,
            needed_bytes: 1 << 30,
            cluster_version: "v1.37.2",
            kubelet_version: "v1.37.2",
            existing_containerd: false,
            pod_ranges: &[],
            service_ranges: &[],
            flannel: true,
            ipv6: false,
        }
    }
}
