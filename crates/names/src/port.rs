//! Every port of a node: [`TABLE`] has those that are always the same, TCP all of them.
//!
//! Not in the table: the API's own port, which the config sets, and [`VXLAN`], which is UDP and the kernel's.

/// Where kube-apiserver listens when the config does not say (`DefaultAPIBindPort` in
/// cmd/kubeadm/app/apis/kubeadm/v1beta4/defaults.go).
pub const KUBE_APISERVER: u16 = 6443;

/// Where etcd answers its clients, by TLS (`EtcdListenClientPort` in cmd/kubeadm/app/constants/constants.go;
/// registered with IANA as `etcd-client`).
pub const ETCD_CLIENT: u16 = 2379;

/// Where members of etcd talk to each other (`EtcdListenPeerPort` in cmd/kubeadm/app/constants/constants.go;
/// registered with IANA as `etcd-server`).
pub const ETCD_PEER: u16 = 2380;

/// etcd's health and metrics without TLS, on loopback only (`EtcdMetricsPort` in
/// cmd/kubeadm/app/constants/constants.go).
pub const ETCD_METRICS: u16 = 2381;

/// The kubelet's `/healthz`, on loopback only (`KubeletHealthzPort` in pkg/cluster/ports/ports.go).
pub const KUBELET_HEALTHZ: u16 = 10248;

/// kube-proxy's metrics, on loopback only (`ProxyStatusPort` in pkg/cluster/ports/ports.go).
pub const KUBE_PROXY_METRICS: u16 = 10249;

/// Where the kubelet answers the apiserver: logs, exec, metrics (`KubeletPort` in pkg/cluster/ports/ports.go).
pub const KUBELET: u16 = 10250;

/// kube-proxy's `/healthz`, for load balancers (`ProxyHealthzPort` in pkg/cluster/ports/ports.go).
pub const KUBE_PROXY_HEALTHZ: u16 = 10256;

/// kube-controller-manager's health and metrics (`KubeControllerManagerPort` in pkg/cluster/ports/ports.go).
pub const KUBE_CONTROLLER_MANAGER: u16 = 10257;

/// kube-scheduler's health and metrics (`DefaultKubeSchedulerPort` in pkg/scheduler/apis/config/types.go).
pub const KUBE_SCHEDULER: u16 = 10259;

/// Where nodes take flannel's packets from each other, UDP, when the config does not say: the Linux kernel's own
/// default for VXLAN (flannel-io/flannel, Documentation/backends.md).
pub const VXLAN: u16 = 8472;

/// What of a node listens on a port, and so which nodes need it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The kubelet: every node.
    Kubelet,
    /// kube-proxy: every node, unless the cluster has none.
    KubeProxy,
    /// The control plane but for etcd: control-plane nodes.
    ControlPlane,
    /// etcd: nodes that have a member of it.
    Etcd,
}

/// A port that is the same on every node that needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Port {
    /// The number; TCP.
    pub number: u16,
    /// Who listens, in words for a message: "etcd's metrics".
    pub listener: &'static str,
    /// What of a node that belongs to.
    pub part: Part,
}

/// The ports of a node whatever its config says, in their order.
pub const TABLE: [Port; 9] = [
    Port { number: ETCD_CLIENT, listener: "etcd", part: Part::Etcd },
    Port { number: ETCD_PEER, listener: "etcd", part: Part::Etcd },
    Port { number: ETCD_METRICS, listener: "etcd's metrics", part: Part::Etcd },
    Port { number: KUBELET_HEALTHZ, listener: "the kubelet's health check", part: Part::Kubelet },
    Port { number: KUBE_PROXY_METRICS, listener: "kube-proxy's metrics", part: Part::KubeProxy },
    Port { number: KUBELET, listener: "the kubelet", part: Part::Kubelet },
    Port { number: KUBE_PROXY_HEALTHZ, listener: "kube-proxy's health check", part: Part::KubeProxy },
    Port { number: KUBE_CONTROLLER_MANAGER, listener: "kube-controller-manager", part: Part::ControlPlane },
    Port { number: KUBE_SCHEDULER, listener: "kube-scheduler", part: Part::ControlPlane },
];
