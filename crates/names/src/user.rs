//! Users and groups: of the operating system, and of the API, where a certificate's common name is the user and its
//! organisation the group.

// User and group ids of the control plane, each component its own: who is one reads no other's keys. They are of the range
// that systemd leaves to nobody (docs/UIDS-GIDS.md of systemd/systemd: 60578 to 61183, the greeter's part of it left
// out), and no image that is known has one: `nonroot` of common base images (65532) is everybody's, and a user namespace
// of a pod begins at 65536.

/// kube-apiserver, the temporary one too: only processes of one user share a port.
pub const KUBE_APISERVER_ID: u32 = 61101;

/// kube-controller-manager.
pub const KUBE_CONTROLLER_MANAGER_ID: u32 = 61102;

/// kube-scheduler.
pub const KUBE_SCHEDULER_ID: u32 = 61103;

/// etcd.
pub const ETCD_ID: u32 = 61104;

/// The group that may do everything, with no RBAC object (`SystemPrivilegedGroup` in
/// cmd/kubeadm/app/constants/constants.go).
pub const MASTERS: &str = "system:masters";

/// The group of administrators, whose rights can be taken away
/// (`ClusterAdminsGroupAndClusterRoleBinding` in cmd/kubeadm/app/constants/constants.go).
pub const CLUSTER_ADMINS: &str = "kubeadm:cluster-admins";

/// kube-controller-manager (`ControllerManagerUser` in cmd/kubeadm/app/constants/constants.go).
pub const KUBE_CONTROLLER_MANAGER: &str = "system:kube-controller-manager";

/// kube-scheduler (`SchedulerUser` in cmd/kubeadm/app/constants/constants.go).
pub const KUBE_SCHEDULER: &str = "system:kube-scheduler";

/// kube-apiserver as a client of kubelets (`APIServerKubeletClientCertCommonName` in
/// cmd/kubeadm/app/constants/constants.go).
pub const KUBE_APISERVER_KUBELET_CLIENT: &str = "kube-apiserver-kubelet-client";

/// A kubelet is called so, and its node's name follows (`NodesUserPrefix` in
/// cmd/kubeadm/app/constants/constants.go).
pub const NODE_PREFIX: &str = "system:node:";

/// The group of kubelets (`NodesGroup` in cmd/kubeadm/app/constants/constants.go).
pub const NODES: &str = "system:nodes";

/// Who has a bootstrap token is called so, and the token's id follows (`BootstrapUserPrefix` in
/// staging/src/k8s.io/cluster-bootstrap/token/api/types.go).
pub const BOOTSTRAP_PREFIX: &str = "system:bootstrap:";

/// The group of nodes that join with a token (`NodeBootstrapTokenAuthGroup` in
/// cmd/kubeadm/app/constants/constants.go).
pub const JOINING_NODES: &str = "system:bootstrappers:kubeadm:default-node-token";

/// The guardian of a control-plane node is called so, and its node's name follows.
pub const GUARDIAN_PREFIX: &str = "system:kubestrap:guardian:";

/// The group of guardians.
pub const GUARDIANS: &str = "system:kubestrap:guardians";
