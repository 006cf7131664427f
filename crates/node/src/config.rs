//! What the caller decides about a node; what the host decides is in [`crate::facts`].

use std::collections::BTreeMap;
use std::net::IpAddr;

use cluster::{ClusterConfig, EtcdConfig, NetworkProvider};

use crate::registration::Registration;

/// How the kubelet proves who it is.
#[derive(Clone)]
pub enum NodeCredentials {
    /// A kubeconfig with the node's own client certificate. The certificate and its key are moved
    /// to where the kubelet rotates them, as kubeadm does it.
    Kubeconfig(String),
    /// A kubeconfig with a bootstrap token: the kubelet asks for its certificate itself.
    Bootstrap(String),
    /// None: the kubelet has asked for its certificate with a token, has got it, and has written its kubeconfig.
    Own,
}

/// Everything about a node that does not follow from the host.
#[derive(Clone)]
pub struct NodeConfig {
    /// The node's name in the cluster.
    pub name: String,
    /// The addresses that the kubelet announces: one, or one of each family.
    pub addresses: Vec<IpAddr>,
    /// The cluster CA's certificate, PEM: who may talk to the kubelet.
    pub ca: String,
    /// How the kubelet talks to the API.
    pub credentials: NodeCredentials,
    /// The addresses of the cluster's DNS Service.
    pub cluster_dns: Vec<IpAddr>,
    /// The cluster's DNS domain.
    pub cluster_domain: String,
    /// Feature gates, set on the kubelet as everywhere.
    pub feature_gates: BTreeMap<String, bool>,
    /// What the node is registered with.
    pub registration: Registration,
    /// Further kubelet flags by name without dashes, each with its values.
    pub kubelet_extra_args: BTreeMap<String, Vec<String>>,
    /// True when pods have IPv6 addresses.
    pub ipv6: bool,
    /// Name of the pause image that sandboxes are made of.
    pub pause_image: String,
    /// Leave containerd to the host: it is there already and stays as it is.
    pub existing_containerd: bool,
    /// Where etcd has its data, on a node that has a member of it.
    pub etcd_data_dir: Option<String>,
    /// Where kube-apiserver has its audit log, on a node of the control plane.
    pub audit_dir: Option<String>,
    /// The number of flannel's network, where flannel connects the pods.
    pub flannel_vni: Option<u32>,
}

impl NodeConfig {
    /// The configuration of a node of `cluster`. `pause_image` is the bundle's.
    pub fn new(
        cluster: &ClusterConfig,
        name: impl Into<String>,
        mut addresses: Vec<IpAddr>,
        ca: impl Into<String>,
        credentials: NodeCredentials,
        pause_image: impl Into<String>,
    ) -> Self {
        // The first one is the node's for the kubelet, and so for the apiserver, whose own has to be of this family.
        cluster.put_primary_first(&mut addresses);
        let network = &cluster.network;
        let extra_args = &cluster.components.kubelet.extra_args;
        Self {
            name: name.into(),
            addresses,
            ca: ca.into(),
            credentials,
            cluster_dns: cluster.dns_ips(),
            cluster_domain: network.dns_domain.to_string(),
            feature_gates: cluster.feature_gates.clone(),
            registration: Registration::default(),
            kubelet_extra_args: extra_args.iter().map(|(k, v)| (k.clone(), v.values().to_vec())).collect(),
            ipv6: network.pod_cidrs.iter().any(|cidr| cidr.is_ipv6()),
            pause_image: pause_image.into(),
            existing_containerd: false,
            etcd_data_dir: match &cluster.etcd {
                EtcdConfig::Local(etcd) => Some(etcd.data_dir.clone()),
                EtcdConfig::External(_) => None,
            },
            audit_dir: cluster.audit.enabled.then(|| cluster.audit.path.clone()),
            flannel_vni: (network.provider == NetworkProvider::Flannel).then_some(network.flannel.vni),
        }
    }
}
