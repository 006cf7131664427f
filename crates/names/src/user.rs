//! Users and groups: of the operating system, and of the API, where a certificate's common name is the user and its
//! organisation the group.

/// User and group id of every control-plane process: only processes of one user share a port. It is the `nonroot` of
/// common base images (GoogleContainerTools/distroless, common/variables.bzl).
pub const CONTROL_PLANE_ID: u32 = 65532;

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

/// A kubelet is called so, and its node's name follows (`NodesUserPrefix` in
/// cmd/kubeadm/app/constants/constants.go).
pub const NODE_PREFIX: &str = "system:node:";

/// The group of kubelets (`NodesGroup` in cmd/kubeadm/app/constants/constants.go).
pub const NODES: &str = "system:nodes";

/// The group of nodes that join with a token (`NodeBootstrapTokenAuthGroup` in
/// cmd/kubeadm/app/constants/constants.go).
pub const JOINING_NODES: &str = "system:bootstrappers:kubeadm:default-node-token";

/// The guardian, of every control-plane node.
pub const GUARDIAN: &str = "system:kubestrap:guardian";
