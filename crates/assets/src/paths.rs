//! Paths in the asset directory that more than one place here knows.

use names::{component, object};

/// What is rendered to `manifests/`, by the files' names without their ending; all others there are the operator's.
pub(crate) const MANIFESTS: [&str; 11] = [
    component::KUBE_APISERVER,
    component::KUBE_CONTROLLER_MANAGER,
    component::KUBE_SCHEDULER,
    component::KUBE_PROXY,
    object::GUARDIAN,
    "rbac",
    object::CLUSTER_INFO,
    "node-config",
    "admission",
    "coredns",
    "flannel",
];

/// etcd's static pod, which stays after the pivot.
pub(crate) const ETCD: &str = "static-manifests/etcd.yaml";

/// The manifests that not every config makes us render: one of them that is there and not rendered
/// now is from an earlier config, not the operator's own.
pub(crate) const OPTIONAL: [&str; 4] =
    [ETCD, "manifests/kube-proxy.yaml", "manifests/flannel.yaml", auth::TEMPORARY];

/// Names of the files under `auth/`.
pub(crate) mod auth {
    pub(crate) const ADMIN: &str = "auth/kubeconfig";
    pub(crate) const SUPER_ADMIN: &str = "auth/kubeconfig-super-admin";
    pub(crate) const NODE: &str = "auth/kubeconfig-node";
    pub(crate) const CONTROLLER_MANAGER: &str = "auth/kubeconfig-kube-controller-manager";
    /// In no asset directory any more: it is made when it is staged.
    pub(crate) const TEMPORARY: &str = "auth/kubeconfig-bootstrap";
    pub(crate) const SCHEDULER: &str = "auth/kubeconfig-kube-scheduler";
    pub(crate) const GUARDIAN: &str = "auth/kubeconfig-kubestrap-guardian";
}
