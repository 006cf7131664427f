//! Tables of nftables on a node. That of kube-proxy has its [name](crate::component::KUBE_PROXY), in both families
//! (`kubeProxyTable` in pkg/proxy/nftables/proxier.go).

/// Flannel's (`ipv4Table` in flannel-io/flannel, pkg/trafficmngr/nftables/nftables.go).
pub const FLANNEL_IPV4: &str = "flannel-ipv4";
/// See [`FLANNEL_IPV4`].
pub const FLANNEL_IPV6: &str = "flannel-ipv6";
